"""Causal convolutions see the past alone."""

import pytest
import torch

from laconic.networks.causal import CausalConvolution, causal_taps
from laconic.networks.residual import Block


@pytest.mark.parametrize(("kernel", "centre"), [(3, False), (3, True), (5, False), (7, True)])
def test_a_pixel_reaches_itself_and_what_is_read_later_only(kernel: int, centre: bool) -> None:
    torch.manual_seed(0)
    layer = CausalConvolution(2, 3, kernel, centre)
    x = torch.randn(1, 2, 9, 9)
    changed = x.clone()
    changed[0, :, 4, 4] += 1
    moved = (layer(changed) - layer(x)).abs().amax((0, 1)) > 1e-6
    positions = {(int(r) - 4, int(c) - 4) for r, c in moved.nonzero()}
    assert positions == {(-row, -column) for row, column in causal_taps(kernel, centre)}


def test_it_is_the_masked_convolution() -> None:
    torch.manual_seed(1)
    layer = CausalConvolution(2, 3, 5, centre=True)
    x = torch.randn(2, 2, 8, 7)
    weight = torch.zeros(3, 2, 5, 5)
    for place, (row, column) in enumerate(layer.taps):
        weight[:, :, row + 2, column + 2] = layer.weight[:, :, place].detach()
    expected = torch.nn.functional.conv2d(x, weight, layer.bias, padding=2)
    assert torch.allclose(layer(x), expected, atol=1e-6)


def test_an_untrained_block_is_the_identity() -> None:
    x = torch.randn(1, 4, 5, 5)
    assert torch.equal(Block(CausalConvolution(4, 4, 3, centre=True), 4)(x), x)
