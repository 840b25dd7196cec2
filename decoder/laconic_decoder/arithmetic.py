"""Layers of networks in floats and in integers (docs/format.md, "Integer networks")."""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import cache
from typing import Any

import numpy as np

from .container import Array, need

ONE, LIMIT = 65536.0, 2.0**26


def shift(x: Array, bits: int) -> Array:
    """Divide by 2^bits and round half up."""
    return np.floor(x * 2.0**-bits + 0.5)


@cache
def log_table() -> Array:
    """Ln of 1, 1 + 2^-8, ..., 2 in units of 2^-30."""
    with localcontext() as context:
        context.prec = 30
        return np.array([float(round((1 + Decimal(i) / 256).ln() * 2**30)) for i in range(257)])


def exact_log(x: Array) -> Array:
    """Natural logarithm in units of 2^-16."""
    table = log_table()
    mantissa, exponent = np.frexp(x)
    units = np.floor((mantissa * 2 - 1) * 2.0**20)
    node = np.floor(units * 2.0**-12)
    index = node.astype(np.int64)
    part = table[index] + shift((table[index + 1] - table[index]) * (units - node * 4096), 12)
    return shift(part + (exponent - 1) * table[-1], 14)


@cache
def exp_table() -> Array:
    """Exp(k / 256) for k = -2048 ... 2048, with 24 significant bits."""
    return np.exp(np.arange(-2048, 2049) / 256).astype(np.float32).astype(np.float64)


def exact_exp(x: Array) -> Array:
    """Exp of units of 2^-16, clipped to 8 nats either way."""
    return exp_table()[(np.clip(shift(x, 8), -2048, 2048) + 2048).astype(np.int64)]


PER_NAT = round(2**24 * 128 / (0.6931471805599453 * 65536))


def expected_rates(scale: Array) -> Array:
    """Rates in 1/256 bit that are expected of dimensions of these scales."""
    return shift(exact_log(1 + scale * scale) * PER_NAT, 24).astype(np.int64)


class Net:
    """The layers of a network, in float32, or in integers of 2^-16 that float64 holds."""

    def __init__(self, tensors: dict[str, Array], exact: bool) -> None:
        self.tensors, self.exact, self.made = tensors, exact, dict[str, Array]()
        self.one: Any = ONE if exact else np.float32(1)

    def has(self, name: str) -> bool:
        """Whether there are weights of this name."""
        return name in self.tensors

    def get(self, name: str, bits: int = 16) -> Array:
        """A tensor, in integers in units of 2^-bits."""
        if name not in self.made:
            need(name in self.tensors, f"the model has no tensor {name!r}")
            x = self.tensors[name]
            self.made[name] = np.floor(x.astype(np.float64) * 2.0**bits + 0.5) if self.exact else x
        return self.made[name]

    def limit(self, x: Array) -> Array:
        """What may be multiplied."""
        return np.clip(x, -LIMIT, LIMIT) if self.exact else x

    def rescale(self, x: Array, bits: int = 16) -> Array:
        """A number from a product of two."""
        return shift(x, bits) if self.exact else x

    def divide(self, x: Array, bits: int) -> Array:
        """A number by 2^bits."""
        return shift(x, bits) if self.exact else x * np.float32(2.0**-bits)

    def leaky(self, x: Array) -> Array:
        """Leaky ReLU."""
        low = shift(np.maximum(x, -LIMIT) * 13107, 16) if self.exact else x * np.float32(0.2)
        return np.maximum(x, low)

    def asinh(self, x: Array) -> Array:
        """Inverse hyperbolic sine."""
        if not self.exact:
            return np.arcsinh(x)
        size = np.minimum(np.abs(x), LIMIT)
        return np.sign(x) * exact_log((size + np.sqrt(size * size + 2.0**32)) / ONE)

    def linear(self, name: str, x: Array) -> Array:
        """A linear layer of a vector."""
        total = self.get(f"{name}.weight") @ self.limit(x) + self.get(f"{name}.bias", 32)
        return self.rescale(total)

    def conv(self, name: str, x: Array) -> Array:
        """A convolution that keeps the size; a kernel with one input works channel by channel."""
        weight, bias = self.get(f"{name}.weight"), self.get(f"{name}.bias", 32)
        (channels, height, width), (outputs, inputs, side, _) = x.shape, weight.shape
        reach, x = side // 2, self.limit(x)
        padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach))) if reach else x
        total = np.repeat(bias[:, None], height * width, 1)
        for row in range(side):
            for column in range(side):
                seen = padded[:, row : row + height, column : column + width].reshape(channels, -1)
                tap = weight[:, :, row, column]
                total += tap * seen if inputs < channels else tap @ seen
        return self.rescale(total).reshape(outputs, height, width)

    def chain(self, name: str, x: Array, embedding: Array) -> Array:
        """A convolution, then blocks: steered, or gated where they have a depthwise kernel."""
        x, k = self.conv(f"{name}.enter", x), 0
        while self.has(f"{name}.blocks.{k}.steer.weight"):
            block = f"{name}.blocks.{k}"
            steer = self.linear(f"{block}.steer", embedding)[:, None, None]
            gain, move = np.split(steer, 2)
            if self.has(f"{block}.spread.weight"):
                inner = self.limit(self.conv(f"{block}.inner", self.conv(f"{block}.spread", x)))
                value, gate = np.split(inner, 2)
                gate = np.clip(self.divide(gate, 2) + self.one / 2, 0, self.one)
                value = self.rescale(value * (self.one + gain)) + move
                x = x + self.conv(f"{block}.outer", self.rescale(self.limit(value) * gate))
            else:
                hidden = self.rescale(self.conv(f"{block}.inner", x) * (self.one + gain)) + move
                x = x + self.conv(f"{block}.outer", self.leaky(hidden))
            k += 1
        return x

    def embed(self, position: Array, side: Array) -> Array:
        """The operating point's embedding."""

        def network(name: str, inputs: list[Array]) -> Array:
            hidden = self.leaky(self.linear(f"{name}.0", np.array(inputs)))
            return self.linear(f"{name}.2", hidden)

        r = self.rescale
        square = r(position * position)
        result = network("operating_point.network", [position, square, r(square * position)])
        if self.has("operating_point.taste.0.weight"):
            mixed = [r(side * position), r(side * square), r(side * side)]
            inputs = [side, *mixed, r(mixed[2] * position)]
            result = result + network("operating_point.taste", inputs)
        return result


def fold(x: Array, factor: int) -> Array:
    """Squares of pixels to channels: `(c, f h, f w)` -> `(f² c, h, w)`."""
    c, h, w = x.shape
    cells = x.reshape(c, h // factor, factor, w // factor, factor)
    return cells.transpose(0, 2, 4, 1, 3).reshape(c * factor**2, h // factor, w // factor)


def unfold(x: Array, factor: int) -> Array:
    """Channels to squares of pixels: the inverse of `fold`."""
    c, h, w = x.shape
    cells = x.reshape(c // factor**2, factor, factor, h, w)
    return cells.transpose(0, 3, 1, 4, 2).reshape(c // factor**2, h * factor, w * factor)
