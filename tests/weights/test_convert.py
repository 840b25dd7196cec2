"""Conversion: every layer once, nothing skipped in silence, stored networks compute the same."""

import warnings

import pytest
import torch
from torch import nn

from laconic.errors import ConfigError, InputError
from laconic.weights import NotTraining, UntouchedModules, convert


def test_other_modules_are_named() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ConvTranspose1d(4, 2, 3))
    with pytest.warns(UntouchedModules, match="1, 2"):
        penalty = convert(net, "sparse-vd")
    assert penalty.untouched == ("1", "2")


def test_modules_can_be_left_alone() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))
    with pytest.warns(UntouchedModules, match=r"1\.0, 1\.1"):
        penalty = convert(net, "sparse-vd", skip=("1",))
    assert list(penalty.layers) == ["0"]
    with pytest.raises(InputError, match="'2'"):
        convert(nn.Sequential(nn.Linear(2, 2)), "sparse-vd", skip=("2",))


def test_tied_weights_of_two_layers_are_refused() -> None:
    net = nn.Sequential(nn.Embedding(8, 4), nn.Linear(4, 8))
    net[1].weight = net[0].weight
    with pytest.raises(InputError, match=r"1\.weight and 0\.weight"):
        convert(net, "sparse-vd")


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.Linear(2, 2), "single layer"),
        (nn.Sequential(nn.ReLU()), "no layer to convert"),
    ],
)
def test_what_cannot_be_converted(net: nn.Module, message: str) -> None:
    with pytest.raises(InputError, match=message):
        convert(net, "sparse-vd")


def test_unknown_methods_and_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="magic"):
        convert(nn.Sequential(nn.Linear(2, 2)), "magic")
    with pytest.raises(ConfigError, match="thresold"):
        convert(nn.Sequential(nn.Linear(2, 2)), "sparse-vd", thresold=1.0)


def test_training_in_evaluation_mode_is_warned_of() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    penalty = convert(net, "miracle")
    with pytest.warns(NotTraining, match=r"net\.train\(\)"):
        penalty()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with torch.no_grad():
            penalty()
        net.train()
        penalty()
