"""The arithmetic that a network computes in: floats, or the integers of `networks.fixed_point`.

A network whose results steer a decoder has an integer form (DESIGN.md, section 4.3). It is written
once, as a `Network` over the operations of an `Arithmetic`; `networks.fixed_point.conversion` makes
a copy of it that computes in integers.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LEAK = 0.2
"""Slope of leaky ReLUs below zero, Flamich fig. 3.2."""


@dataclass(frozen=True)
class Arithmetic:
    """What networks compute with. A number is a float, or an integer that counts small units.

    Attributes:
        one: the number 1.
        apply: `(layer, x, before, after)` -> a convolution of x; `before` and `after` say whether
            a leaky ReLU comes before it and after it, which integers fuse with the convolution.
        add: `(x, fresh)` -> their sum; `fresh` may be overwritten.
        leaky_relu: slope `LEAK` below zero.
        rescale: a number from a product of two numbers, or from a sum of such products.
        divide: `(x, bits)` -> x / 2^bits.
        round: the nearest number.
        limit: clips to what may be multiplied by another number.
        asinh: inverse hyperbolic sine.
        exp: `(x, limit)` -> exp of x clipped to +-limit, as a float in every arithmetic.
        from_float: the number nearest to a float.
    """

    one: float
    apply: Callable[[Any, Tensor, bool, bool], Tensor]
    add: Callable[[Tensor, Tensor], Tensor]
    leaky_relu: Callable[[Tensor], Tensor]
    rescale: Callable[[Tensor], Tensor]
    divide: Callable[[Tensor, int], Tensor]
    round: Callable[[Tensor], Tensor]
    limit: Callable[[Tensor], Tensor]
    asinh: Callable[[Tensor], Tensor]
    exp: Callable[[Tensor, int], Tensor]
    from_float: Callable[[Tensor], Tensor]


def _apply(layer: Any, x: Tensor, before: bool, after: bool) -> Tensor:
    result: Tensor = layer(_leaky_relu(x) if before else x)
    return _leaky_relu(result) if after else result


def _leaky_relu(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, LEAK)


def _unchanged(x: Tensor) -> Tensor:
    return x


FLOAT = Arithmetic(
    one=1.0,
    apply=_apply,
    add=operator.add,
    leaky_relu=_leaky_relu,
    rescale=_unchanged,
    divide=lambda x, bits: x / 2.0**bits,
    round=_unchanged,
    limit=_unchanged,
    asinh=torch.asinh,
    exp=lambda x, limit: torch.exp(x.clamp(-limit, limit)),
    from_float=_unchanged,
)
"""Torch's own operations, with gradients."""


class Network(nn.Module):
    """A network that is written once for every arithmetic.

    Attributes:
        arithmetic: what it computes with; floats, unless it is a copy in integers.
    """

    arithmetic: Arithmetic = FLOAT
