"""Compiled loops over the signs of kernels: each sign is predicted from neighbours in its kernel.

Filters are smooth: the neighbour of a large positive weight is usually positive. With the signed
neighbours to the left, above, and above left, `2 (left + above) - above left` predicts a sign. The
confidence depends on the size of the prediction and on the size of the weight itself, which are
both known beforehand: their product, over the mean square, selects one of `CONTEXTS` counts of
agreements.

A word leaves or enters the range coder as in `queue.kernels`. Helpers get no arrays: numba inlines
them and would count references to the arrays at every sign. Both loops update the counts in place:
a helper that returns them makes writing a tenth slower.
"""

import numpy as np
from numba import njit

from laconic.coding.queue.kernels import (
    NO_CODE,
    PRECISION,
    TOO_EARLY,
    Int,
    IntArray,
    StateArray,
    WordArray,
    carry,
    next_word,
)
from laconic.compiled import compiled

OCTAVES = 14
"""Octaves of the product, from 2^-6 of the mean square on."""

CONTEXTS = OCTAVES + 1
"""The last context is that of signs without a prediction; its counts stay equal."""

_LIMIT = 256  # Limit of a context's counts: statistics change from layer to layer.
_STEP = 2
_LARGEST = 1 << 20  # Sizes are clipped to it, so that no product overflows.
_FIRST = 6
_SHIFT = np.uint64(PRECISION)
_WHOLE = np.uint64(1 << PRECISION)
_WORD = np.uint64(32)
_FLOOR = np.uint64(1 << 32)
_OCTAVES = np.array([max(0, k.bit_length() - 1) for k in range(1 << OCTAVES)], np.uint8)
_SHARES = (1 << PRECISION) // np.maximum(np.arange(_LIMIT + _STEP + 1, dtype=np.uint64), 1)


@njit(nogil=True, error_model="numpy")
def _scale(q: IntArray) -> Int:
    """Bits of the mean square of sizes in 16ths."""
    total = np.int64(0)
    for size in q.flat:
        total += abs(size)
    mean = min(np.int64(16) * total // max(q.size, 1), np.int64(16 * _LARGEST))
    square, bits = mean * mean, np.int64(0)
    while square > 0:
        square >>= 1
        bits += 1
    return bits


@njit(nogil=True, error_model="numpy")
def _context(predicted: np.int64, size: np.int64, bits: Int) -> Int:
    """Octave of the product, which `_scale`'s 16ths make 256 times as large."""
    product = min(abs(predicted), np.int64(_LARGEST)) * min(size, np.int64(_LARGEST))
    octave = _OCTAVES[min((product << (8 + _FIRST)) >> bits, np.int64(_OCTAVES.size - 1))]
    return np.int64(octave) if predicted != 0 else np.int64(OCTAVES)


@compiled(nogil=True, error_model="numpy")
def count_agreements(q: IntArray) -> tuple[Int, Int]:
    """Correctly predicted signs of kernels `(kernels, height, width)`, and all predicted ones."""
    right, tried = np.int64(0), np.int64(0)
    for k in range(q.shape[0]):
        for y in range(q.shape[1]):
            left = corner = np.int64(0)
            for x in range(q.shape[2]):
                above = q[k, y - 1, x] if y > 0 else np.int64(0)
                product = (2 * (left + above) - corner) * q[k, y, x]
                right += product > 0
                tried += product != 0
                left, corner = q[k, y, x], above
    return right, tried


@compiled(nogil=True, error_model="numpy")
def encode_signs(state: StateArray, words: WordArray, q: IntArray, counts: IntArray) -> float:
    """Write the signs of all `q`, `(kernels, height, width)`, that are not 0; returns their bits.

    `state`, `words`: as in `queue.kernels`, with room for one word per sign. `counts`: agreements
    and disagreements by context; updated.
    """
    lower, extent, count = state[0], state[1], np.int64(state[2])
    before, bits = np.log2(float(extent)) - 32.0 * count, _scale(q)
    for k in range(q.shape[0]):
        for y in range(q.shape[1]):
            left = corner = np.int64(0)
            for x in range(q.shape[2]):
                above = q[k, y - 1, x] if y > 0 else np.int64(0)
                predicted, value = 2 * (left + above) - corner, q[k, y, x]
                left, corner = value, above
                if value == 0:
                    continue
                context = _context(predicted, abs(value), bits)
                total = counts[context, 0] + counts[context, 1]
                share = np.uint64(counts[context, 0]) * np.uint64(_SHARES[total])
                differs = np.int64((value < 0) != (predicted < 0))
                counts[context, differs] += _STEP if predicted != 0 else 0
                if total >= _LIMIT:
                    counts[context, 0] = (counts[context, 0] + 1) >> 1
                    counts[context, 1] = (counts[context, 1] + 1) >> 1
                scale = extent >> _SHIFT
                moved = lower + scale * share * np.uint64(differs)
                if moved < lower:
                    carry(words, count)
                lower = moved
                extent = scale * (_WHOLE - share if differs else share)
                if extent < _FLOOR:
                    words[count] = np.uint32(lower >> _WORD)
                    count += 1
                    lower, extent = lower << _WORD, extent << _WORD
    state[0], state[1], state[2] = lower, extent, np.uint64(count)
    spent: float = before - np.log2(float(extent)) + 32.0 * count
    return spent


@compiled(nogil=True, error_model="numpy")
def decode_signs(
    state: StateArray, words: WordArray, q: IntArray, counts: IntArray, end: int
) -> float:
    """Give sizes `q`, `(kernels, height, width)`, their signs; returns bits, or why it failed.

    `end`: most words that the message can have.
    """
    offset, extent, place = state[0], state[1], np.int64(state[2])
    before, bits = np.log2(float(extent)) - 32.0 * place, _scale(q)
    for k in range(q.shape[0]):
        for y in range(q.shape[1]):
            left = corner = np.int64(0)
            for x in range(q.shape[2]):
                above = q[k, y - 1, x] if y > 0 else np.int64(0)
                predicted, size = 2 * (left + above) - corner, q[k, y, x]
                left, corner = np.int64(0), above
                if size == 0:
                    continue
                context = _context(predicted, size, bits)
                total = counts[context, 0] + counts[context, 1]
                share = np.uint64(counts[context, 0]) * np.uint64(_SHARES[total])
                scale = extent >> _SHIFT
                part = scale * share
                differs = np.int64(offset >= part)
                offset -= part * np.uint64(differs)
                extent = scale * (_WHOLE - share if differs else share)
                if offset >= extent:
                    return float(NO_CODE)
                counts[context, differs] += _STEP if predicted != 0 else 0
                if total >= _LIMIT:
                    counts[context, 0] = (counts[context, 0] + 1) >> 1
                    counts[context, 1] = (counts[context, 1] + 1) >> 1
                left = -size if differs != np.int64(predicted < 0) else size
                q[k, y, x] = left
                if extent < _FLOOR:
                    offset, extent = next_word(words, place, offset), extent << _WORD
                    place += 1
                    if place > end:
                        return float(TOO_EARLY)
    state[0], state[1], state[2] = offset, extent, np.uint64(place)
    spent: float = before - np.log2(float(extent)) + 32.0 * place
    return spent
