"""Convolutions in integers over whole images.

A convolution is a sum of matrix products, one per tap of its kernel, over shifted views of the
padded image. Nothing is unfolded, and a run of columns stays in the cache from the first tap to the
rounding.
"""

import torch
from torch import Tensor, nn

from laconic.networks.causal import CausalConvolution
from laconic.networks.fixed_point.arithmetic import (
    FRACTION_BITS,
    LIMIT,
    WEIGHT_BITS,
    check_sums,
    from_float,
    leaky_relu_,
    shift_,
)

CACHE = 1 << 17
"""Numbers that stay in a core's own cache from a product to its rounding."""

Offset = tuple[int, int]


class FixedConvolution:
    """A convolution of stride 1 that keeps the size, or a linear map of channels, in integers.

    Args:
        layer: `nn.Conv2d` with zero padding of half its kernel, or `CausalConvolution`.

    Raises:
        ConfigError: a sum of products could leave the integers that float64 holds.
    """

    def __init__(self, layer: nn.Conv2d | CausalConvolution) -> None:
        weight, self.offsets = _taps(layer)
        bias = layer.bias
        assert isinstance(bias, Tensor)
        self.weight = from_float(weight, WEIGHT_BITS).contiguous()  # (taps, out, in)
        self.bias = from_float(bias.detach(), WEIGHT_BITS + FRACTION_BITS)
        self.margin = max(max(abs(row), abs(column)) for row, column in self.offsets)
        self.outputs, self.inputs = self.weight.shape[1:]
        # (taps x in, out): what multiplies the inputs of one position.
        self.gathered = self.weight.permute(0, 2, 1).flatten(0, 1).contiguous()
        check_sums(self.weight.abs().sum((0, 2)), self.bias)

    def __call__(self, x: Tensor, before: bool = False, after: bool = False) -> Tensor:
        """`(batch, in, h, w)` -> `(batch, out, h, w)`, units of 2^-16 both.

        Args:
            x: the maps.
            before: whether `x` passes a leaky ReLU first.
            after: whether the result passes one.
        """
        batch, channels, height, width = x.shape
        margin = self.margin
        # All images in one row of columns per channel. Rows and images have zeros before them,
        # which are the zeros behind the last row or image too; the last taps get room at the end.
        high, wide = height + margin, width + margin
        total, room = batch * high * wide, 2 * margin * (wide + 1)
        flat = (x.new_zeros if margin else x.new_empty)(channels, total + room)
        inner = (slice(margin, margin + height), slice(margin, margin + width))
        maps = flat[:, :total].view(channels, batch, high, wide)
        maps[(slice(None), slice(None), *inner)] = x.transpose(0, 1)
        self._prepare(flat, before)
        out = x.new_empty(self.outputs, total)
        self._convolve(flat, out, wide, after)
        kept = out.view(self.outputs, batch, high, wide)[..., :height, :width]
        return kept.transpose(0, 1).contiguous()

    def _prepare(self, flat: Tensor, before: bool) -> None:
        """Activate and limit in place, run by run."""
        run = _run(len(flat), flat)
        for first in range(0, flat.shape[1], run):
            part = flat[:, first : first + run]
            if before:
                leaky_relu_(part)
            part.clamp_(-LIMIT, LIMIT)

    def _convolve(self, flat: Tensor, out: Tensor, wide: int, after: bool) -> None:
        starts = [(row + self.margin) * wide + column + self.margin for row, column in self.offsets]
        total, run = out.shape[1], _run(self.outputs, flat)
        for first in range(0, total, run):
            last = min(first + run, total)
            sums = self.bias[:, None].expand(-1, last - first)
            sums = torch.addmm(sums, self.weight[0], flat[:, first + starts[0] : last + starts[0]])
            for weight, start in zip(self.weight[1:], starts[1:], strict=True):
                sums.addmm_(weight, flat[:, first + start : last + start])
            shift_(sums, WEIGHT_BITS)
            out[:, first:last] = leaky_relu_(sums) if after else sums


def _run(channels: int, flat: Tensor) -> int:
    """Columns that are handled together: on a CPU as many as its cache holds, else all."""
    return max(64, CACHE // channels) if flat.device.type == "cpu" else flat.shape[1]


def _taps(layer: nn.Conv2d | CausalConvolution) -> tuple[Tensor, list[Offset]]:
    """Weights `(taps, out, in)` and the taps' offsets."""
    if isinstance(layer, CausalConvolution):
        return layer.weight.detach().permute(2, 0, 1), list(layer.taps)
    assert layer.stride == (1, 1)
    reach = layer.kernel_size[0] // 2
    assert layer.padding == (reach, reach)
    span = range(-reach, reach + 1)
    weight = layer.weight.detach().flatten(2).permute(2, 0, 1)
    return weight, [(row, column) for row in span for column in span]
