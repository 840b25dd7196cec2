"""Exponentials, distribution functions and quantiles in integers: the same on every machine.

The parameters of a codec are integers in units of 2^-16, and the results computed from them choose
intervals of the stack. So `stack.kernels` computes by table look-ups, multiplications and shifts of
64-bit integers. The tables come from decimal arithmetic, which rounds alike everywhere, or from a
file.
"""

from decimal import Decimal, localcontext
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from laconic.coding.stack.kernels import (
    ARGUMENT_BITS,
    CELL_BITS,
    EXP_BITS,
    OCTAVE_BITS,
    VALUE_BITS,
    TableArray,
)

LOGISTIC_LIMIT = 21
"""Beyond 21 scales the logistic has less mass than one unit."""

NORMAL_LIMIT = 7
"""Beyond 7 scales the normal has less mass than one unit."""

_QUANTILE_CELLS = 17


@cache
def half_powers() -> TableArray:
    """2^(29 - i / 1024) for i = 0 .. 1023, rounded; int32 `(1024,)`."""
    with localcontext() as context:
        context.prec = 40
        ratio = (Decimal(2).ln() / -(1 << OCTAVE_BITS)).exp()
        powers = [Decimal(1 << EXP_BITS)]
        for _ in range((1 << OCTAVE_BITS) - 1):
            powers.append(powers[-1] * ratio)
        return _frozen([round(power) for power in powers])


@cache
def logistic_cdf() -> TableArray:
    """1 / (1 + exp(-x)) for x = -21 .. 21 in steps of 2^-7, units of 2^-30, int32 `(5377,)`."""
    half = LOGISTIC_LIMIT << CELL_BITS
    with localcontext() as context:
        context.prec = 40
        ratio = (Decimal(-1) / (1 << CELL_BITS)).exp()
        power, upper = Decimal(1), []
        for _ in range(half + 1):
            upper.append(round((1 << VALUE_BITS) / (1 + power)))
            power *= ratio
    return _symmetric(upper)


@cache
def normal_cdf() -> TableArray:
    """Standard normal distribution function, -7 .. 7 in steps of 2^-7, units of 2^-30.

    Formula: Φ(x) = 1/2 + φ(x) Σ x^(2n+1) / (1·3·5···(2n+1)), n = 0, 1, ...

    Returns:
        int32 `(1793,)`.
    """
    half = NORMAL_LIMIT << CELL_BITS
    upper = []
    with localcontext() as context:
        context.prec = 40
        root = (2 * Decimal("3.14159265358979323846264338327950288419717")).sqrt()
        for i in range(half + 1):
            x = Decimal(i) / (1 << CELL_BITS)
            term = total = x
            n = 1
            while term > Decimal(10) ** -30:
                term = term * x * x / (2 * n + 1)
                total += term
                n += 1
            value = Decimal("0.5") + (-x * x / 2).exp() / root * total
            upper.append(round(value * (1 << VALUE_BITS)))
    return _symmetric(upper)


@cache
def _quantiles() -> TableArray:
    """Entry i is the standard normal quantile at 1/2 + i / 2^17, units of 2^-24, int32 `(65536,)`.

    The file is part of the format: it was made once with 40 digits and is never recomputed.
    """
    with files("laconic.coding").joinpath("normal_edges.npy").open("rb") as file:
        table: TableArray = np.load(file, allow_pickle=False)
    table.flags.writeable = False
    return table


def normal_quantiles(numerators: NDArray[np.int64], bits: int) -> TableArray:
    """Standard normal quantiles at `numerators / 2^bits`, units of 2^-24, int32.

    Args:
        numerators: 1 .. 2^bits - 1, any shape.
        bits: 1 to 17.
    """
    cells = (numerators << (_QUANTILE_CELLS - bits)) - (1 << (_QUANTILE_CELLS - 1))
    values: TableArray = np.sign(cells).astype(np.int32) * _quantiles()[np.abs(cells)]
    return values


@cache
def normal_edges(bits: int) -> TableArray:
    """The 2^bits + 1 edges of equal-mass bins of a standard normal, units of 2^-24.

    The first and the last edge are infinite; their entries are never read.
    """
    edges = np.zeros((1 << bits) + 1, np.int32)
    edges[1:-1] = normal_quantiles(np.arange(1, 1 << bits, dtype=np.int64), bits)
    edges.flags.writeable = False
    return edges


@cache
def normal_centres(bits: int) -> TableArray:
    """The median of each of the 2^bits equal-mass bins of a standard normal, units of 2^-16."""
    middles = 2 * np.arange(1 << bits, dtype=np.int64) + 1
    fine = normal_quantiles(middles, bits + 1)
    shift = ARGUMENT_BITS - 16
    centres: TableArray = np.sign(fine) * ((np.abs(fine) + (1 << (shift - 1))) >> shift)
    centres.flags.writeable = False
    return centres


def _symmetric(upper: list[int]) -> TableArray:
    """A distribution function from its upper half: F(-x) = 1 - F(x)."""
    lower = [(1 << VALUE_BITS) - value for value in reversed(upper[1:])]
    return _frozen(lower + upper)


def _frozen(values: list[int]) -> TableArray:
    table = np.array(values, np.int32)
    table.flags.writeable = False
    return table
