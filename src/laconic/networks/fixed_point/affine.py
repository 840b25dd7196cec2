"""Linear layers and depthwise convolutions in integers."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from laconic.networks.fixed_point.arithmetic import (
    FRACTION_BITS,
    LIMIT,
    WEIGHT_BITS,
    check_sums,
    from_float,
    shift,
    shift_,
)


class FixedLinear:
    """A linear layer, with its weights rounded to 2^-16.

    Args:
        layer: in float32 or float64, with a bias.

    Raises:
        ConfigError: a sum of products could leave the integers that float64 holds.
    """

    def __init__(self, layer: nn.Linear) -> None:
        self.weight = from_float(layer.weight.detach(), WEIGHT_BITS).T.contiguous()
        self.bias = from_float(layer.bias.detach(), WEIGHT_BITS + FRACTION_BITS)
        check_sums(self.weight.abs().sum(0), self.bias)

    def __call__(self, x: Tensor) -> Tensor:
        """`(batch, in)` -> `(batch, out)`, in units of 2^-16."""
        return shift_(torch.addmm(self.bias, x.clamp(-LIMIT, LIMIT), self.weight), WEIGHT_BITS)


class FixedDepthwise:
    """A convolution of every channel by itself that keeps the size, with weights rounded to 2^-16.

    Args:
        layer: in float32 or float64, with a bias and zero padding of half its kernel.

    Raises:
        ConfigError: a sum of products could leave the integers that float64 holds.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        assert layer.bias is not None
        assert layer.groups == layer.in_channels == layer.out_channels
        self.kernel = layer.kernel_size[0]
        self.weight = from_float(layer.weight.detach().flatten(1), WEIGHT_BITS)
        self.bias = from_float(layer.bias.detach(), WEIGHT_BITS + FRACTION_BITS)
        check_sums(self.weight.abs().sum(1), self.bias)

    def __call__(self, x: Tensor) -> Tensor:
        """`(batch, channels, h, w)` -> the same shape, in units of 2^-16."""
        margin, (rows, columns) = self.kernel // 2, x.shape[2:]
        padded = functional.pad(x.clamp(-LIMIT, LIMIT), (margin,) * 4)
        total = self.bias[:, None, None].expand(x.shape).clone()
        for place in range(self.kernel**2):
            row, column = divmod(place, self.kernel)
            window = padded[:, :, row : row + rows, column : column + columns]
            total.addcmul_(self.weight[:, place, None, None], window)
        return shift(total, WEIGHT_BITS)
