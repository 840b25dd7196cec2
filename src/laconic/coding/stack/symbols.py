"""Stack codecs: pairs of push and pop that undo each other exactly, and compose.

    codec.push(stack, x); codec.pop(stack)    gives x, and the stack as it was
    codec.push(stack, codec.pop(stack))       leaves the stack as it was

Bits-back needs the second law: the push of the popped symbols puts back the bits that the pop took,
so a pop is a draw whose randomness is recovered.

Parameters are integers (real numbers in units of 2^-16); they come from integer networks. Source:
Townsend, Bird, Barber, "Practical lossless compression with latent variables using bits back
coding", 2019 (composition of codecs).
"""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar, final

import numpy as np
from numpy.typing import ArrayLike

from laconic.coding.integer_tables import logistic_cdf
from laconic.coding.stack.ans import PRECISION, TOTAL, IntArray, Stack
from laconic.coding.stack.kernels import (
    ParameterArray,
    WordArray,
    bernoulli_intervals,
    pop_bernoulli,
    pop_table,
    pop_uniform,
)
from laconic.errors import CodingError

S = TypeVar("S")

_PARAMETER_LIMIT = (1 << 31) - 1
_LARGEST = 1 << 16


class Codec(Protocol[S]):
    """Puts symbols on a stack and takes them off again."""

    def push(self, stack: Stack, symbols: S) -> None:
        """Put symbols on the stack."""

    def pop(self, stack: Stack) -> S:
        """Take them off: the exact inverse of `push`."""


def parameters(values: ArrayLike) -> ParameterArray:
    """Integer parameters as compiled loops take them, clipped to 32 bits.

    Raises:
        CodingError: they are floats, which could differ between machines.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise CodingError(f"parameters must be integers in units of 2^-16, not {array.dtype}")
    if array.dtype != np.int32:
        array = np.clip(array, -_PARAMETER_LIMIT, _PARAMETER_LIMIT).astype(np.int32)
    return np.ascontiguousarray(array)


def alphabet(symbols: ArrayLike, shape: tuple[int, ...], sizes: int | IntArray) -> IntArray:
    """Symbols as int64, after a check of their number and range.

    Raises:
        CodingError: there are too many or too few, or one is not in `0 .. sizes - 1`.
    """
    array = np.ascontiguousarray(symbols, np.int64)
    if array.size != int(np.prod(shape)):
        raise CodingError(f"{array.size} symbols where the codec has {int(np.prod(shape))}")
    array = array.reshape(shape)
    if array.size and (array.min() < 0 or bool((array >= sizes).any())):
        raise CodingError("a symbol lies outside its alphabet: it cannot be written")
    return array


@final
class Uniform:
    """Equally likely symbols.

    Args:
        sizes: size of each alphabet, or one size for all: a power of two up to 2^28, or any
            integer up to 65536.
        count: number of symbols.
    """

    def __init__(self, sizes: int | ArrayLike, count: int) -> None:
        self._sizes: IntArray = np.asarray(sizes, np.int64).reshape(-1)
        if self._sizes.size not in (1, count):
            raise CodingError(f"{self._sizes.size} alphabets for {count} symbols")
        whole = (self._sizes & (self._sizes - 1)) == 0
        limits = np.where(whole, TOTAL, _LARGEST)
        if bool(((self._sizes < 1) | (self._sizes > limits)).any()):
            raise CodingError(f"uniform alphabets have 1 to {_LARGEST} symbols, or 2^0 to 2^28")
        self._count = count

    @classmethod
    def of_bits(cls, bits: int, count: int) -> "Uniform":
        """Integers of `bits` bits, 0 to 28; the prior of `NormalBins`."""
        return cls(1 << bits, count)

    def push(self, stack: Stack, symbols: ArrayLike) -> None:
        """Put `(count,)` symbols on the stack."""
        flat = alphabet(symbols, (self._count,), self._sizes)
        starts = -(-(flat << PRECISION) // self._sizes)
        ends = -(-((flat + 1) << PRECISION) // self._sizes)
        stack.push(starts, ends - starts)

    def pop(self, stack: Stack) -> IntArray:
        """Take them off."""
        return stack.pop(pop_uniform, np.empty(self._count, np.int64), self._sizes)


@final
class Categorical:
    """Symbols under tables of positive integer counts.

    Args:
        counts: `(tables, size)`, or `(size,)` for one table; each adds up to at most 2^28.
        rows: `(n,)`, the table that each symbol follows.
    """

    def __init__(self, counts: ArrayLike, rows: ArrayLike) -> None:
        table = np.atleast_2d(np.asarray(counts, np.int64))
        totals = table.sum(1, keepdims=True)
        if table.ndim != 2 or table.shape[1] < 1 or table.min() < 1 or totals.max() > TOTAL:
            raise CodingError(f"a frequency table needs positive counts, total <= {TOTAL}")
        self._rows = alphabet(rows, (np.size(rows),), table.shape[0])
        cdf = np.zeros((table.shape[0], table.shape[1] + 1), np.int64)
        cdf[:, 1:] = (table.cumsum(1) << PRECISION) // totals
        self._cdf = cdf

    def push(self, stack: Stack, symbols: ArrayLike) -> None:
        """Put `(n,)` symbols on the stack."""
        flat = alphabet(symbols, (self._rows.size,), self._cdf.shape[1] - 1)
        starts = self._cdf[self._rows, flat]
        stack.push(starts, self._cdf[self._rows, flat + 1] - starts)

    def pop(self, stack: Stack) -> IntArray:
        """Take them off."""
        symbols = np.empty(self._rows.size, np.int64)
        return stack.pop(pop_table, symbols, self._rows, self._cdf)


@final
class Bernoulli:
    """Zeros and ones, p(1) = 1 / (1 + exp(-logit)), kept within 2^-28 .. 1 - 2^-28.

    Args:
        logits: any shape, units of 2^-16.
    """

    def __init__(self, logits: ArrayLike) -> None:
        array = parameters(logits)
        self._shape = array.shape
        self._logits = array.reshape(-1)

    def intervals(self, symbols: ArrayLike) -> tuple[WordArray, WordArray]:
        """Starts and sizes, in parts of 2^28, of symbols of the logits' shape; `(n,)` each."""
        flat = alphabet(symbols, self._logits.shape, 2)
        starts, sizes = np.empty(flat.size, np.uint32), np.empty(flat.size, np.uint32)
        bernoulli_intervals(flat, self._logits, logistic_cdf(), starts, sizes)
        return starts, sizes

    def push(self, stack: Stack, symbols: ArrayLike) -> None:
        """Put symbols of the logits' shape on the stack."""
        stack.push(*self.intervals(symbols))

    def pop(self, stack: Stack) -> IntArray:
        """Take them off, in the logits' shape."""
        symbols = np.empty(self._logits.size, np.int64)
        return stack.pop(pop_bernoulli, symbols, self._logits, logistic_cdf()).reshape(self._shape)


@final
class Serial:
    """Several codecs one after the other; the first one's symbols pop first.

    Args:
        codecs: any codecs; none may depend on another's symbols.
    """

    def __init__(self, codecs: Sequence[Codec[Any]]) -> None:
        self._codecs = list(codecs)

    def push(self, stack: Stack, symbols: Sequence[Any]) -> None:
        """Put a list of what the codecs take on the stack."""
        if len(symbols) != len(self._codecs):
            raise CodingError(f"{len(symbols)} parts for {len(self._codecs)} codecs")
        for codec, part in zip(reversed(self._codecs), reversed(symbols), strict=True):
            codec.push(stack, part)

    def pop(self, stack: Stack) -> list[Any]:
        """Take them off: a list of what the codecs give."""
        return [codec.pop(stack) for codec in self._codecs]
