"""Gated residual blocks: the depthwise layer computes what torch's does, in half precision, too."""

import pytest
import torch
from torch import nn

from laconic.networks.gated_residual import DepthwiseConv2d

WIDTH, KERNEL = 6, 5


def as_torch_has_it(layer: DepthwiseConv2d) -> nn.Conv2d:
    """The same filters in a plain layer."""
    plain = nn.Conv2d(WIDTH, WIDTH, KERNEL, padding=KERNEL // 2, groups=WIDTH)
    plain.load_state_dict(layer.state_dict())
    return plain


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_depthwise_layer_equals_the_plain_one_with_its_gradients(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = DepthwiseConv2d(WIDTH, KERNEL).to(dtype)
    plain = as_torch_has_it(layer).to(dtype)
    x = torch.randn(2, WIDTH, 9, 7, dtype=dtype)
    weights = torch.randn(2, WIDTH, 9, 7, dtype=dtype)
    for tested in (layer, plain):
        (tested(x) * weights).sum().backward()
    assert layer(x).dtype == dtype
    assert layer(x).is_contiguous()
    torch.testing.assert_close(layer(x), plain(x))
    torch.testing.assert_close(layer.weight.grad, plain.weight.grad)
    torch.testing.assert_close(layer.bias.grad, plain.bias.grad)


def test_depthwise_layer_keeps_full_precision_under_autocast() -> None:
    torch.manual_seed(1)
    layer = DepthwiseConv2d(WIDTH, KERNEL)
    x = torch.randn(1, WIDTH, 8, 8)
    expected = as_torch_has_it(layer)(x)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer(x), expected)
        assert layer(x.bfloat16()).dtype == torch.bfloat16
