"""Matrices of small integers: quantised weights, coded under the scale of their row and column.

Weights of one output, or of one input, are alike in size. Every row and every column therefore has
a scale, told in half octaves; their sum picks the context of an entry, and each context has its own
adaptive counts. What a count says is |q| for small scales, |q| without its lowest bits for large
ones; signs and lowest bits are sent raw. Contexts mean the same in every matrix, so one set of
counts (`Contexts`) serves a whole network.

Source: separable scales and shared contexts are ours; rate-distortion optimised quantisation of
weights before context-adaptive coding is that of DeepCABAC (Wiedemann et al. 2019).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from laconic.coding.relative_entropy.standard import DoubleArray
from laconic.coding.stream import AdaptiveModel, IntArray, QueueDecoder, QueueEncoder
from laconic.errors import CorruptFileError

SmallArray = NDArray[np.uint8]

LARGEST = (1 << 30) - 1
"""Greatest absolute value that can be coded."""

_CLASSES = 40
"""Contexts: expected |q| of 2^-8 to 2^12 in half octaves."""

_LOWEST = -16
"""Half octave of the expected |q| of the first context."""

_SYMBOLS = 48
"""Values that counts tell apart; the last one means: this large or larger, the rest follows."""

_SHARPEST = 2
"""Lowest bits are dropped so that the expected |q| is below 2^(_SHARPEST + 1)."""


def _dropped(context: int) -> int:
    """Lowest bits that a context's counts do not see."""
    return max(0, (context + _LOWEST) // 2 - _SHARPEST)


class Contexts:
    """Adaptive counts, one set per context; both sides make one and pass the same matrices."""

    def __init__(self) -> None:
        self.scales = AdaptiveModel(256)
        self.sizes = [self._counts(context) for context in range(_CLASSES)]

    @staticmethod
    def _counts(context: int) -> AdaptiveModel:
        """Start from the geometric law of the context's mean, in integers."""
        model = AdaptiveModel(_SYMBOLS, increment=24, limit=1 << 18, longest_run=1 << 12)
        half_octaves = context + _LOWEST - 2 * _dropped(context)
        mean = (181 if half_octaves % 2 else 128) << (half_octaves // 2 + 8) >> 8
        left, counts = 1 << 10, []
        for _ in range(_SYMBOLS):
            share = left * 128 // (mean + 128)
            counts.append(share + 1)
            left -= share
        model.counts[:] = counts
        return model


@dataclass(frozen=True)
class Scales:
    """Half octaves of the scale of every row and column; their sum is an entry's context."""

    rows: IntArray
    columns: IntArray

    def contexts(self) -> SmallArray:
        """Context of every entry, flattened."""
        total = self.rows[:, None] + self.columns[None] - _LOWEST
        contexts: SmallArray = np.clip(total, 0, _CLASSES - 1).astype(np.uint8).reshape(-1)
        return contexts


def find_scales(size: DoubleArray) -> Scales:
    """Scales of a matrix of absolute values: rows and columns, either alone, or one for all.

    The cheapest in bits is taken, the scales' own cost included.
    """
    rows, columns = size.shape
    mean = max(float(size.mean()), 2.0**-8) if size.size else 1.0
    flat = Scales(np.full(rows, round(2 * np.log2(mean))), np.zeros(columns, np.int64))
    by_row, by_column = _separate(size, mean)
    options = [flat]
    if rows > 1:
        options.append(Scales(_half_octaves(size.mean(1)), flat.columns))
    if columns > 1:
        options.append(Scales(0 * flat.rows, _half_octaves(size.mean(0))))
    if rows > 1 and columns > 1:
        options.append(Scales(_half_octaves(by_row), _half_octaves(by_column)))
    return min(options, key=lambda scales: _cost(size, scales))


def _separate(size: DoubleArray, mean: float) -> tuple[DoubleArray, DoubleArray]:
    """Row scales and column factors whose products fit the row and column sums."""
    by_column = np.ones(size.shape[1])
    by_row = np.full(size.shape[0], mean)
    for _ in range(4):
        by_row = size @ np.ones(size.shape[1]) / max(float(by_column.sum()), 1e-9)
        by_column = np.ones(size.shape[0]) @ size / max(float(by_row.sum()), 1e-9)
    return by_row, by_column


def _half_octaves(scale: DoubleArray) -> IntArray:
    steps = np.rint(2 * np.log2(np.maximum(scale, 2.0**-12)))
    halves: IntArray = np.clip(steps, -24, 63).astype(np.int64)
    return halves


def _cost(size: DoubleArray, scales: Scales) -> float:
    """Bits of the entries under their contexts' frequencies, of learning those, of the scales.

    With what learning and telling cost, structure that is only noise does not pay.
    """
    where = scales.contexts()
    dropped = np.array([_dropped(context) for context in range(_CLASSES)])
    seen = np.minimum(size.reshape(-1).astype(np.int64) >> dropped[where], _SYMBOLS - 1)
    cells = np.bincount(where * np.int64(_SYMBOLS) + seen, minlength=_CLASSES * _SYMBOLS)
    table = cells.reshape(_CLASSES, _SYMBOLS)
    counts = table.sum(1)
    bits = _information(table) + float(counts @ dropped)
    learnt = np.maximum(np.count_nonzero(table, axis=1) - 1, 0)
    bits += float(learnt @ np.log2(counts + 1)) / 2
    for steps in (scales.rows, scales.columns):
        changes = np.unique(np.diff(steps), return_counts=True)[1]
        if changes.size > 1:
            bits += _information(changes[None]) + 6 * changes.size
    return bits


def _information(table: IntArray) -> float:
    """Bits of as many symbols as the table counts, each row under its own frequencies."""
    total = table.sum(1)
    filled = table[table > 0]
    return float((total[total > 0] * np.log2(total[total > 0])).sum() - filled @ np.log2(filled))


def write(stream: QueueEncoder, q: IntArray, contexts: Contexts) -> None:
    """Write a matrix of integers of at most `LARGEST`."""
    scales = find_scales(np.abs(q).astype(np.float64))
    for steps in (scales.rows, scales.columns):
        _write_steps(stream, steps, contexts)
    order, bounds = _by_context(scales.contexts())
    sorted_q = q.reshape(-1)[order]
    for context in np.flatnonzero(np.diff(bounds)):
        part = sorted_q[bounds[context] : bounds[context + 1]]
        _write_entries(stream, part, int(context), contexts)


def read(stream: QueueDecoder, shape: tuple[int, int], contexts: Contexts) -> IntArray:
    """Read what `write` wrote."""
    scales = Scales(*(_read_steps(stream, count, contexts) for count in shape))
    order, bounds = _by_context(scales.contexts())
    q = np.zeros(order.size, np.int64)
    for context in np.flatnonzero(np.diff(bounds)):
        here = order[bounds[context] : bounds[context + 1]]
        q[here] = _read_entries(stream, here.size, int(context), contexts)
    return q.reshape(shape)


def _by_context(where: SmallArray) -> tuple[IntArray, IntArray]:
    """Entries sorted by context, each context's in raster order, and where each begins."""
    counts = np.bincount(where, minlength=_CLASSES)
    bounds: IntArray = np.concatenate([[0], np.cumsum(counts)])
    return np.argsort(where, kind="stable"), bounds


def _write_steps(stream: QueueEncoder, steps: IntArray, contexts: Contexts) -> None:
    """Half octaves as changes from one to the next; one bit where all are alike."""
    changes = np.diff(steps, prepend=0)
    constant = not changes[1:].any()
    stream.uniform([int(constant)], 2)
    changes = changes[:1] if constant else changes
    stream.adaptive((2 * np.abs(changes) - (changes < 0)), contexts.scales)


def _read_steps(stream: QueueDecoder, count: int, contexts: Contexts) -> IntArray:
    constant = bool(stream.uniform(1, 2)[0])
    codes = stream.adaptive(min(count, 1) if constant else count, contexts.scales)
    changes = np.where(codes % 2 == 1, -(codes + 1) // 2, codes // 2)
    steps = np.cumsum(changes)
    return np.broadcast_to(steps, (count,)) if constant else steps


def _write_entries(stream: QueueEncoder, q: IntArray, context: int, contexts: Contexts) -> None:
    dropped = _dropped(context)
    size = np.abs(q)
    seen = np.minimum(size >> dropped, _SYMBOLS - 1)
    stream.adaptive(seen, contexts.sizes[context])
    stream.integers((size >> dropped)[seen == _SYMBOLS - 1] - (_SYMBOLS - 1))
    stream.uniform(size & ((1 << dropped) - 1), 1 << dropped)
    stream.uniform((q < 0)[size > 0], 2)


def _read_entries(stream: QueueDecoder, count: int, context: int, contexts: Contexts) -> IntArray:
    dropped = _dropped(context)
    size = stream.adaptive(count, contexts.sizes[context])
    large = size == _SYMBOLS - 1
    size[large] += stream.integers(int(large.sum()), LARGEST)
    size = (size << dropped) + stream.uniform(count, 1 << dropped)
    if bool((size > LARGEST).any()):
        raise CorruptFileError(f"a weight is larger than {LARGEST} steps: the file is damaged")
    signs = stream.uniform(int(np.count_nonzero(size)), 2)
    size[size > 0] *= 1 - 2 * signs
    return size


SLOPE = 2 * np.log(2.0) / 12
"""Squared error, in steps², that one bit is worth where quantisation is fine."""


def quantise(values: DoubleArray, step: float) -> IntArray:
    """Integers near `values / step` that cost least: squared error + SLOPE step² x bits.

    Each entry is rounded, or one step nearer to zero where that saves more than it spoils; bits are
    those of the entries' own contexts after rounding.

    Source: rate-distortion optimised quantisation as in DeepCABAC; the slope is that of the
    entropy-coded uniform quantiser at high rates, dD/dR = -2 ln 2 step² / 12.
    """
    scaled = values / step
    q = np.rint(scaled).astype(np.int64)
    size = np.abs(q)
    where = find_scales(size.astype(np.float64)).contexts().reshape(q.shape)
    cell = where.astype(np.int64) * _SYMBOLS + np.minimum(size, _SYMBOLS - 1)
    counts = np.bincount(cell.reshape(-1), minlength=_CLASSES * _SYMBOLS)
    shares = counts.reshape(_CLASSES, _SYMBOLS) + 0.05
    price = -np.log2(shares / shares.sum(1, keepdims=True))
    price[:, 1:] += 1  # The sign.
    step_down = np.diff(price, axis=1, prepend=0).reshape(-1)  # Never asked for at size 0.
    saved = step_down[cell]
    exact = np.abs(scaled)
    spoilt = (exact - (size - 1)) ** 2 - (exact - size) ** 2
    lower = (size > 0) & (spoilt < SLOPE * saved)
    result: IntArray = np.sign(q) * (size - lower)
    return result
