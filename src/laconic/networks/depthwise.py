"""Depthwise convolutions whose gradients are fast on a CPU."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from laconic.compiled import compiled
from laconic.types import FeatureMap

Array = NDArray[Any]

LEAST_KERNEL = 5
"""Side of the filters from which on our gradient is faster than oneDNN's."""


class DepthwiseConv2d(nn.Conv2d):
    """One filter a channel, the size kept, computed in float32 with the channels last.

    In half precision, and with the channels first, oneDNN's gradients of such layers take twice the
    time on a CPU. Its gradient by the filters is slow in any order: that of filters of 5x5 takes
    seven times as long as ours.

    Args:
        width: channels.
        kernel: side of the filters, odd.
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__(width, width, kernel, padding=kernel // 2, groups=width)

    def forward(self, x: FeatureMap) -> FeatureMap:
        """`x`: `(batch, width, h, w)`; returns the same shape in `x`'s dtype."""
        if x.device.type != "cpu":
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            last = x.to(self.weight.dtype).contiguous(memory_format=torch.channels_last)
            is_ours = last.dtype == torch.float32 and self.kernel_size[0] >= LEAST_KERNEL
            if is_ours and torch.is_grad_enabled():
                found: Tensor = _Depthwise.apply(last, self.weight, self.bias)  # type: ignore[no-untyped-call]
            else:
                found = super().forward(last)
            return found.to(x.dtype)


class _Depthwise(torch.autograd.Function):
    """The convolution of torch, with a gradient by the filters of our own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return functional.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        kernel, channels = weight.shape[-1], len(weight)
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        by_x = by_weight = by_bias = None
        if ctx.needs_input_grad[0]:
            with torch.autocast("cpu", enabled=False):
                by_x = functional.conv2d(
                    gradient, weight.flip(2, 3), padding=kernel // 2, groups=channels
                )
        if ctx.needs_input_grad[1]:
            total = np.zeros((kernel, kernel, channels), np.float32)
            add_products(_channels_last(x), _channels_last(gradient), total)
            by_weight = torch.from_numpy(total).permute(2, 0, 1)[:, None].contiguous()
        if ctx.needs_input_grad[2]:
            by_bias = gradient.sum((0, 2, 3))
        return by_x, by_weight, by_bias


def _channels_last(x: Tensor) -> Array:
    """`(batch, channels, h, w)` in that memory format -> `(batch, h, w, channels)`, not copied."""
    array: Array = x.detach().permute(0, 2, 3, 1).numpy()
    return array


@compiled(fastmath=True, nogil=True)
def add_products(x: Array, gradient: Array, total: Array) -> None:
    """Add the gradient by the filters of a depthwise convolution.

    Args:
        x: `(batch, h, w, channels)`: its input.
        gradient: of the same shape, by its output.
        total: `(kernel, kernel, channels)`; it is added to.
    """
    batch, height, width, channels = gradient.shape
    kernel = total.shape[0]
    reach = kernel // 2
    for n in range(batch):
        for row in range(height):
            for i in range(kernel):
                y = row + i - reach
                if y < 0 or y >= height:
                    continue
                for j in range(kernel):
                    for column in range(max(0, reach - j), min(width, width + reach - j)):
                        for c in range(channels):
                            total[i, j, c] += (
                                x[n, y, column + j - reach, c] * gradient[n, row, column, c]
                            )
