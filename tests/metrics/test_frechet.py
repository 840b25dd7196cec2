"""The Fréchet distance against its closed form, and the features that it is measured on."""

import pytest
import torch
from torch import nn

from laconic.errors import InputError
from laconic.metrics.frechet import frechet_distance, last_features


def spread(scales: list[float], mean: float) -> torch.Tensor:
    """Points whose sample covariance is exactly diagonal, with these standard deviations."""
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * len(scales)).double()
    factor = (len(signs) / (len(signs) - 1)) ** 0.5
    return mean + signs * torch.tensor(scales).double() / factor


def test_the_closed_form_of_diagonal_normals() -> None:
    a, b = spread([1.0, 2.0, 0.5], 0.0), spread([2.0, 0.5, 0.5], 3.0)
    expected = 3 * 9.0 + (1.0 - 2.0) ** 2 + (2.0 - 0.5) ** 2
    assert frechet_distance(a, b) == pytest.approx(expected)
    assert frechet_distance(b, a) == pytest.approx(expected)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_rotations_do_not_change_it() -> None:
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    a, b = spread([1.0, 2.0, 0.5], 0.0), spread([2.0, 0.5, 0.5], 1.0)
    turned = frechet_distance(a @ turn, b @ turn)
    assert turned == pytest.approx(frechet_distance(a, b))


def test_features_are_the_inputs_of_the_last_layer() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    x = torch.randn(7, 1, 2, 2)
    torch.testing.assert_close(last_features(net, x, 3), net[:3](x))
    assert not net[3]._forward_pre_hooks


def test_what_has_no_distance() -> None:
    with pytest.raises(InputError, match="no distance"):
        frechet_distance(torch.zeros(1, 2), torch.zeros(5, 2))
    with pytest.raises(InputError, match="no linear layer"):
        last_features(nn.Flatten(), torch.zeros(2, 3))
