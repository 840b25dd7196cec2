"""Gated layers in integers: convolutions of any stride, up and down, and the curves between them.

Everything counts in units of 2^-16 (`fixed_point`). Convolutions gather or scatter their taps by
`unfold` and `fold`, which only copy and add; curves are tables with linear interpolation.
"""

from collections.abc import Callable
from decimal import Decimal, localcontext
from functools import cache
from math import prod

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
)

_NODE_BITS = 7
"""Curves are tabulated at steps of 2^-7."""
_GATE_BITS = 24
"""A gate counts in units of 2^-24: times the largest activation that is below 2^53."""
_SIGMOID_LIMIT = 18


class Curve:
    """A smooth function on [-limit, limit], constant beyond; the same on every machine.

    Args:
        function: in decimal arithmetic, which rounds alike everywhere.
        limit: where the table ends.
        bits: values count in units of 2^-bits.
    """

    def __init__(self, function: Callable[[Decimal], Decimal], limit: int, bits: int) -> None:
        nodes = range(-limit << _NODE_BITS, (limit << _NODE_BITS) + 1)
        with localcontext() as context:
            context.prec = 30
            values = [function(Decimal(node) / (1 << _NODE_BITS)) for node in nodes]
            units = [int((value * (1 << bits)).to_integral_value()) for value in values]
        self._table = torch.tensor(units, dtype=torch.float64)
        self._limit = limit

    def __call__(self, x: Tensor) -> Tensor:
        """`x` in units of 2^-16, any shape."""
        cell_bits = FRACTION_BITS - _NODE_BITS
        end = float(self._limit << FRACTION_BITS)
        place = x.clamp(-end, end) + end
        node = torch.floor(place * 2.0**-cell_bits).clamp_max(len(self._table) - 2.0)
        rest = place - node * 2.0**cell_bits
        table, index = self._table.to(x.device), node.long()
        low = table[index]
        return low + shift((table[index + 1] - low) * rest, cell_bits)


@cache
def sigmoid() -> Curve:
    """1 / (1 + exp(-x)) in units of 2^-24."""
    return Curve(lambda x: 1 / (1 + (-x).exp()), _SIGMOID_LIMIT, _GATE_BITS)


def gate(x: Tensor) -> Tensor:
    """Values times the sigmoid of their gates' logits: `(batch, 2 n, ...)` -> `(batch, n, ...)`."""
    values, logits = x.chunk(2, dim=1)
    return shift(values.clamp(-LIMIT, LIMIT) * sigmoid()(logits), _GATE_BITS)


class DownConvolution:
    """A convolution of any kernel, stride and padding in integers.

    Args:
        layer: with a bias, without groups or dilation.

    Raises:
        ConfigError: a sum of products could leave the integers that float64 holds.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        self._window = _window(layer)
        self._weight = from_float(layer.weight.detach().flatten(1), WEIGHT_BITS)
        self._bias = _bias(layer)
        check_sums(self._weight.abs().sum(1), self._bias)

    def __call__(self, x: Tensor) -> Tensor:
        """`(batch, in, h, w)` -> `(batch, out, h / stride, w / stride)`, about."""
        kernel, stride, padding = self._window
        sizes = [
            (side + 2 * padding[axis] - kernel[axis]) // stride[axis] + 1
            for axis, side in enumerate(x.shape[2:])
        ]
        limited = x.clamp(-LIMIT, LIMIT)
        seen = functional.unfold(limited, kernel, padding=padding, stride=stride)
        sums = shift(self._weight @ seen + self._bias[:, None], WEIGHT_BITS)
        return sums.reshape(len(x), -1, *sizes)


class UpConvolution:
    """A transposed convolution of any kernel, stride and padding in integers.

    Args:
        layer: with a bias, without groups, dilation or output padding.

    Raises:
        ConfigError: a sum of products could leave the integers that float64 holds.
    """

    def __init__(self, layer: nn.ConvTranspose2d) -> None:
        self._window = _window(layer)
        weight = from_float(layer.weight.detach(), WEIGHT_BITS)  # (in, out, rows, columns)
        self._weight = weight.flatten(1).T.contiguous()
        self._bias = _bias(layer)
        check_sums(weight.abs().sum((0, 2, 3)), self._bias)

    def __call__(self, x: Tensor) -> Tensor:
        """`(batch, in, h, w)` -> `(batch, out, stride h, stride w)`, about."""
        kernel, stride, padding = self._window
        sizes = tuple(
            (side - 1) * stride[axis] - 2 * padding[axis] + kernel[axis]
            for axis, side in enumerate(x.shape[2:])
        )
        spread = self._weight @ x.clamp(-LIMIT, LIMIT).flatten(2)
        sums = functional.fold(spread, sizes, kernel, padding=padding, stride=stride)
        return shift(sums + self._bias[:, None, None], WEIGHT_BITS)


def _window(layer: nn.Conv2d | nn.ConvTranspose2d) -> list[tuple[int, ...]]:
    """Kernel, stride and padding, along rows and columns."""
    assert not isinstance(layer.padding, str)
    return [layer.kernel_size, layer.stride, layer.padding]


def _bias(layer: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    assert layer.bias is not None
    assert layer.groups == 1
    assert prod(layer.dilation) == 1
    return from_float(layer.bias.detach(), WEIGHT_BITS + FRACTION_BITS)
