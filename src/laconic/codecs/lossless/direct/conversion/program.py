"""Straight-line programs of integers: components of a pixel to its red, green and blue.

Values are the three components, then one term after the other:
term = (sum of coefficient * value + offset) >> shift, rounded down, with a coefficient for each
value before the term. The last three terms, clipped to 0 to 255, are red, green and blue.

Data: an integer, the number of terms; of each term an integer, the shift; its offset and its
coefficients, signed integers.

No sum leaves 64 bits: with B = 255 for a component, the sum of |coefficient| B plus |offset| is at
most `MAX_SUM` for each term, and a term's own B is that sum >> shift, plus 1.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from laconic.container import FieldReader, FieldWriter
from laconic.errors import CorruptFileError, InputError

COMPONENTS: Final = 3
MAX_TERMS: Final = 16
MAX_SHIFT: Final = 30
MAX_SUM: Final = 1 << 62
_SMALL: Final = 1 << 31
_BLOCK: Final = 1 << 14
"""Pixels at once: they stay in the processor's cache."""
Bytes = NDArray[np.uint8]


class Term(NamedTuple):
    """One step of a program.

    Attributes:
        shift: 0 to `MAX_SHIFT`.
        offset: added before the shift.
        coefficients: of the three components and of the terms before this one.
    """

    shift: int
    offset: int
    coefficients: tuple[int, ...]


class Affine(NamedTuple):
    """colours = matrix @ components + offset, on average: what a program does but for rounding."""

    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]


@dataclass(frozen=True)
class Program:
    """A conversion of components to colours.

    Raises:
        InputError: there are too few or too many terms, a shift is out of range, a term lacks
            coefficients, or a sum could leave 64 bits.
    """

    terms: tuple[Term, ...]

    def __post_init__(self) -> None:
        if not COMPONENTS <= len(self.terms) <= MAX_TERMS:
            raise InputError(f"a program has 3 to {MAX_TERMS} terms, not {len(self.terms)}")
        for count, term in enumerate(self.terms, COMPONENTS):
            if not 0 <= term.shift <= MAX_SHIFT:
                raise InputError(f"a shift is {term.shift}, not 0 to {MAX_SHIFT}")
            if len(term.coefficients) != count:
                raise InputError(f"a term has {len(term.coefficients)} coefficients, not {count}")
        if self._largest_sum > MAX_SUM:
            raise InputError("a term of a program could leave 64 bits")

    @cached_property
    def _largest_sum(self) -> int:
        """Above the size of every sum."""
        sizes, largest = [255] * COMPONENTS, 0
        for term in self.terms:
            pairs = zip(term.coefficients, sizes, strict=True)
            total = abs(term.offset) + sum(abs(one) * size for one, size in pairs)
            largest = max(largest, total)
            sizes.append((total >> term.shift) + 1)
        return largest

    def run(self, components: Bytes) -> Bytes:
        """Colours `(..., 3)` of components `(..., 3)`."""
        flat = components.reshape(-1, COMPONENTS)
        colours = np.empty(flat.shape, np.uint8)
        kind = np.dtype(np.int32 if self._largest_sum < _SMALL else np.int64)
        for start in range(0, len(flat), _BLOCK):
            part = slice(start, start + _BLOCK)
            values: list[NDArray[Any]] = list(flat[part].T.astype(kind))
            for term in self.terms:
                total = np.full(values[0].shape, term.offset, kind)
                for one, value in zip(term.coefficients, values, strict=True):
                    if one:
                        total += value * one
                total >>= term.shift
                values.append(total)
            for channel, value in enumerate(values[-COMPONENTS:]):
                colours[part, channel] = np.clip(value, 0, 255)
        return colours.reshape(components.shape)

    @property
    def affine(self) -> Affine:
        """The program with real numbers; rounding down takes (1 - 2^-shift) / 2 on average."""
        rows = np.zeros((COMPONENTS + len(self.terms), COMPONENTS + 1))
        rows[:COMPONENTS, :COMPONENTS] = np.eye(COMPONENTS)
        for place, term in enumerate(self.terms, COMPONENTS):
            rows[place] = np.array(term.coefficients, float) @ rows[:place]
            rows[place, COMPONENTS] += term.offset
            rows[place] *= 2.0**-term.shift
            rows[place, COMPONENTS] -= (1 - 2.0**-term.shift) / 2
        return Affine(rows[-COMPONENTS:, :COMPONENTS], rows[-COMPONENTS:, COMPONENTS])

    def write(self, writer: FieldWriter) -> None:
        """Write the program."""
        writer.integer(len(self.terms))
        for term in self.terms:
            writer.integer(term.shift)
            writer.signed(term.offset)
            for one in term.coefficients:
                writer.signed(one)

    @classmethod
    def read(cls, reader: FieldReader) -> Self:
        """Read a program; raises `CorruptFileError` where it breaks a rule."""
        terms = []
        for count in range(reader.integer(MAX_TERMS, "the number of terms")):
            shift = reader.integer(MAX_SHIFT, "a shift")
            offset = reader.signed("an offset")
            known = COMPONENTS + count
            terms.append(
                Term(shift, offset, tuple(reader.signed("a coefficient") for _ in range(known)))
            )
        try:
            return cls(tuple(terms))
        except InputError as error:
            raise CorruptFileError(f"the conversion is damaged: {error}") from error
