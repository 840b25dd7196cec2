"""Linear layers and depthwise convolutions in integers: near the float ones."""

import pytest
import torch
from torch import nn

from laconic.errors import ConfigError
from laconic.networks.fixed_point.affine import FixedDepthwise, FixedLinear
from laconic.networks.fixed_point.arithmetic import FRACTION_BITS, from_float, to_float

UNIT = 2.0**-FRACTION_BITS


def test_linear_layers_are_near_the_float_ones() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(7, 5).double().requires_grad_(False)
    x = torch.randn(3, 7, dtype=torch.float64)
    assert float((to_float(FixedLinear(layer)(from_float(x))) - layer(x)).abs().max()) < 20 * UNIT


@pytest.mark.parametrize("kernel", [3, 5])
def test_depthwise_kernels_are_near_the_floats(kernel: int) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(6, 6, kernel, padding=kernel // 2, groups=6).double().requires_grad_(False)
    x = torch.randn(2, 6, 7, 9, dtype=torch.float64)
    assert (
        float((to_float(FixedDepthwise(layer)(from_float(x))) - layer(x)).abs().max()) < 20 * UNIT
    )


def test_weights_too_large_for_exact_sums_are_refused() -> None:
    layer = nn.Linear(100, 2)
    nn.init.constant_(layer.weight, 1e3)
    with pytest.raises(ConfigError, match="too large for exact"):
        FixedLinear(layer)
