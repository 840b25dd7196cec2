"""Matrices of small integers: quantised weights, coded under the scale of their row and column.

Weights of one output, or of one input, have similar sizes. So every row and every column has a
scale, encoded in half octaves. The sum of both selects the context of an entry, and each context
has its own adaptive counts. The counted symbol is |q| for small scales, and |q| without its lowest
bits for large ones. Lowest bits are sent raw, and so are signs, except in kernels whose signs can
be predicted from neighbours (`kernels_signs`). A context means the same in every matrix, so one set
of counts (`Contexts`) serves a whole network.

Source: separable scales, shared contexts and predicted signs are ours; rate-distortion optimised
quantisation of weights before context-adaptive coding is that of DeepCABAC (Wiedemann et al. 2019).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from laconic.coding.queue.stream import AdaptiveModel, IntArray, QueueDecoder, QueueEncoder
from laconic.coding.relative_entropy.standardise import DoubleArray
from laconic.coding.tensors import kernels_dependent, kernels_signs
from laconic.coding.tensors import kernels_matrix as kernels
from laconic.errors import CorruptFileError

LARGEST = (1 << 30) - 1
"""Greatest absolute value that can be coded."""

_CLASSES = 40
"""Number of contexts: an expected |q| of 2^-8 to 2^12, in half octaves."""

_LOWEST = -16
"""Half octave of the expected |q| of the first context."""

_STEEPEST = 64
"""Scales lie in 2^-32 to 2^32."""

_SYMBOLS = 48
"""Symbols of a count; the last one means "this or larger", and the rest follows."""

_SAMPLE = 1 << 14
"""A sample of this many entries decides whether signs are predicted from neighbours."""

_WORTHWHILE_BITS = 64.0
"""A smaller gain may be chance: random signs show 0.7 on average."""

_SHARPEST = 2
"""Lowest bits are dropped so that the expected |q| is below 2^(_SHARPEST + 1)."""


def _dropped(context: int) -> int:
    """Lowest bits that a context's counts leave out."""
    return max(0, (context + _LOWEST) // 2 - _SHARPEST)


_DROPPED = np.array([_dropped(context) for context in range(_CLASSES)])


class Contexts:
    """Adaptive counts, one set per context; both sides make one and pass the same matrices."""

    def __init__(self) -> None:
        self.scales = AdaptiveModel(256)
        self.signs = np.ones((kernels_signs.CONTEXTS, 2), np.int64)
        self._sizes: dict[int, AdaptiveModel] = {}

    def sizes(self, context: int) -> AdaptiveModel:
        """Counts of |q|, or of its upper bits, in one context."""
        if context not in self._sizes:
            counts = _first_counts(context)
            self._sizes[context] = AdaptiveModel(
                _SYMBOLS, increment=24, limit=1 << 18, longest_run=1 << 12, counts=counts
            )
        return self._sizes[context]


@cache
def _first_counts(context: int) -> tuple[int, ...]:
    """The geometric law of the context's mean, in integers."""
    half_octaves = context + _LOWEST - 2 * _dropped(context)
    mean = (181 if half_octaves % 2 else 128) << (half_octaves // 2 + 8) >> 8
    left, counts = 1 << 10, []
    for _ in range(_SYMBOLS):
        share = left * 128 // (mean + 128)
        counts.append(share + 1)
        left -= share
    return tuple(counts)


@dataclass(frozen=True)
class Scales:
    """Half octaves of the scale of every row and column; their sum is an entry's context."""

    rows: IntArray
    columns: IntArray

    @property
    def shifted(self) -> tuple[IntArray, IntArray]:
        """Steps of rows and columns whose sum, clipped, is an entry's context."""
        return self.rows - _LOWEST, self.columns

    @property
    def entries(self) -> IntArray:
        """How many entries each context has."""
        entries = np.zeros(_CLASSES, np.int64)
        kernels.count_contexts(*self.shifted, entries)
        return entries


def find_scales(q: IntArray) -> Scales:
    """Scales of a matrix of integers: of rows and columns, of either alone, or one for all.

    The choice takes the fewest bits, the bits of the scales included.
    """
    return _cheapest(q)[0]


def bits_per_number(q: IntArray) -> float:
    """An estimate of the bits per entry of a matrix; signs count one bit each."""
    return (_cheapest(q)[1] + float(np.count_nonzero(q))) / max(q.size, 1)


def _cheapest(q: IntArray) -> tuple[Scales, float]:
    """Scales, and bits of sizes and scales under them."""
    rows, columns = q.shape
    row_steps, column_steps = np.zeros((4, rows), np.int64), np.zeros((4, columns), np.int64)
    if not q.size:
        return Scales(row_steps[0], column_steps[0]), 0.0
    by_row, by_column = np.zeros(rows, np.int64), np.zeros(columns, np.int64)
    kernels.add_up(q, by_row, by_column)
    mean = max(float(by_row.sum() / q.size), 2.0**-8)
    row_steps[0], options = round(2 * math.log2(mean)), 1
    if rows > 1:
        row_steps[options], options = _half_octaves(by_row / columns), options + 1
    if columns > 1:
        column_steps[options], options = _half_octaves(by_column / rows), options + 1
    if rows > 1 and columns > 1:
        factors = _separate(by_row, by_column, mean)
        row_steps[options], column_steps[options] = map(_half_octaves, factors)
        options += 1
    costs = kernels.find_costs(
        q, row_steps[:options] - _LOWEST, column_steps[:options], _DROPPED, _SYMBOLS
    )
    best = int(costs.argmin())
    return Scales(row_steps[best], column_steps[best]), float(costs[best])


def _separate(
    row_sums: IntArray, column_sums: IntArray, mean: float
) -> tuple[DoubleArray, DoubleArray]:
    """Row scales and column factors whose products fit the row and column sums."""
    by_column = np.ones(column_sums.size)
    by_row = np.full(row_sums.size, mean)
    for _ in range(4):
        by_row = row_sums / max(float(np.add.reduce(by_column)), 1e-9)
        by_column = column_sums / max(float(np.add.reduce(by_row)), 1e-9)
    return by_row, by_column


def _half_octaves(scale: DoubleArray) -> IntArray:
    steps = np.rint(2 * np.log2(np.maximum(scale, 2.0**-12)))
    halves: IntArray = np.minimum(steps, _STEEPEST - 1).astype(np.int64)
    return halves


def signs_are_predictable(q: NDArray[np.signedinteger], kernel: tuple[int, int]) -> bool:
    """Whether the signs of a matrix's first kernels can be predicted from their neighbours.

    Args:
        q: `(rows, columns)`; each row is some kernels, one after the other.
        kernel: height and width of a kernel.
    """
    size = kernel[0] * kernel[1]
    if size < 2 or not q.size:
        return False
    sample = np.ascontiguousarray(q.reshape(-1, *kernel)[: max(1, _SAMPLE // size)], np.int64)
    right, tried = kernels_signs.count_agreements(sample)
    shares = np.array([right, tried - right]) / max(tried, 1)
    entropy = float(-(shares * np.log2(np.maximum(shares, 1e-9))).sum())
    return bool(tried * (1 - entropy) > _WORTHWHILE_BITS)


def write(
    stream: QueueEncoder,
    q: NDArray[np.signedinteger],
    contexts: Contexts,
    kernel: tuple[int, int] | None = None,
) -> None:
    """Write a matrix of integers of at most `LARGEST`.

    Args:
        stream: where to.
        q: `(rows, columns)`.
        contexts: shared by all matrices.
        kernel: height and width of kernels whose signs are predicted (`signs_are_predictable`).
    """
    q = np.ascontiguousarray(q, np.int64)
    scales = find_scales(q)
    for steps in (scales.rows, scales.columns):
        _write_steps(stream, steps, contexts)
    entries = scales.entries
    ends = np.cumsum(entries)
    sorted_q = q.reshape(-1)
    if np.count_nonzero(entries) > 1:
        sorted_q = np.empty(q.size, np.int64)
        kernels.sort_entries(q, *scales.shifted, ends - entries, sorted_q)
    for context in np.flatnonzero(entries):
        part = sorted_q[ends[context] - entries[context] : ends[context]]
        _write_entries(stream, part, int(context), contexts, kernel is None)
    if kernel is not None:
        stream.signs(q.reshape(-1, *kernel), contexts.signs)


def read(
    stream: QueueDecoder,
    shape: tuple[int, int],
    contexts: Contexts,
    kernel: tuple[int, int] | None = None,
) -> IntArray:
    """Read what `write` wrote."""
    scales = Scales(*(_read_steps(stream, count, contexts) for count in shape))
    entries = scales.entries
    ends = np.cumsum(entries)
    sorted_q = np.empty(shape[0] * shape[1], np.int64)
    for context in np.flatnonzero(entries):
        part = sorted_q[ends[context] - entries[context] : ends[context]]
        _read_entries(stream, part, int(context), contexts, kernel is None)
    q = sorted_q.reshape(shape)
    if np.count_nonzero(entries) > 1:
        q = np.empty(shape, np.int64)
        kernels.spread_entries(q, *scales.shifted, ends - entries, sorted_q)
    if kernel is not None:
        stream.signs(q.reshape(-1, *kernel), contexts.signs)
    return q


def _write_steps(stream: QueueEncoder, steps: IntArray, contexts: Contexts) -> None:
    """Write half octaves as changes from one to the next; one bit if all are equal."""
    constant = not steps.size or bool((steps == steps[0]).all())
    stream.uniform([int(constant)], 2)
    changes = steps[:1].copy() if constant else steps.copy()
    changes[1:] -= steps[: changes.size - 1]
    stream.adaptive((2 * np.abs(changes) - (changes < 0)), contexts.scales)


def _read_steps(stream: QueueDecoder, count: int, contexts: Contexts) -> IntArray:
    constant = bool(stream.uniform(1, 2)[0])
    codes = stream.adaptive(min(count, 1) if constant else count, contexts.scales)
    changes = np.where(codes % 2 == 1, -(codes + 1) // 2, codes // 2)
    steps = np.cumsum(changes)
    if count and not -_STEEPEST <= steps.min() <= steps.max() <= _STEEPEST:
        raise CorruptFileError(
            "a row's or column's scale is beyond all bounds: the file is damaged"
        )
    return np.broadcast_to(steps, (count,)) if constant else steps


def _write_entries(
    stream: QueueEncoder, q: IntArray, context: int, contexts: Contexts, signed: bool
) -> None:
    dropped, model = _dropped(context), contexts.sizes(context)
    stream.sizes(q, dropped, model)
    if max(int(q.max()), -int(q.min())) >> dropped >= _SYMBOLS - 1:
        size = np.abs(q) >> dropped
        stream.integers(size[size >= _SYMBOLS - 1] - (_SYMBOLS - 1))
    stream.rest(q, dropped, signed)


def _read_entries(
    stream: QueueDecoder, size: IntArray, context: int, contexts: Contexts, signed: bool
) -> None:
    dropped = _dropped(context)
    stream.sizes(size, contexts.sizes(context))
    large = np.flatnonzero(size == _SYMBOLS - 1) if size.max() == _SYMBOLS - 1 else size[:0]
    size[large] += stream.integers(large.size, LARGEST)
    stream.rest(size, dropped, signed)
    if large.size and int(np.abs(size[large]).max()) > LARGEST:
        raise CorruptFileError(f"a weight is larger than {LARGEST} steps: the file is damaged")


SLOPE = 2 * np.log(2.0) / 12
"""Squared error, in steps², that saving one bit may add; for fine quantisation."""

_DEPENDENT_SLOPE = SLOPE * 4 * 10**-0.1
"""The same for dependent quantisation: values two steps apart, and about 1 dB less noise."""


def quantise(values: DoubleArray, step: float) -> IntArray:
    """Integers near `values / step` of least cost: squared error + SLOPE step² x bits.

    Each entry is rounded, or moved one step nearer to zero where that lowers the cost; the bits are
    those of the entries' contexts after rounding.

    Source: rate-distortion optimised quantisation as in DeepCABAC; the slope is that of the
    entropy-coded uniform quantiser at high rates, dD/dR = -2 ln 2 step² / 12.
    """
    q = np.rint(values / step).astype(np.int64)
    steps = find_scales(q).shifted
    saved = np.diff(_prices(q, steps), axis=1, prepend=0)  # Never read at size 0.
    kernels.round_down(q, np.ascontiguousarray(values), step, *steps, SLOPE * saved)
    return q


def quantise_dependently(values: DoubleArray, step: float, state: int = 0) -> tuple[IntArray, int]:
    """Indices of dependent quantisation of least cost, and the state after the last.

    Args:
        values: `(rows, columns)`.
        step: distance of neighbouring values of both quantisers together; the values of each are
            two steps apart.
        state: first state of the path, 0 at the beginning of a tensor.

    Source: `kernels_dependent`; prices are those of plain rounding to values two steps apart.
    """
    scaled = np.ascontiguousarray(values / step)
    q = np.rint(scaled / 2).astype(np.int64)
    steps = find_scales(q).shifted
    price = _DEPENDENT_SLOPE * _prices(q, steps)
    return q, int(kernels_dependent.find_path(scaled, *steps, price, state, q))


def to_values(k: IntArray, state: int) -> tuple[IntArray, int]:
    """The values of indices of dependent quantisation, in steps, and the state after the last."""
    r = k.copy().reshape(-1)
    last = int(kernels_dependent.to_values(r, state))
    return r.reshape(k.shape), last


def to_indices(blocks: Sequence[NDArray[np.signedinteger]]) -> list[IntArray] | None:
    """Undo `to_values`, block after block of a tensor; None if no path gives the values."""
    paths, state = list[IntArray](), 0
    for block in blocks:
        k = block.astype(np.int64).reshape(-1)
        state = int(kernels_dependent.to_indices(k, state))
        if state == kernels_dependent.OFF:
            return None
        paths.append(k.reshape(block.shape))
    return paths


def _prices(q: IntArray, steps: tuple[IntArray, IntArray]) -> DoubleArray:
    """Bits of each size in each context, signs included, if the encoded matrix is like `q`."""
    cells = np.zeros((_CLASSES, _SYMBOLS), np.int64)
    kernels.count_cells(q, *steps, cells)
    shares = cells + 0.05
    price: DoubleArray = -np.log2(shares / shares.sum(1, keepdims=True))
    price[:, 1:] += 1  # The bit of the sign.
    return price
