"""Compiled loops of the stack and its codecs: integers in, integer intervals out.

A symbol x of an ordered alphabet is a bin between two edges; the first and the last bin reach to
infinity. Its interval on the stack lies between the values, at those two edges, of

    C(x) = x + F(x) (2^28 - size),    F = Σ_k w_k S((edge_x - m_k) exp(-l_k))

where S is a tabulated distribution function. C(0) = 0, C(size) = 2^28, and C rises by at least
one from edge to edge, since F never falls. So every symbol has an interval, and a binary search in
C inverts it exactly; no inverse of S is computed.
"""

from typing import TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from laconic.compiled import compiled

PRECISION = 28
"""Probabilities are integers that add up to 2^PRECISION; none is zero."""

TOTAL = 1 << PRECISION

Int: TypeAlias = int | np.int64
"""An integer in compiled loops."""

IntArray = NDArray[np.int64]
WordArray = NDArray[np.uint32]
HeadArray = NDArray[np.uint64]
TableArray = NDArray[np.int32]
ParameterArray = NDArray[np.int32]

WORD = 32
"""Bits of a word."""

FLOOR = 1 << 32
"""The least state of a head."""

ARGUMENT_BITS = 24
"""The argument of a distribution function, in scales, has units of 2^-24."""

VALUE_BITS = 30
"""The value of a distribution function has units of 2^-30."""

CELL_BITS = 7
"""Distribution functions are tabulated at steps of 2^-7 scales."""

_STEP_BITS = ARGUMENT_BITS - CELL_BITS

EXP_BITS = 29
"""Powers of two are mantissas in (2^28, 2^29] and a shift."""

OCTAVE_BITS = 10
"""Powers of two are tabulated at steps of 2^-10 octaves."""

_LOG2E = 1549082005  # 2^30 / ln 2
_WEIGHT_BITS = 22
_LOGIT_LIMIT = np.int64(30 << 16)
_SCALE_LIMIT = np.int64(12 << 16)  # Scales from exp(-12) to exp(12).
_MIDDLE = 128


@compiled(nogil=True, error_model="numpy")
def push_intervals(
    heads: HeadArray, words: WordArray, count: int, starts: WordArray, sizes: WordArray
) -> int:
    """Push intervals, the last first; returns the new number of words."""
    head = (starts.size - 1) % heads.size
    for i in range(starts.size - 1, -1, -1):
        state = heads[head]
        size = np.uint64(sizes[i])
        if state >> np.uint64(64 - PRECISION) >= size:
            words[count] = np.uint32(state & np.uint64(0xFFFFFFFF))
            count += 1
            state >>= np.uint64(WORD)
        whole = state // size
        rest = state - whole * size
        heads[head] = (whole << np.uint64(PRECISION)) + np.uint64(starts[i]) + rest
        head = head - 1 if head > 0 else heads.size - 1
    return count


@njit(inline="always")
def place_of(heads: HeadArray, head: int) -> Int:
    """The place in 0 .. TOTAL - 1 that selects the next symbol of this head."""
    return np.int64(heads[head] & np.uint64(TOTAL - 1))


@njit(inline="always")
def take(heads: HeadArray, words: WordArray, count: int, head: int, start: Int, size: Int) -> int:
    """Remove a symbol of this interval; returns the new number of words, or -1 if too few."""
    state = heads[head]
    rest = (state & np.uint64(TOTAL - 1)) - np.uint64(start)
    state = np.uint64(size) * (state >> np.uint64(PRECISION)) + rest
    if state < np.uint64(FLOOR):
        if count == 0:
            return -1
        count -= 1
        state = state << np.uint64(WORD) | np.uint64(words[count])
    heads[head] = state
    return count


@njit(inline="always")
def clip(value: Int, low: Int, high: Int) -> Int:
    """The nearest integer of `low .. high`."""
    value = low if value < low else value
    return high if value > high else value


@njit(inline="always")
def octaves(nats: Int) -> Int:
    """Convert units of 2^-16 nat to units of 2^-10 octave, rounded; |nats| below 2^31."""
    shift = 30 + 16 - OCTAVE_BITS
    return (np.int64(nats) * _LOG2E + (1 << (shift - 1))) >> shift


@njit(inline="always")
def halvings(step: Int, powers: TableArray) -> tuple[Int, Int]:
    """2^-(step / 1024) as mantissa and shift: `mantissa / 2^(29 + shift)`."""
    return np.int64(powers[step & ((1 << OCTAVE_BITS) - 1)]), step >> OCTAVE_BITS


@njit(inline="always")
def look_up(argument: Int, table: TableArray) -> Int:
    """The distribution function at an argument in units of 2^-24; monotonic."""
    last = (np.int64(table.size) - 1) << _STEP_BITS
    place = clip(argument + (last >> 1), np.int64(0), last - 1)
    cell = place >> _STEP_BITS
    part = place & ((1 << _STEP_BITS) - 1)
    low = np.int64(table[cell])
    return low + (((np.int64(table[cell + 1]) - low) * part) >> _STEP_BITS)


@compiled(nogil=True, error_model="numpy")
def pop_uniform(
    heads: HeadArray, words: WordArray, count: int, symbols: IntArray, sizes: IntArray
) -> int:
    """Fill `symbols`, uniform in alphabets of `sizes`, `(n,)` or `(1,)`."""
    head = 0
    for i in range(symbols.size):
        size = sizes[i if sizes.size > 1 else 0]
        symbol = (place_of(heads, head) * size) >> PRECISION
        start = -(-(symbol << PRECISION) // size)
        end = -(-((symbol + 1) << PRECISION) // size)
        count = take(heads, words, count, head, start, end - start)
        if count < 0:
            return -1 - i
        symbols[i] = symbol
        head = head + 1 if head + 1 < heads.size else 0
    return count


@compiled(nogil=True, error_model="numpy")
def pop_table(
    heads: HeadArray, words: WordArray, count: int, symbols: IntArray, rows: IntArray, cdf: IntArray
) -> int:
    """Fill `symbols`; symbol i follows row `rows[i]` of `cdf`, `(tables, size + 1)`."""
    head = 0
    for i in range(symbols.size):
        row = cdf[rows[i]]
        symbol = np.searchsorted(row, place_of(heads, head), side="right") - 1
        count = take(heads, words, count, head, row[symbol], row[symbol + 1] - row[symbol])
        if count < 0:
            return -1 - i
        symbols[i] = symbol
        head = head + 1 if head + 1 < heads.size else 0
    return count


@njit(inline="always")
def _zeros(logit: Int, table: TableArray) -> Int:
    """Size of the interval of 0, from 1 to 2^28 - 1."""
    one = look_up(np.int64(logit) << 8, table)
    return TOTAL - 1 - ((one * (TOTAL - 2)) >> VALUE_BITS)


@compiled(nogil=True)
def bernoulli_intervals(
    symbols: IntArray,
    logits: ParameterArray,
    table: TableArray,
    starts: WordArray,
    sizes: WordArray,
) -> None:
    """Fill `starts` and `sizes` for symbols 0 and 1 with logits in units of 2^-16."""
    for i in range(symbols.size):
        zeros = _zeros(logits[i], table)
        starts[i] = zeros if symbols[i] else 0
        sizes[i] = TOTAL - zeros if symbols[i] else zeros


@compiled(nogil=True)
def pop_bernoulli(
    heads: HeadArray,
    words: WordArray,
    count: int,
    symbols: IntArray,
    logits: ParameterArray,
    table: TableArray,
) -> int:
    """Fill `symbols`; arguments as of `bernoulli_intervals`."""
    head = 0
    for i in range(symbols.size):
        zeros = _zeros(logits[i], table)
        symbol = 1 if place_of(heads, head) >= zeros else 0
        start, size = (zeros, TOTAL - zeros) if symbol else (0, zeros)
        count = take(heads, words, count, head, start, size)
        if count < 0:
            return -1 - i
        symbols[i] = symbol
        head = head + 1 if head + 1 < heads.size else 0
    return count


@njit(inline="always")
def _set_weights(logits: ParameterArray, row: int, weights: IntArray, powers: TableArray) -> None:
    """Softmax of logits (units of 2^-16) in units of 2^-22, adding up exactly."""
    best = 0
    for k in range(1, weights.size):
        if logits[row, k] > logits[row, best]:
            best = k
    top = np.int64(logits[row, best])
    total = np.int64(0)
    for k in range(weights.size):
        below = clip(top - np.int64(logits[row, k]), np.int64(0), _LOGIT_LIMIT)
        mantissa, shift = halvings(octaves(below), powers)
        weights[k] = mantissa >> shift
        total += weights[k]
    scale = (np.int64(1) << (_WEIGHT_BITS + 30)) // total
    left = np.int64(1) << _WEIGHT_BITS
    for k in range(weights.size):
        weights[k] = (weights[k] * scale) >> 30
        left -= weights[k]
    weights[best] += left


@njit(inline="always")
def _set_means(
    row: int,
    symbols: IntArray,
    channels: int,
    centres: ParameterArray,
    couplings: ParameterArray,
    means: IntArray,
    fine: int,
    limit: int,
) -> None:
    """Means of one symbol's components, given the channels before it."""
    channel = row % channels
    for k in range(means.size):
        mean = np.int64(centres[row, k])
        if channel == 1:
            mean += np.int64(couplings[row - 1, k]) * (symbols[row - 1] - _MIDDLE)
        elif channel == 2:
            mean += np.int64(couplings[row - 1, k]) * (symbols[row - 2] - _MIDDLE)
            mean += np.int64(couplings[row, k]) * (symbols[row - 1] - _MIDDLE)
        means[k] = clip(mean, np.int64(-limit), np.int64(limit)) << fine


@njit(inline="always")
def _set_slopes(
    row: int,
    log_scales: ParameterArray,
    factors: IntArray,
    shifts: IntArray,
    powers: TableArray,
    fine: int,
) -> None:
    """Factors and right shifts that turn distances into units of 2^-24 scales."""
    for k in range(factors.size):
        nats = clip(np.int64(log_scales[row, k]), -_SCALE_LIMIT, _SCALE_LIMIT)
        mantissa, halved = halvings(octaves(nats), powers)
        factors[k] = mantissa
        shifts[k] = halved + (EXP_BITS + 16 - ARGUMENT_BITS) + fine


@njit(inline="always")
def _cumulative(
    x: Int,
    edges: TableArray,
    weights: IntArray,
    means: IntArray,
    factors: IntArray,
    shifts: IntArray,
    table: TableArray,
) -> Int:
    """C(x) for x = 1 .. size - 1."""
    edge = np.int64(edges[x])
    value = np.int64(0)
    for k in range(weights.size):
        argument = ((edge - means[k]) * factors[k]) >> shifts[k]
        value += weights[k] * look_up(argument, table)
    return x + (((value >> _WEIGHT_BITS) * (TOTAL - edges.size + 1)) >> VALUE_BITS)


@njit(inline="always")
def _find(
    place: Int,
    edges: TableArray,
    weights: IntArray,
    means: IntArray,
    factors: IntArray,
    shifts: IntArray,
    table: TableArray,
) -> tuple[Int, Int, Int]:
    """The symbol x with C(x) <= place < C(x + 1), and both values."""
    low: Int = np.int64(0)
    high: Int = np.int64(edges.size - 1)
    start: Int = np.int64(0)
    end: Int = np.int64(TOTAL)
    while high - low > 1:
        middle = (low + high) >> 1
        value = _cumulative(middle, edges, weights, means, factors, shifts, table)
        if value <= place:
            low, start = middle, value
        else:
            high, end = middle, value
    return low, start, end


@compiled(nogil=True, error_model="numpy")
def mixture_intervals(
    symbols: IntArray,
    starts: WordArray,
    sizes: WordArray,
    channels: int,
    logits: ParameterArray,
    centres: ParameterArray,
    log_scales: ParameterArray,
    couplings: ParameterArray,
    edges: TableArray,
    powers: TableArray,
    table: TableArray,
    fine: int,
    limit: int,
) -> None:
    """Fill `starts` and `sizes`, `(n,)`, from `symbols`, `(n,)`, pixel by pixel.

    `logits`, `centres`, `log_scales`: `(n, components)`, units of 2^-16; so are `couplings`, which
    are empty for one channel. `edges`: of the bins, `(size + 1,)`, in units of 2^-(16 + fine).
    `powers`: `half_powers()`. `table`: the distribution function. `limit`: where means are clipped,
    units of 2^-16.
    """
    weights = np.empty(logits.shape[1], np.int64)
    means, factors, shifts = np.empty_like(weights), np.empty_like(weights), np.empty_like(weights)
    for i in range(symbols.size):
        _set_weights(logits, i, weights, powers)
        _set_means(i, symbols, channels, centres, couplings, means, fine, limit)
        _set_slopes(i, log_scales, factors, shifts, powers, fine)
        x = symbols[i]
        start: Int = np.int64(0)
        end: Int = np.int64(TOTAL)
        if x > 0:
            start = _cumulative(x, edges, weights, means, factors, shifts, table)
        if x < edges.size - 2:
            end = _cumulative(x + 1, edges, weights, means, factors, shifts, table)
        starts[i] = np.uint32(start)
        sizes[i] = np.uint32(end - start)


@compiled(nogil=True, error_model="numpy")
def pop_mixture(
    heads: HeadArray,
    words: WordArray,
    count: int,
    symbols: IntArray,
    channels: int,
    logits: ParameterArray,
    centres: ParameterArray,
    log_scales: ParameterArray,
    couplings: ParameterArray,
    edges: TableArray,
    powers: TableArray,
    table: TableArray,
    fine: int,
    limit: int,
) -> int:
    """Fill `symbols`: a binary search finds the bin whose interval contains the head's place.

    Arguments as in `mixture_intervals`; the others as in `Stack.pop`.
    """
    weights = np.empty(logits.shape[1], np.int64)
    means, factors, shifts = np.empty_like(weights), np.empty_like(weights), np.empty_like(weights)
    head = 0
    for i in range(symbols.size):
        _set_weights(logits, i, weights, powers)
        _set_means(i, symbols, channels, centres, couplings, means, fine, limit)
        _set_slopes(i, log_scales, factors, shifts, powers, fine)
        place = place_of(heads, head)
        low, start, end = _find(place, edges, weights, means, factors, shifts, table)
        count = take(heads, words, count, head, start, end - start)
        if count < 0:
            return -1 - i
        symbols[i] = low
        head = head + 1 if head + 1 < heads.size else 0
    return count
