"""Sizes, mirror padding and the meaning of up-convolution."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from laconic.networks.convolution import (
    ChannelGain,
    Convolution,
    NormalHead,
    UpConvolution,
    mirror,
)

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("height", [1, 2, 3, 4, 7, 16])
@pytest.mark.parametrize("width", [1, 2, 5, 8])
def test_sizes_halve_and_double(height: int, width: int) -> None:
    x = torch.randn(2, 3, height, width)
    assert Convolution(3, 4)(x).shape == (2, 4, height, width)
    assert Convolution(3, 4, 2)(x).shape == (2, 4, -(-height // 2), -(-width // 2))
    assert UpConvolution(3, 4)(x).shape == (2, 4, 2 * height, 2 * width)


def test_mirror_reflects_each_side_that_it_can() -> None:
    x = torch.arange(8.0).reshape(1, 1, 2, 4)
    padded = mirror(x, 2)[0, 0]
    assert padded[2].tolist() == [2, 1, 0, 1, 2, 3, 2, 1]  # 4 columns: reflected
    assert padded[:, 2].tolist() == [0, 0, 0, 4, 4, 4]  # 2 rows: repeated


def test_a_constant_has_no_border() -> None:
    x = torch.full((1, 3, 9, 7), 0.6)
    for convolution in (Convolution(3, 5), Convolution(3, 5, 2)):
        result = convolution(x)
        assert torch.allclose(result, result[:, :, :1, :1].expand_as(result))
    # An up-convolution of a constant has the period of the zeros in between.
    result = UpConvolution(3, 5)(x)
    assert torch.allclose(result, result[:, :, :2, :2].repeat(1, 1, 9, 7))


def test_up_convolution_is_zeros_between_pixels_then_convolution() -> None:
    up = UpConvolution(2, 3)
    x = torch.randn(1, 2, 6, 5)
    spread = torch.zeros(1, 2, 16, 14)
    spread[:, :, 0::2, 0::2] = mirror(x, 1)
    kernel = up.layer.weight.flip(2, 3).transpose(0, 1)
    expected = functional.conv2d(spread, kernel, up.layer.bias, padding=2)[:, :, 2:14, 2:12]
    assert torch.allclose(up(x), expected)


@pytest.mark.parametrize(
    "layer", [Convolution(32, 32), Convolution(32, 32, 2), UpConvolution(32, 32)]
)
def test_variance_is_kept_at_the_start(layer: Convolution | UpConvolution) -> None:
    # 4 images x 32 channels: the estimate scatters by about 5 %, the bounds are 6 sigma wide.
    result = layer(torch.randn(4, 32, 24, 24, dtype=next(layer.parameters()).dtype))
    assert 0.7 < result.var().item() < 1.3


def test_head_returns_the_type_of_its_weights_under_autocast() -> None:
    head = NormalHead(3, 2, 2).float()
    with torch.autocast("cpu", torch.bfloat16):
        mean, scale = head(torch.randn(1, 3, 8, 8, dtype=torch.float32))
    assert mean.dtype == scale.dtype == torch.float32
    assert mean.shape == scale.shape == (1, 2, 4, 4)


def test_untrained_gain_is_one() -> None:
    x: Tensor = torch.randn(2, 3, 4, 4)
    gain = ChannelGain(3, 5)
    assert torch.equal(gain(x, torch.randn(2, 5)), x)
