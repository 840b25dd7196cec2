"""Compiled loops of the range coder: the queue's words, its tables, and its adaptive counts.

    a symbol's interval    left .. left + width of 2^24
    scale <- range >> 24,  lower <- lower + scale left,  range <- scale width
    range < 2^32: the upper 32 bits of `lower` are a word; both move up by 32 bits

A sum that overflows carries into the words before it. The reader keeps only `point - lower`, and
reads zeros after the last word. A table of n counts c with sum C gives symbol s the left edge

    s + floor(c_1 + ... + c_(s-1) times (2^24 - n) / C)

with quotient and product rounded to 24 bits, as IEEE 754 rounds binary32 numbers. Each of m uniform
symbols has the width floor(2^24 / m); the last symbol takes the rest. Words and edges equal those
of constriction's `RangeEncoder`, `Categorical(perfect=False)` and `Uniform`, which wrote our first
files.

Source: Martin, "Range encoding", 1979; the layout is constriction's (Bamler 2022).
"""

from typing import TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from laconic.compiled import compiled

Int: TypeAlias = int | np.int64
Word: TypeAlias = np.uint64

IntArray = NDArray[np.int64]
WordArray = NDArray[np.uint32]
StateArray = NDArray[np.uint64]
LedgerArray = NDArray[np.float64]

PRECISION = 24
"""Intervals are parts of 2^PRECISION."""

START = (1 << 64) - 1
"""The range before the first symbol."""

TOO_EARLY = -1
"""A reading loop returns this when it has returned more bits than the message has."""

NO_CODE = -2
"""A reading loop returns this when no symbol's interval contains the next bits."""

_PIECE = 4096  # Values kept between two loops: they fit the processor's first-level cache.
_SHIFT = np.uint64(PRECISION)
_WHOLE = np.uint64(1 << PRECISION)
_HALF = np.uint64(1 << (PRECISION - 1))
_WORD = np.uint64(32)
_FLOOR = np.uint64(1 << 32)
_CELL_BITS = 8
_CELL = np.uint64(PRECISION - _CELL_BITS)


@compiled(nogil=True)
def carry(words: WordArray, count: Int) -> None:
    """Add one to the integer made of the first `count` words; the last word is the lowest."""
    k = count - 1
    while words[k] == np.uint32(0xFFFFFFFF):
        words[k] = np.uint32(0)
        k -= 1
    words[k] += np.uint32(1)


@njit(nogil=True, error_model="numpy")
def _put(
    state: StateArray, words: WordArray, symbols: IntArray, edges: StateArray, seen: IntArray
) -> None:
    """Write symbols whose intervals lie between `edges`, and count them.

    `state`: lower end, range and number of words. `words`: room for one more per symbol.
    """
    lower, extent, count = state[0], state[1], np.int64(state[2])
    for symbol in symbols:
        seen[symbol] += 1
        left = edges[symbol]
        scale = extent >> _SHIFT
        moved = lower + scale * left
        if moved < lower:
            carry(words, count)
        lower = moved
        extent = scale * (edges[symbol + 1] - left)
        if extent < _FLOOR:
            words[count] = np.uint32(lower >> _WORD)
            count += 1
            lower = lower << _WORD
            extent = extent << _WORD
    state[0], state[1], state[2] = lower, extent, np.uint64(count)


@njit(nogil=True)
def next_word(words: WordArray, place: Int, offset: Word) -> Word:
    """The offset shifted up by one word; after the last word zeros are shifted in."""
    moved: Word = offset << _WORD
    if place < words.size:
        moved |= np.uint64(words[place])
    return moved


@njit(nogil=True, error_model="numpy")
def _take(
    state: StateArray,
    words: WordArray,
    symbols: IntArray,
    edges: StateArray,
    cells: StateArray,
    seen: IntArray,
) -> bool:
    """Fill `symbols`, and count them; returns False if no symbol's interval contains the bits.

    `state`: offset, range and place among the words. `cells`: as of `_set_cells`.
    """
    offset, extent, place = state[0], state[1], np.int64(state[2])
    first = edges[1]
    likely = first > _HALF
    for i in range(symbols.size):
        scale = extent >> _SHIFT
        symbol, left, width = np.int64(0), np.uint64(0), first
        if not likely or offset >= scale * first:  # No division where 0 is the likely symbol.
            where = offset // scale
            if where >= _WHOLE:
                return False
            cell = np.int64(where >> _CELL)
            symbol, left, end = np.int64(cells[cell, 0]), cells[cell, 1], cells[cell, 2]
            while end <= where:
                symbol += 1
                left, end = end, edges[symbol + 1]
            width = end - left
        seen[symbol] += 1
        symbols[i] = symbol
        offset -= scale * left
        extent = scale * width
        if extent < _FLOOR:
            offset, extent = next_word(words, place, offset), extent << _WORD
            place += 1
    state[0], state[1], state[2] = offset, extent, np.uint64(place)
    return True


@njit(nogil=True, error_model="numpy")
def _set_edges(counts: IntArray, edges: StateArray) -> Int:
    """Fill in the left edges of all symbols and the end of the last; returns the sum of counts."""
    size = counts.size
    total = np.int64(0)
    for symbol in range(size):
        total += counts[symbol]
    scale = np.float32((1 << PRECISION) - size) / np.float32(total)
    below = np.int64(0)
    for symbol in range(size):
        edges[symbol] = np.uint64(np.int64(np.float32(below) * scale) + symbol)
        below += counts[symbol]
    edges[size] = _WHOLE
    return total


@njit(nogil=True, error_model="numpy")
def _set_cells(edges: StateArray, cells: StateArray) -> None:
    """For each 2^-8 of the whole: the symbol at its lower end, and that symbol's two edges.

    The edges are copied from `edges` so that reading them need not wait for the symbol. The unused
    fourth column aligns each row to the lines of the cache.
    """
    cell = 0
    for symbol in range(edges.size - 1):
        while cell < len(cells) and (np.uint64(cell) << _CELL) < edges[symbol + 1]:
            cells[cell, 0] = np.uint64(symbol)
            cells[cell, 1] = edges[symbol]
            cells[cell, 2] = edges[symbol + 1]
            cell += 1


@njit(nogil=True, error_model="numpy")
def _information(seen: IntArray, counts: IntArray, total: Int) -> float:
    """Bits of the symbols that were seen."""
    bits = 0.0
    for symbol in range(seen.size):
        if seen[symbol] > 0:
            bits += seen[symbol] * np.log2(total / counts[symbol])
    return bits


@njit(nogil=True, error_model="numpy")
def _run(rule: IntArray) -> Int:
    """Number of symbols before the next update of the counts; `rule`: see `AdaptiveModel`."""
    seen = np.int64(rule[3])
    run = max(np.int64(8), seen) if seen <= 64 else max(np.int64(64), seen // 8)
    return min(np.int64(rule[2]), run)


@njit(nogil=True, error_model="numpy")
def _update(counts: IntArray, rule: IntArray, seen: IntArray, run: Int) -> None:
    """Add the symbols seen to the counts, and set `seen` to 0."""
    total = np.int64(0)
    for symbol in range(counts.size):
        counts[symbol] += rule[0] * seen[symbol]
        seen[symbol] = 0
        total += counts[symbol]
    rule[3] += run
    while total > rule[1]:
        total = np.int64(0)
        for symbol in range(counts.size):
            counts[symbol] = (counts[symbol] + 1) >> 1
            total += counts[symbol]


@compiled(nogil=True, error_model="numpy")
def encode_table(state: StateArray, words: WordArray, symbols: IntArray, counts: IntArray) -> float:
    """Write symbols under fixed counts; returns their bits. `state`, `words`: as of `_put`."""
    edges, seen = np.empty(counts.size + 1, np.uint64), np.zeros(counts.size, np.int64)
    total = _set_edges(counts, edges)
    _put(state, words, symbols, edges, seen)
    return _information(seen, counts, total)


@compiled(nogil=True, error_model="numpy")
def encode_adaptive(
    state: StateArray,
    words: WordArray,
    values: IntArray,
    dropped: int,
    counts: IntArray,
    rule: IntArray,
) -> float:
    """Write `min(|value| >> dropped, last symbol)` under adaptive counts; returns the bits."""
    edges, seen = np.empty(counts.size + 1, np.uint64), np.zeros(counts.size, np.int64)
    last = np.int64(counts.size - 1)
    symbols = np.empty(min(values.size, rule[2]), np.int64)
    bits, done = 0.0, np.int64(0)
    while done < values.size:
        run = min(_run(rule), values.size - done)
        total = _set_edges(counts, edges)
        for i in range(run):
            symbols[i] = min(abs(values[done + i]) >> dropped, last)
        _put(state, words, symbols[:run], edges, seen)
        bits += _information(seen, counts, total)
        _update(counts, rule, seen, run)
        done += run
    return bits


@compiled(nogil=True, error_model="numpy")
def encode_uniform(state: StateArray, words: WordArray, values: IntArray, sizes: IntArray) -> None:
    """Write values of alphabets of `sizes`, `(n,)` or `(1,)`; alphabets of one take no bits."""
    edges, seen = np.zeros(4, np.uint64), np.zeros(3, np.int64)
    middle = np.ones(1, np.int64)
    for i in range(values.size):
        size = np.uint64(sizes[i if sizes.size > 1 else 0])
        if size > np.uint64(1):
            each, value = _WHOLE // size, np.uint64(values[i])
            edges[1] = value * each
            edges[2] = edges[1] + each if value + np.uint64(1) < size else _WHOLE
            _put(state, words, middle, edges, seen)


@compiled(nogil=True, error_model="numpy")
def encode_rest(
    state: StateArray, words: WordArray, values: IntArray, dropped: int, signed: bool
) -> Int:
    """Write the `dropped` lowest bits of each |value|; if `signed`, then the signs of all but 0.

    Returns the number of bits.
    """
    rest, seen = np.empty(_PIECE, np.int64), np.zeros(1 << max(1, dropped), np.int64)
    edges = np.arange(seen.size + 1).astype(np.uint64) << np.uint64(PRECISION - dropped)
    for first in range(0, values.size if dropped > 0 else 0, _PIECE):
        piece = values[first : first + _PIECE]
        for i in range(piece.size):
            rest[i] = abs(piece[i]) & (seen.size - 1)
        _put(state, words, rest[: piece.size], edges, seen)
    bits: Int = np.int64(values.size * dropped)
    halves = np.array([np.uint64(0), _HALF, _WHOLE])
    for first in range(0, values.size if signed else 0, _PIECE):
        filled = np.int64(0)
        for value in values[first : first + _PIECE]:  # No branch: zeros are hard to predict.
            rest[filled] = value < 0
            filled += value != 0
        _put(state, words, rest[:filled], halves, seen)
        bits += filled
    return bits


@compiled(nogil=True, error_model="numpy")
def decode_table(
    state: StateArray, words: WordArray, symbols: IntArray, counts: IntArray, ledger: LedgerArray
) -> int:
    """Fill `symbols` under fixed counts; returns how many, `TOO_EARLY` or `NO_CODE`.

    `state`, `words`: as of `_take`. `ledger`: bits read, and their limit.
    """
    edges, cells = np.empty(counts.size + 1, np.uint64), np.empty((1 << _CELL_BITS, 4), np.uint64)
    seen = np.zeros(counts.size, np.int64)
    total = _set_edges(counts, edges)
    _set_cells(edges, cells)
    if not _take(state, words, symbols, edges, cells, seen):
        return NO_CODE
    ledger[0] += _information(seen, counts, total)
    return TOO_EARLY if ledger[0] > ledger[1] else symbols.size


@compiled(nogil=True, error_model="numpy")
def decode_adaptive(
    state: StateArray,
    words: WordArray,
    symbols: IntArray,
    left_over: int,
    counts: IntArray,
    rule: IntArray,
    ledger: LedgerArray,
) -> Int:
    """Fill `symbols` with whole runs of the `left_over` yet to come; returns as `decode_table`."""
    edges, cells = np.empty(counts.size + 1, np.uint64), np.empty((1 << _CELL_BITS, 4), np.uint64)
    seen = np.zeros(counts.size, np.int64)
    done = np.int64(0)
    while done < symbols.size:
        run = min(_run(rule), left_over - done)
        if done + run > symbols.size:
            break
        total = _set_edges(counts, edges)
        _set_cells(edges, cells)
        if ledger[0] + run * np.log2(total / counts.max()) > ledger[1]:
            return np.int64(TOO_EARLY)
        if not _take(state, words, symbols[done : done + run], edges, cells, seen):
            return np.int64(NO_CODE)
        ledger[0] += _information(seen, counts, total)
        if ledger[0] > ledger[1]:
            return np.int64(TOO_EARLY)
        _update(counts, rule, seen, run)
        done += run
    return done


@compiled(nogil=True, error_model="numpy")
def decode_uniform(state: StateArray, words: WordArray, values: IntArray, sizes: IntArray) -> int:
    """Fill `values` of alphabets of `sizes`, `(n,)` or `(1,)`; returns as `decode_table`."""
    offset, extent, place = state[0], state[1], np.int64(state[2])
    for i in range(values.size):
        size = np.uint64(sizes[i if sizes.size > 1 else 0])
        values[i] = 0
        if size > np.uint64(1):
            each, scale = _WHOLE // size, extent >> _SHIFT
            where = offset // scale
            if where >= _WHOLE:
                return NO_CODE
            value = min(where // each, size - np.uint64(1))
            values[i] = np.int64(value)
            offset -= scale * value * each
            extent = scale * (each if value + np.uint64(1) < size else _WHOLE - value * each)
            if extent < _FLOOR:
                offset, extent = next_word(words, place, offset), extent << _WORD
                place += 1
    state[0], state[1], state[2] = offset, extent, np.uint64(place)
    return values.size


@njit(nogil=True, error_model="numpy")
def _take_bits(state: StateArray, words: WordArray, values: IntArray, width: int) -> bool:
    """Fill `values` with integers of `width` bits; returns as `_take`."""
    offset, extent, place = state[0], state[1], np.int64(state[2])
    shift = np.uint64(PRECISION - width)
    last = np.uint64((1 << width) - 1)
    for i in range(values.size):
        part = (extent >> _SHIFT) << shift
        value = np.uint64(offset >= part) if width == 1 else offset // part
        offset -= value * part
        if value > last or offset >= part:
            return False
        values[i] = np.int64(value)
        extent = part
        if extent < _FLOOR:
            offset, extent = next_word(words, place, offset), extent << _WORD
            place += 1
    state[0], state[1], state[2] = offset, extent, np.uint64(place)
    return True


@compiled(nogil=True, error_model="numpy")
def decode_rest(
    state: StateArray, words: WordArray, values: IntArray, dropped: int, signed: bool
) -> int:
    """Append lowest bits and signs to the sizes in `values`; returns as `decode_table`."""
    rest = np.empty(_PIECE + 1, np.int64)
    for first in range(0, values.size if dropped > 0 else 0, _PIECE):
        piece = values[first : first + _PIECE]
        if not _take_bits(state, words, rest[: piece.size], dropped):
            return NO_CODE
        for i in range(piece.size):
            piece[i] = (piece[i] << dropped) | rest[i]
    for first in range(0, values.size if signed else 0, _PIECE):
        piece = values[first : first + _PIECE]
        filled = np.count_nonzero(piece)
        if not _take_bits(state, words, rest[:filled], 1):
            return NO_CODE
        filled = np.int64(0)
        for i in range(piece.size):
            negative = rest[filled]  # Any value, where the entry is 0.
            filled += piece[i] != 0
            piece[i] *= 1 - 2 * negative
    return values.size
