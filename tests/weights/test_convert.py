"""Conversion: every layer once, nothing skipped in silence, stored networks compute the same."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from laconic.errors import ConfigError, InputError
from laconic.weights import METHODS, UntouchedModules, convert, plain
from laconic.weights.base import ProbabilisticLayer

NAMES = sorted(METHODS)
QUANTISE_ACTIVATIONS = {"rq"}
"""Ordinary layers cannot hold what these do to activations."""


def every_kind() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1, padding_mode="reflect"), nn.ReLU(),
        nn.Conv2d(4, 8, 3, groups=2, dilation=2, bias=False), nn.Flatten(2), nn.Conv1d(8, 3, 2),
        nn.Flatten(), nn.Linear(21, 5),
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_stored_network_computes_the_same(name: str) -> None:
    net = every_kind()
    convert(net, name)
    net.eval()
    x = torch.randn(4, 2, 16, 12)
    ordinary = plain(net)
    assert not any(isinstance(module, ProbabilisticLayer) for module in ordinary.modules())
    assert {type(module) for module in ordinary} == {type(module) for module in every_kind()}
    if name not in QUANTISE_ACTIVATIONS:
        torch.testing.assert_close(ordinary(x), net(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_training_reaches_every_layer(name: str) -> None:
    net = every_kind()
    penalty = convert(net, name)
    x, y = torch.randn(16, 2, 16, 12), torch.arange(16) % 5
    loss = functional.cross_entropy(net(x), y) + penalty() / 16
    loss.backward()
    assert loss.isfinite()
    for layer_name, layer in penalty.layers.items():
        moved = [p for p in layer.parameters() if p.grad is not None and bool(p.grad.any())]
        assert moved, layer_name
    penalty.constrain()


def test_a_draw_is_made_in_training_mode_only() -> None:
    net = every_kind()
    convert(net, "sparse-vd")
    x = torch.randn(2, 2, 16, 12)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_a_layer_used_twice_is_converted_once() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = self.second = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(torch.relu(self.first(x)))

    net = Twice()
    penalty = convert(net, "sparse-vd")
    assert list(penalty.layers) == ["first"]
    assert net.first is net.second
    assert isinstance(net.first, ProbabilisticLayer)
    ordinary = plain(net)
    assert ordinary.first is ordinary.second
    assert isinstance(ordinary.first, nn.Linear)


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


def test_broken_weights_and_second_conversions_are_refused() -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    with torch.no_grad():
        net[0].bias[0] = torch.nan
    with pytest.raises(InputError, match=r"0\.bias has NaN"):
        convert(net, "sparse-vd")
    net = nn.Sequential(nn.Linear(2, 2))
    convert(net, "sparse-vd")
    with pytest.raises(InputError, match="converted before"):
        convert(net, "sparse-vd")


def test_unknown_methods_and_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="magic"):
        convert(nn.Sequential(nn.Linear(2, 2)), "magic")
    with pytest.raises(ConfigError, match="thresold"):
        convert(nn.Sequential(nn.Linear(2, 2)), "sparse-vd", thresold=1.0)
