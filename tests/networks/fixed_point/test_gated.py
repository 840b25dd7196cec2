import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from laconic.errors import ConfigError
from laconic.networks.fixed_point.arithmetic import LIMIT, from_float, to_float
from laconic.networks.fixed_point.gated import Curve, DownConvolution, UpConvolution, gate, sigmoid


def maps(channels: int, side: int, scale: float = 1.0) -> Tensor:
    torch.manual_seed(side)
    return from_float(scale * torch.randn(2, channels, side, side, dtype=torch.float64))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(4, 2, 1), (5, 1, 2), (5, 2, 2), (7, 1, 0), (3, 1, 1)]
)
def test_convolutions_agree_with_torch(kernel: int, stride: int, padding: int) -> None:
    """Weights rounded to 2^-17 at most: the error of a sum of n products of size 1 is below n."""
    down = nn.Conv2d(3, 5, kernel, stride, padding).double()
    up = nn.ConvTranspose2d(3, 5, kernel, stride, padding).double()
    x = maps(3, 8)
    for fixed, layer in ((DownConvolution(down), down), (UpConvolution(up), up)):
        output, exact = to_float(fixed(x)), layer(to_float(x)).detach()
        assert output.shape == exact.shape
        assert float((output - exact).abs().max()) < 2**-17 * 3 * kernel**2 * 4 / 3


def test_outputs_are_integers_whatever_the_batch_and_the_order_of_sums() -> None:
    """Every partial sum is an integer below 2^53: one map at a time gives the same."""
    torch.manual_seed(0)
    down, up = nn.Conv2d(6, 4, 5, 2, 2), nn.ConvTranspose2d(6, 4, 6, 2, 2)
    x = maps(6, 10, 900.0)
    for layer, kind in ((down, DownConvolution), (up, UpConvolution)):
        fixed = kind(layer)
        output = fixed(x)
        assert torch.equal(output, torch.floor(output))
        assert torch.equal(output[1:], fixed(x[1:]))
        order = torch.randperm(6)
        layer.weight.data = layer.weight.data[:, order] if layer is down else layer.weight[order]
        assert torch.equal(output, kind(layer)(x[:, order]))


def test_the_gate_is_torchs_within_two_units() -> None:
    x = 4 * maps(8, 6)
    output, exact = gate(x), functional.glu(to_float(x), 1)
    assert float((to_float(output) - exact).abs().max()) < 2 * 2**-16 * 4
    extreme = torch.full((1, 2, 1, 1), 2.0**40, dtype=torch.float64)
    assert gate(extreme).item() == pytest.approx(LIMIT, rel=1e-6)
    assert gate(-extreme).item() == pytest.approx(0, abs=2)


def test_a_curve_interpolates_and_is_constant_beyond_its_end() -> None:
    x = torch.arange(-(20 << 16), 20 << 16, 997, dtype=torch.float64)
    output = sigmoid()(x) * 2.0**-24
    assert float((output - torch.sigmoid(to_float(x))).abs().max()) < 1.0e-6
    assert bool((output.diff() >= 0).all())
    square = Curve(lambda x: x * x, 3, 16)
    ends = torch.tensor([-9.0, -3, 0, 3, 1e9]).double() * 65536
    assert torch.equal(square(ends), torch.tensor([9.0, 9, 0, 9, 9]).double() * 65536)
    assert square(torch.tensor([1.5 * 65536])).item() / 65536 == pytest.approx(2.25)


def test_weights_that_could_leave_the_integers_are_refused() -> None:
    down, up = nn.Conv2d(4, 4, 3), nn.ConvTranspose2d(4, 4, 3)
    for layer, kind in ((down, DownConvolution), (up, UpConvolution)):
        nn.init.constant_(layer.weight, 2.0**11 / 36 + 1)
        with pytest.raises(ConfigError, match="too large for exact"):
            kind(layer)
        nn.init.constant_(layer.weight, math.nextafter(2.0**11 / 36 / 2, 0))
        kind(layer)
