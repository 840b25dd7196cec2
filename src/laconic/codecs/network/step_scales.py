"""Rows and columns of a matrix that are quantised more finely than the rest.

One step for a whole matrix is too coarse for a row or a column that is far smaller than the others,
as where a normalisation of the inputs is folded into the first layer: the numbers of that column
become 0, and the error of the whole hardly shows it. There each row i and each column j has a
number of half octaves by which its step is finer:

    value = integer x step x 2^(-rows[i] / 2) x 2^(-columns[j] / 2)

They are chosen so that no row and no column loses more than `MULTIPLE` times the tolerance of the
matrix, each measured against its own norm. A matrix that keeps to this with one step has none.

Source: ours; scales per row and column are those of `laconic.coding.tensors.quantised`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from laconic.coding.queue.stream import IntArray, QueueDecoder, QueueEncoder
from laconic.coding.relative_entropy.standardise import DoubleArray
from laconic.errors import CorruptFileError

MULTIPLE: Final = 8
"""Of a matrix's tolerance: what a row or a column may lose of its own norm."""

LEAST: Final = 8
"""Numbers of a row or a column for which that holds: chance alone makes shorter ones small."""

FINEST: Final = 2000
"""Half octaves by which a step may be finer."""

_ROUNDS: Final = 8
_SQRT_HALF: Final = 0.7071067811865476
_MARGIN: Final = 1 + 1e-9


@dataclass(frozen=True)
class Powers:
    """Sums of squares over rows and columns of a matrix: of its numbers, or of errors.

    Attributes:
        shape: of the matrix.
        rows: `(rows,)`, or empty where rows have fewer than `LEAST` numbers.
        columns: `(columns,)`, or empty likewise.
    """

    shape: tuple[int, int]
    rows: DoubleArray
    columns: DoubleArray

    @classmethod
    def of_none(cls, shape: tuple[int, int]) -> "Powers":
        """Zeros, to be added to."""
        rows, columns = shape
        return cls(
            shape,
            np.zeros(rows if columns >= LEAST else 0),
            np.zeros(columns if rows >= LEAST else 0),
        )

    def add(self, part: tuple[slice, slice], squares: DoubleArray) -> None:
        """Add the squares of a part of the matrix."""
        if self.rows.size:
            self.rows[part[0]] += squares.sum(1)
        if self.columns.size:
            self.columns[part[1]] += squares.sum(0)


@dataclass(frozen=True)
class StepScales:
    """Half octaves by which the step is finer: of each row and of each column, 0 to `FINEST`."""

    rows: IntArray
    columns: IntArray

    def __getitem__(self, part: tuple[slice, slice]) -> "StepScales":
        """Those of a part of the matrix."""
        return StepScales(self.rows[part[0]], self.columns[part[1]])

    def multiply(self, values: DoubleArray) -> DoubleArray:
        """Numbers in the matrix's own units from numbers in units of one step."""
        product: DoubleArray = values * _factors(self.rows)[:, None] * _factors(self.columns)
        return product

    def divide(self, values: DoubleArray) -> DoubleArray:
        """Undo `multiply`, up to rounding."""
        quotient: DoubleArray = values / _factors(self.rows)[:, None] / _factors(self.columns)
        return quotient

    @property
    def noise(self) -> float:
        """Power of the rounding noise, in units of that of one number in one step."""
        return float((_factors(self.rows) ** 2).sum() * (_factors(self.columns) ** 2).sum())

    def write(self, stream: QueueEncoder) -> None:
        """Write rows, then columns: a bit that says whether any is finer, then the changes."""
        for steps in (self.rows, self.columns):
            stream.uniform([int(steps.any())], 2)
            if steps.any():
                changes = np.diff(steps, prepend=0)
                stream.integers(2 * np.abs(changes) - (changes < 0))

    @classmethod
    def read(cls, stream: QueueDecoder, shape: tuple[int, int]) -> "StepScales":
        """Read what `write` wrote.

        Raises:
            CorruptFileError: a scale is out of range.
        """
        return cls(*(_read_steps(stream, count) for count in shape))

    def refined(self, missing: "StepScales") -> "StepScales":
        """Finer by what is missing."""
        return StepScales(self.rows + missing.rows, self.columns + missing.columns)

    @property
    def can_be_kept(self) -> bool:
        """Whether a file can hold them."""
        return bool(max(self.rows.max(initial=0), self.columns.max(initial=0)) <= FINEST)


def find_step_scales(powers: Powers, allowed: float, tolerance: float) -> StepScales | None:
    """The scales of a matrix whose rounding noise has the allowed power; None where all are 0.

    Noise n in one step gives row i the error power n f_i² Σ_j g_j², with f and g the factors of
    rows and columns. It is held to (`MULTIPLE` tolerance)² times the row's own power, columns
    likewise; what the finer ones save of the allowed total makes n larger for the rest.

    Args:
        powers: of the matrix.
        allowed: power of the error of the whole matrix.
        tolerance: of the matrix, below 1 / `MULTIPLE`.
    """
    by_row, by_column = np.ones(powers.rows.size or 1), np.ones(powers.columns.size or 1)
    repeats = powers.shape[0] / by_row.size, powers.shape[1] / by_column.size
    for round_ in range(_ROUNDS):
        noise = allowed / float(by_row.sum() * by_column.sum() * repeats[0] * repeats[1])
        found = [_largest_factors(powers, noise, tolerance, first) for first in (0, 1)]
        # Of both orders the one whose steps are coarser.
        by_row, by_column = max(found, key=lambda f: np.log(f[0]).mean() + np.log(f[1]).mean())
        if not round_ and min(by_row.min(), by_column.min()) == 1:
            return None
    half_octaves = [np.ceil(-np.log2(f) - 1e-9).astype(np.int64) for f in (by_row, by_column)]
    return StepScales(
        *(np.broadcast_to(h, n) for h, n in zip(half_octaves, powers.shape, strict=True))
    )


def _largest_factors(
    powers: Powers, noise: float, tolerance: float, first: int
) -> tuple[DoubleArray, DoubleArray]:
    """Squared factors of rows and columns; axis `first` is chosen as if the other's were 1."""
    lines = powers.rows, powers.columns
    factors = [np.ones(1), np.ones(1)]
    for axis in (first, 1 - first):
        if lines[axis].size:
            other = factors[1 - axis]
            across = float(other.sum()) * powers.shape[1 - axis] / other.size
            factors[axis] = _limited(lines[axis], noise * across, tolerance)
    return factors[0], factors[1]


def _limited(powers: DoubleArray, noise: float, tolerance: float) -> DoubleArray:
    """Squared factors at which lines of such noise lose what they may."""
    allowed = (MULTIPLE * tolerance) ** 2 * powers
    factors = np.minimum(1, np.divide(allowed, noise, out=np.ones_like(powers), where=powers > 0))
    smallest: DoubleArray = np.maximum(factors, 2.0 ** -(FINEST // 2))
    return smallest


def find_missing(errors: Powers, powers: Powers, tolerance: float) -> StepScales | None:
    """By how much the steps of rows and columns are still too coarse; None where none is.

    Args:
        errors: of the matrix as it would be stored.
        powers: of the matrix itself.
        tolerance: of the matrix, below 1 / `MULTIPLE`.
    """
    rows = _octaves_missing(errors.rows, powers.rows, tolerance)
    columns = _octaves_missing(errors.columns, powers.columns, tolerance)
    if not (rows.any() or columns.any()):
        return None
    lines = zip((rows, columns), powers.shape, strict=True)
    return StepScales(*(own if own.size else np.zeros(n, np.int64) for own, n in lines))


def _octaves_missing(errors: DoubleArray, powers: DoubleArray, tolerance: float) -> IntArray:
    """Half octaves by which the step must be finer, 0 where it is fine enough."""
    allowed = (MULTIPLE * tolerance) ** 2 * powers * _MARGIN
    wrong = errors > allowed
    missing = np.zeros(errors.size, np.int64)
    ratio = errors[wrong] / np.maximum(allowed[wrong], np.finfo(np.float64).tiny)
    missing[wrong] = np.maximum(1, np.ceil(np.log2(ratio)))
    return missing


def _factors(steps: IntArray) -> DoubleArray:
    """2^(-steps / 2), the same on all machines: a power of two, times a constant where odd."""
    odd = np.where(steps % 2 == 1, _SQRT_HALF, 1.0)
    factors: NDArray[np.float64] = np.ldexp(odd, -(steps // 2))
    return factors


def _read_steps(stream: QueueDecoder, count: int) -> IntArray:
    if not int(stream.uniform(1, 2)[0]):
        return np.zeros(count, np.int64)
    codes = stream.integers(count, 2 * FINEST)
    steps: IntArray = np.cumsum(np.where(codes % 2 == 1, -(codes + 1) // 2, codes // 2))
    if count and not 0 <= steps.min() <= steps.max() <= FINEST:
        raise CorruptFileError(
            "a row's or column's step is finer than possible: the file is damaged"
        )
    return steps
