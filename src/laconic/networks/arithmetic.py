"""The arithmetic that a network computes in: floats, or the integers of `networks.fixed_point`.

A network whose results steer a decoder has an integer form (DESIGN.md, section 4.3). It is written
once, as a `Network` over the operations of an `Arithmetic`; `networks.fixed_point.conversion` makes
a copy of it that computes in integers.
"""

from abc import ABC, abstractmethod
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional

LEAK = 0.2
"""Slope of leaky ReLUs below zero."""


class Arithmetic(ABC):
    """What networks compute with. A number is a float, or an integer that counts small units.

    Attributes:
        one: what represents 1.
    """

    one: float

    @abstractmethod
    def apply(self, layer: Any, x: Tensor, before: bool = False, after: bool = False) -> Tensor:
        """A convolution.

        Args:
            layer: the convolution.
            x: its input.
            before: whether `x` passes a leaky ReLU first.
            after: whether the result passes one.
        """

    @abstractmethod
    def add(self, x: Tensor, fresh: Tensor) -> Tensor:
        """The sum; `fresh` is not used afterwards and may be overwritten."""

    @abstractmethod
    def leaky_relu(self, x: Tensor) -> Tensor:
        """Slope `LEAK` below zero."""

    @abstractmethod
    def rescale(self, products: Tensor) -> Tensor:
        """A number from a product of two numbers, or from a sum of such products."""

    @abstractmethod
    def divide(self, x: Tensor, bits: int) -> Tensor:
        """Divide by 2^bits."""

    @abstractmethod
    def round(self, x: Tensor) -> Tensor:
        """The nearest number."""

    @abstractmethod
    def limit(self, x: Tensor) -> Tensor:
        """Clip to what may be multiplied by a number."""

    @abstractmethod
    def asinh(self, x: Tensor) -> Tensor:
        """Inverse hyperbolic sine."""

    @abstractmethod
    def exp(self, x: Tensor, limit: int) -> Tensor:
        """Exp of x, clipped to +-limit, as a float in every arithmetic; see `from_float`."""

    @abstractmethod
    def from_float(self, x: Tensor) -> Tensor:
        """The number nearest to a float."""


@final
class FloatArithmetic(Arithmetic):
    """Torch's own operations, with gradients."""

    one = 1.0

    def apply(self, layer: Any, x: Tensor, before: bool = False, after: bool = False) -> Tensor:
        """A convolution between two leaky ReLUs, either of which may be left out."""
        result: Tensor = layer(self.leaky_relu(x) if before else x)
        return self.leaky_relu(result) if after else result

    def add(self, x: Tensor, fresh: Tensor) -> Tensor:
        """The sum."""
        return x + fresh

    def leaky_relu(self, x: Tensor) -> Tensor:
        """Slope `LEAK` below zero."""
        return functional.leaky_relu(x, LEAK)

    def rescale(self, products: Tensor) -> Tensor:
        """Nothing to do."""
        return products

    def divide(self, x: Tensor, bits: int) -> Tensor:
        """Divide by 2^bits."""
        return x / 2.0**bits

    def round(self, x: Tensor) -> Tensor:
        """Nothing to do."""
        return x

    def limit(self, x: Tensor) -> Tensor:
        """Nothing to do."""
        return x

    def asinh(self, x: Tensor) -> Tensor:
        """Inverse hyperbolic sine."""
        return torch.asinh(x)

    def exp(self, x: Tensor, limit: int) -> Tensor:
        """Exp of x, clipped to +-limit."""
        return torch.exp(x.clamp(-limit, limit))

    def from_float(self, x: Tensor) -> Tensor:
        """Nothing to do."""
        return x


FLOAT = FloatArithmetic()


class Network(nn.Module):
    """A network that is written once for every arithmetic.

    Attributes:
        arithmetic: what it computes with; floats, unless it is a copy in integers.
    """

    arithmetic: Arithmetic = FLOAT
