"""Depthwise layers compute what torch's does, in half precision, too."""

import pytest
import torch
from torch import nn

from laconic.networks.depthwise import DepthwiseConv2d

WIDTH = 6


def as_torch_has_it(layer: DepthwiseConv2d) -> nn.Conv2d:
    """The same filters in a plain layer."""
    kernel = layer.kernel_size[0]
    plain = nn.Conv2d(WIDTH, WIDTH, kernel, padding=kernel // 2, groups=WIDTH)
    plain.load_state_dict(layer.state_dict())
    return plain


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("shape", [(9, 7), (2, 3), (1, 12)])
def test_depthwise_layer_equals_the_plain_one_with_its_gradients(
    dtype: torch.dtype, kernel: int, shape: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    layer = DepthwiseConv2d(WIDTH, kernel).to(dtype)
    plain = as_torch_has_it(layer).to(dtype)
    x, weights = torch.randn(2, 2, WIDTH, *shape, dtype=dtype)
    gradients = []
    for tested in (layer, plain):
        given = x.clone().requires_grad_()
        (tested(given) * weights).sum().backward()
        gradients.append(given.grad)
    assert layer(x).dtype == dtype
    torch.testing.assert_close(layer(x), plain(x))
    torch.testing.assert_close(*gradients)
    torch.testing.assert_close(layer.weight.grad, plain.weight.grad)
    torch.testing.assert_close(layer.bias.grad, plain.bias.grad)


def test_gradients_under_autocast_have_full_precision() -> None:
    """The backward pass runs as the forward pass did, whatever is set around it."""
    torch.manual_seed(2)
    layer = DepthwiseConv2d(WIDTH, 5)
    plain, x = as_torch_has_it(layer), torch.randn(1, WIDTH, 8, 8)
    gradients = []
    for tested, half in ((layer, True), (plain, False)):
        given = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            tested(given).square().sum().backward()
        gradients.append(given.grad)
    torch.testing.assert_close(*gradients)
    torch.testing.assert_close(layer.weight.grad, plain.weight.grad)


def test_frozen_filters_take_no_gradient() -> None:
    layer = DepthwiseConv2d(WIDTH, 5).requires_grad_(requires_grad=False)
    x = torch.randn(1, WIDTH, 4, 4, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is None


def test_depthwise_layer_keeps_full_precision_under_autocast() -> None:
    torch.manual_seed(1)
    layer = DepthwiseConv2d(WIDTH, 5)
    x = torch.randn(1, WIDTH, 8, 8)
    expected = as_torch_has_it(layer)(x)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer(x), expected)
        assert layer(x.bfloat16()).dtype == torch.bfloat16
