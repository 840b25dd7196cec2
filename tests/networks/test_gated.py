"""Gated layers: the formula, and sizes that stay what they should be."""

import pytest
import torch
from torch import nn

from laconic.networks.gated import gated, gated_convolution, gated_transposed, stack


def test_values_times_the_sigmoid_of_their_gates() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(3, 8)
    x = torch.randn(5, 3)
    values, gates = layer(x).chunk(2, dim=1)
    torch.testing.assert_close(gated(layer)(x), values * torch.sigmoid(gates))


@pytest.mark.parametrize(("kernel", "stride"), [(5, 1), (5, 2), (3, 1), (4, 2)])
def test_convolutions_divide_sides_by_their_stride(kernel: int, stride: int) -> None:
    x = torch.randn(2, 3, 12, 20)
    assert gated_convolution(3, 4, kernel, stride)(x).shape == (2, 4, 12 // stride, 20 // stride)


@pytest.mark.parametrize(("kernel", "stride"), [(5, 1), (5, 2), (4, 1), (4, 2), (6, 2), (2, 2)])
def test_transposed_ones_multiply_them(kernel: int, stride: int) -> None:
    x = torch.randn(2, 3, 7, 5)
    assert gated_transposed(3, 4, kernel, stride)(x).shape == (2, 4, 7 * stride, 5 * stride)


def test_a_transposed_layer_spreads_evenly_around_a_point() -> None:
    """Kernel 4 and stride 2: the four nearest outputs of a lone input get the inner weights."""
    layer = gated_transposed(1, 1, 4, 2)[0]
    nn.init.zeros_(layer.convolution.bias)
    nn.init.ones_(layer.convolution.weight)
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 2, 2] = 1
    lit = layer(x)[0, 0].nonzero()
    assert lit.min() == 3
    assert lit.max() == 6


def test_stacks_chain_depths() -> None:
    made = stack(gated_convolution, 1, ((4, 5, 2), (6, 3, 1)))
    assert made(torch.randn(2, 1, 8, 8)).shape == (2, 6, 4, 4)
