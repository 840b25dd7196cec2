"""Compiled loops of the coder for planes of 8 bits: one plane after another, row by row.

Four predictions of a sample are made: by least squares around it, from the first taps and from all
of them; by least squares over the whole plane; and the median of two neighbours and the plane
through three. A fifth is their average, weighted by the inverse squares of their recent errors.
The sample is coded as its difference from the fifth: whether it is 0, its sign, the length of its
absolute value from the expected length upwards or downwards, and the bits below the highest. A
small logistic network mixes for each bit what five distributions around the predictions say
(Student's t with two degrees of freedom, scaled by errors in similar places) and six tables of
adaptive probabilities; a last table corrects its probability.

Sources: `systems` (predictions); Mahoney 2005, "Adaptive weighing of context models for lossless
data compression" (mixing, and the correction of probabilities).

Units: 2^-8 for predictions and their mean errors, 2^-4 for errors in contexts, 2^-16 for a
probability in the coder, 2^-22 in a table, 2^-20 in the last table, 2^-7 nat for a logit, 2^-16 for
a weight, 2^-30 for a distribution.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from laconic.coding.binary_arithmetic import (
    ByteArray,
    Float,
    Int,
    IntArray,
    code_bit,
    finish_writing,
    start_reading,
)
from laconic.coding.context_mixing.kernels import LIMIT, bit_length, median
from laconic.coding.least_squares.systems import (
    HALF,
    PERIOD,
    WIDE_PERIOD,
    WIDE_PHASE,
    Systems,
    dot,
    learn,
    solve_around,
    solve_wide,
    start_row,
)
from laconic.compiled import compiled

BORDER = 4
"""Samples around a plane."""
PREDICTIONS, SQUARES, MIXED = 5, 3, 4
"""Number of predictions; of those by least squares; place of the average."""
SCALES = 24
"""Steps of the recent errors."""
TABLES = 6
CONTEXTS = (SCALES * 8, 144 * 4, 24 * 12, 16 * 12, 256 * 4, 64 * 64)
"""Of each table."""
NODES = 92
"""Bits that a context predicts."""
ZERO, SIGN, EXPECTED, LONGER, SHORTER, HIGHEST, REST = 0, 1, 2, 20, 38, 56, 74
"""Their first nodes; all but the first two are followed by a length."""
AS_EXPECTED, IS_LONGER, IS_SHORTER, BELOW_HIGHEST, REMAINING = 0, 1, 2, 3, 4
"""What the next bit of an absolute difference says."""
KINDS, GROUPS = 8, 4
"""Kinds of bits, and groups of scales, with weights of their own."""
RATES, STEPS = 60, 4097
"""Observations after which rates of tables, and of weights, stay constant."""
INPUTS = PREDICTIONS + TABLES + 1
BIAS = 256
REACH = 12 * 64
"""Of the distribution's table, in 64ths of the mean error."""
SHARE = 64
"""What a distribution gives to every value."""
FIXES = 33
"""Logits at which the last table has probabilities."""


class Plane(NamedTuple):
    """The state of the coder of one plane.

    Attributes:
        places: of each tap, from a sample's place in the first plane, `(taps,)`.
        parts: 0 for a tap of the same plane, else 1 + its place in `before`, `(taps,)`.
        sums: of W and N, of each part, `(3,)`.
        before: planes that were coded before and help, the nearest first, -1 for none, `(2,)`.
        setting: largest sample; whether the median is that of differences from `before`, `(2,)`.
        guesses: predictions, `(PREDICTIONS,)`.
        recent: their absolute errors, in this row and the one above, `(PREDICTIONS, 2, width + 2
            BORDER)`.
        means: mean absolute errors, by the step of the recent errors, `(PREDICTIONS, SCALES)`.
        seen: observations of each, likewise.
        steps: the current step of each, `(PREDICTIONS,)`.
        inverses: 2^22 / (mean error + 1), `(PREDICTIONS,)`.
        lower, upper, middle: distributions at both ends of what the bits so far leave, and at the
            bit's threshold, `(PREDICTIONS,)`.
        contexts: of the tables, `(TABLES,)`.
        tables: 22 bits of probability and 8 of count, one row for each table.
        weights: of the network, `(KINDS GROUPS, INPUTS)`.
        trained: bits that each row has learned from.
        fixes: probabilities by node, part of the prediction and logit, `(NODES 4, FIXES)`.
        inputs: of the network, `(INPUTS,)`.
        coder: of the arithmetic coder.
        data: its bytes.
        maps: `squash`, `stretch`, rates of tables, rates of weights, the distribution, one after
            another.
    """

    places: IntArray
    parts: IntArray
    sums: IntArray
    before: IntArray
    setting: IntArray
    guesses: IntArray
    recent: IntArray
    means: IntArray
    seen: IntArray
    steps: IntArray
    inverses: IntArray
    lower: IntArray
    upper: IntArray
    middle: IntArray
    contexts: IntArray
    tables: NDArray[np.int32]
    weights: IntArray
    trained: IntArray
    fixes: IntArray
    inputs: IntArray
    coder: IntArray
    data: ByteArray
    maps: IntArray


STRETCH = 2 * LIMIT + 1
TABLE_RATE = STRETCH + (1 << 16)
WEIGHT_RATE = TABLE_RATE + RATES
LAW = WEIGHT_RATE + STEPS + REACH
"""Places in `Plane.maps`; LAW is the distribution's middle, the first map starts at 0."""


@njit(nogil=True, error_model="numpy", forceinline=True)
def step(value: Int) -> Int:
    """About 3 log2(value + 1)."""
    octave = bit_length(value + 1) - 1
    part = ((value + 1) << 3 >> octave) & 7
    return 3 * octave + (part >= 2) + (part >= 5)


@njit(nogil=True, error_model="numpy", forceinline=True)
def _law(p: Plane, k: Int, position: Int, value: Int) -> Int:
    """Distribution k at a position in units of 2^-8; `value`: samples below it."""
    place = (position - p.guesses[k]) * p.inverses[k] >> 16
    return p.maps[LAW + min(max(place, -REACH), REACH)] + value * SHARE


@njit(nogil=True, error_model="numpy", forceinline=True)
def _logit(p: Plane, part: Int, whole: Int) -> Int:
    """The logit of a share of a distribution."""
    return p.maps[STRETCH + min(max((part << 16) // whole, 1), 65535)]


@njit(nogil=True, error_model="numpy", forceinline=True)
def _mix(p: Plane, node: Int, unit: Int) -> Int:
    """The logit of a bit by the network."""
    for j in range(TABLES):
        entry = np.int64(p.tables[j, p.contexts[j] * NODES + node])
        p.inputs[PREDICTIONS + j] = p.maps[STRETCH + (entry >> 14)]
    p.inputs[INPUTS - 1] = BIAS
    total: Int = np.int64(0)
    for j in range(INPUTS):
        total += p.weights[unit, j] * p.inputs[j]
    return min(max(total >> 16, -LIMIT), LIMIT)


@njit(nogil=True, error_model="numpy", forceinline=True)
def _code(p: Plane, reading: bool, bit: Int, node: Int, kind: Int) -> Int:
    """Write or read a bit of which the inputs of the distributions are set."""
    unit = kind * GROUPS + p.steps[MIXED] * GROUPS // SCALES
    part = (p.guesses[MIXED] + 128 & 255) >> 6
    logit = _mix(p, node, unit)
    chance, place = p.maps[LIMIT + logit], (logit + LIMIT) * (FIXES - 1)
    base = min(place // (2 * LIMIT), FIXES - 2)
    rest = place - base * 2 * LIMIT
    fixes = p.fixes[node * 4 + part]
    fixed = (fixes[base] * (2 * LIMIT - rest) + fixes[base + 1] * rest) // (2 * LIMIT) >> 4
    final = min(max(3 * chance + fixed >> 2, 1), 65535)
    bit = code_bit(p.coder, p.data, reading, bit, final)
    near = base if rest < LIMIT else base + 1
    fixes[near] += (bit << 20) - 16 * bit - fixes[near] >> 6
    error = ((bit << 16) - chance) * p.maps[WEIGHT_RATE + p.trained[unit]]
    p.trained[unit] = min(p.trained[unit] + 1, STEPS - 1)
    for j in range(INPUTS):
        p.weights[unit, j] += p.inputs[j] * error + (1 << 17) >> 18
    for j in range(TABLES):
        slot = p.contexts[j] * NODES + node
        entry = np.int64(p.tables[j, slot])
        odds, seen = entry >> 8, entry & 255
        odds += (((1 << 22) - 1) * bit - odds) * p.maps[TABLE_RATE + seen] >> 16
        p.tables[j, slot] = odds << 8 | min(seen + 1, RATES - 1)
    return bit


@njit(nogil=True, error_model="numpy", forceinline=True)
def _code_zero(p: Plane, reading: bool, bit: Int, center: Int, largest: Int) -> Int:
    """Whether the sample is the rounded prediction."""
    whole = (1 << 30) + (largest + 1) * SHARE
    for k in range(PREDICTIONS):
        low = _law(p, k, center * 256 - 128, center) if center > 0 else 0
        high = _law(p, k, center * 256 + 128, center + 1) if center < largest else whole
        p.lower[k], p.upper[k] = low, high
        p.inputs[k] = _logit(p, high - low, whole)
    return _code(p, reading, bit, ZERO, 0)


@njit(nogil=True, error_model="numpy", forceinline=True)
def _code_sign(p: Plane, reading: bool, bit: Int, center: Int, largest: Int) -> Int:
    """Whether it is above; afterwards `lower` and `upper` are the ends of that side."""
    whole = (1 << 30) + (largest + 1) * SHARE
    if center == 0:
        bit = 1
    elif center == largest:
        bit = 0
    else:
        for k in range(PREDICTIONS):
            above = whole - p.upper[k]
            p.inputs[k] = _logit(p, above, above + p.lower[k])
        bit = _code(p, reading, bit, SIGN, 1)
    for k in range(PREDICTIONS):
        if bit:
            p.lower[k], p.upper[k] = p.upper[k], whole
        else:
            p.lower[k], p.upper[k] = 0, p.lower[k]
    return bit


@njit(nogil=True, error_model="numpy", forceinline=True)
def _is_at_least(
    p: Plane, reading: bool, size: Int, threshold: Int, center: Int, sign: Int, node: Int, kind: Int
) -> Int:
    """Whether the absolute difference `size` is at least a threshold."""
    position, value = center * 256 + sign * (threshold * 256 - 128), center + sign * threshold
    if sign < 0:
        value += 1
    for k in range(PREDICTIONS):
        middle = _law(p, k, position, value)
        p.middle[k] = middle
        part = p.upper[k] - middle if sign > 0 else middle - p.lower[k]
        p.inputs[k] = _logit(p, part, p.upper[k] - p.lower[k])
    bit = _code(p, reading, 1 if size >= threshold else 0, node, kind)
    for k in range(PREDICTIONS):
        if (bit == 1) == (sign > 0):
            p.lower[k] = p.middle[k]
        else:
            p.upper[k] = p.middle[k]
    return bit


@njit(nogil=True, error_model="numpy", forceinline=True)
def _ask(phase: Int, length: Int, low: Int, high: Int, start: Int) -> tuple[Int, Int, Int]:
    """Threshold, node and kind of the next bit of an absolute difference."""
    if phase == AS_EXPECTED:
        return 1 << (length - 1), EXPECTED + length, 2
    if phase == IS_SHORTER:
        return 1 << (length - 1), SHORTER + length, 3
    if phase == IS_LONGER:
        return 1 << length, LONGER + length, 4 if length - start < 2 else 5
    left = bit_length(high - low - 1)
    threshold = low + (1 << (left - 1))
    if phase == BELOW_HIGHEST:
        return threshold, HIGHEST + length, 6
    return threshold, REST + left, 7


@njit(nogil=True, error_model="numpy", forceinline=True)
def _code_size(
    p: Plane, reading: bool, size: Int, most: Int, center: Int, sign: Int, start: Int
) -> Int:
    """An absolute difference of 1 to `most`: its length, then the bits below the highest."""
    length: Int = max(min(start, bit_length(most)), 1)
    low, high = np.int64(1), most + 1
    phase = AS_EXPECTED if length > 1 else IS_LONGER
    while True:
        if phase == IS_LONGER and 1 << length > most:
            phase = BELOW_HIGHEST
        if phase == IS_SHORTER and length == 1:
            return low
        if phase >= BELOW_HIGHEST and high - low <= 1:
            return low
        threshold, node, kind = _ask(phase, length, low, high, start)
        bit = _is_at_least(p, reading, size, threshold, center, sign, node, kind)
        if bit:
            low = threshold
        else:
            high = threshold
        if phase == AS_EXPECTED:
            phase = IS_LONGER if bit else IS_SHORTER
            length -= 1 - bit
        elif phase == IS_LONGER and bit:
            length += 1
        elif phase == IS_SHORTER and not bit:
            length -= 1
        else:
            phase = REMAINING if phase >= BELOW_HIGHEST else BELOW_HIGHEST


@njit(nogil=True, error_model="numpy", forceinline=True)
def _set_taps(p: Plane, s: Systems, q: NDArray[np.int32], c: Int, y: Int, x: Int) -> Int:
    """Neighbours, each less the mean of W and N of its plane; returns the sum of W and N."""
    flat = q.reshape(-1)
    size, here = q.shape[1] * q.shape[2], y * q.shape[2] + x
    for part in range(3):
        plane = c if part == 0 else p.before[part - 1]
        if plane < 0:
            break
        place = plane * size + here
        p.sums[part] = np.int64(flat[place - 1]) + flat[place - q.shape[2]]
    for k in range(s.taps.size):
        value = 2 * np.int64(flat[here + p.places[k]]) - p.sums[p.parts[k]]
        s.taps[k] = HALF * np.float32(value)
    return p.sums[0]


@njit(nogil=True, error_model="numpy", forceinline=True)
def _fix(value: Float, largest: Int) -> Int:
    """A prediction in units of 2^-8, within the samples' range."""
    if not value > 0:
        return np.int64(0)
    if value > np.float32(largest):
        return np.int64(largest * 256)
    return np.int64(np.floor(value * np.float32(256) + HALF))


@njit(nogil=True, error_model="numpy", forceinline=True)
def _median(p: Plane, q: NDArray[np.int32], c: Int, y: Int, x: Int) -> Int:
    """The median of neighbours, or of their differences from the plane before."""
    west, north, corner = np.int64(q[c, y, x - 1]), np.int64(q[c, y - 1, x]), q[c, y - 1, x - 1]
    if not p.setting[1]:
        return median(west, north, corner)
    o = p.before[0]
    west, north = west - q[o, y, x - 1], north - q[o, y - 1, x]
    found = median(west, north, corner - q[o, y - 1, x - 1]) + q[o, y, x]
    return min(max(found, 0), p.setting[0])


@njit(nogil=True, error_model="numpy", forceinline=True)
def _predict(p: Plane, s: Systems, q: NDArray[np.int32], c: Int, y: Int, x: Int) -> Int:
    """Set the predictions; returns the sum of W and N."""
    column, largest = x - BORDER, p.setting[0]
    around = _set_taps(p, s, q, c, y, x)
    mean = HALF * np.float32(around)
    if column % PERIOD == 0:
        solve_around(s, column)
    if column % WIDE_PERIOD == WIDE_PHASE:
        solve_wide(s)
    for k in range(SQUARES):
        p.guesses[k] = _fix(dot(s.weights[k], s.taps) + mean, largest)
    p.guesses[SQUARES] = 256 * _median(p, q, c, y, x)
    return around


@njit(nogil=True, error_model="numpy", forceinline=True)
def _recent(p: Plane, k: Int, y: Int, x: Int) -> Int:
    """Absolute errors of a prediction around the sample."""
    row, above = p.recent[k, y & 1], p.recent[k, 1 - (y & 1)]
    return 2 * row[x - 1] + 2 * above[x] + above[x - 1] + above[x + 1] + row[x - 2]


@njit(nogil=True, error_model="numpy", forceinline=True)
def _average(p: Plane, y: Int, x: Int) -> None:
    """Set the last prediction: the average of the others."""
    shares: Int = np.int64(0)
    total: Int = np.int64(0)
    for k in range(MIXED):
        size = _recent(p, k, y, x) + 1
        share = (1 << 40) // (size * size) + 1
        shares += share
        total += share * p.guesses[k]
    p.guesses[MIXED] = (total + (shares >> 1)) // shares


@njit(nogil=True, error_model="numpy", forceinline=True)
def _set_contexts(
    p: Plane, q: NDArray[np.int32], errors: NDArray[np.int32], c: Int, y: Int, x: Int
) -> None:
    """Set the scales of the distributions and the contexts of the tables."""
    other: Int = np.int64(0)
    first, second = p.before[0], p.before[1]
    if first >= 0:
        other += 2 * errors[first, y, x] + errors[first, y, x + 1] + errors[first, y + 1, x]
    if second >= 0:
        other += 2 * errors[second, y, x]
    for k in range(PREDICTIONS):
        p.steps[k] = min(SCALES - 1, step(_recent(p, k, y, x) + (other >> 1) >> 2))
        p.inverses[k] = (64 << 16) // (p.means[k, p.steps[k]] + 1)
    scale, guess = p.steps[MIXED], p.guesses[MIXED]
    center = guess + 128 >> 8
    west, north = np.int64(errors[c, y, x - 1]), np.int64(errors[c, y - 1, x])
    corner, up = np.int64(q[c, y - 1, x - 1]), np.int64(q[c, y - 1, x])
    edge = abs(q[c, y, x - 1] - corner) + abs(up - corner) + abs(up - q[c, y - 1, x + 1])
    p.contexts[0] = scale * 8 + ((guess + 128 & 255) >> 5)
    lengths = bit_length(west >> 3) * 12 + bit_length(north >> 3)
    p.contexts[1] = lengths * 4 + (x & 1) * 2 + (y & 1)
    p.contexts[2] = min(23, step(other >> 2)) * 12 + scale // 2
    p.contexts[3] = min(15, step(edge) // 2) * 12 + scale // 2
    p.contexts[4] = min(255, center) * 4 + min(3, scale // 6)
    apart = (p.guesses[0] - guess >> 7) & 63
    p.contexts[5] = apart * 64 + ((p.guesses[1] - guess >> 7) & 63)


@njit(nogil=True, error_model="numpy", forceinline=True)
def _code_sample(p: Plane, reading: bool, sample: Int) -> Int:
    """Code a sample whose predictions and contexts are set; returns it."""
    largest, center = p.setting[0], p.guesses[MIXED] + 128 >> 8
    if _code_zero(p, reading, 1 if sample == center else 0, center, largest):
        return center
    above = _code_sign(p, reading, 1 if sample > center else 0, center, largest)
    sign, most = (1, largest - center) if above else (-1, center)
    start = bit_length(5 * p.means[MIXED, p.steps[MIXED]] >> 11)
    size = abs(sample - center)
    return center + sign * _code_size(p, reading, size, most, center, sign, start)


@njit(nogil=True, error_model="numpy", forceinline=True)
def _adapt(p: Plane, y: Int, x: Int, sample: Int) -> None:
    """Learn how far the predictions were from the sample."""
    for k in range(PREDICTIONS):
        error, at = abs(sample * 256 - p.guesses[k]), p.steps[k]
        p.means[k, at] += (error - p.means[k, at]) * p.maps[TABLE_RATE + p.seen[k, at]] >> 16
        p.seen[k, at] = min(p.seen[k, at] + 1, RATES - 1)
        p.recent[k, y & 1, x] = error >> 4


@njit(nogil=True, error_model="numpy", forceinline=True)
def _extend(q: NDArray[np.int32], c: Int, y: Int, right: Int) -> None:
    """Repeat the first sample of the row above on the left, and a row's last one on its right."""
    for k in range(BORDER):
        q[c, y, k] = q[c, y - 1, BORDER]
        q[c, y - 1, right + k] = q[c, y - 1, right - 1]


@compiled(nogil=True, error_model="numpy")
def code_rows(
    p: Plane,
    s: Systems,
    q: NDArray[np.int32],
    errors: NDArray[np.int32],
    place: tuple[Int, Int, Int],
    reading: bool,
    spent: NDArray[np.float64],
) -> Int:
    """Write or read rows of a plane; returns the number of bytes in `p.data` so far.

    Args:
        p: the plane's coder; it has coded the rows above.
        s: its systems.
        q: samples of all planes with a border, `(planes, height + 2 BORDER, width + 2 BORDER)`.
        errors: of the predictions, in units of 2^-4, likewise.
        place: number of the plane, first row, and the row after the last.
        reading: whether to read.
        spent: for the bits up to each sample, `(planes, height, width)`, or empty.
    """
    c, first, last = place
    right = q.shape[2] - BORDER
    if first == 0 and reading:
        start_reading(p.coder, p.data)
    for y in range(first + BORDER, last + BORDER):
        _extend(q, c, y, right)
        start_row(s)
        for x in range(BORDER, right):
            around = _predict(p, s, q, c, y, x)
            _average(p, y, x)
            _set_contexts(p, q, errors, c, y, x)
            expected = p.means[MIXED, p.steps[MIXED]]
            sample = _code_sample(p, reading, np.int64(q[c, y, x]))
            q[c, y, x] = sample
            _adapt(p, y, x, sample)
            errors[c, y, x] = p.recent[MIXED, y & 1, x]
            learn(s, x - BORDER, HALF * np.float32(2 * sample - around), expected)
            if spent.size:
                extent = p.coder[1] - p.coder[0] + 1
                spent[c, y - BORDER, x - BORDER] = 8 * p.coder[2] - np.log2(extent)
        for k in range(PREDICTIONS):
            p.recent[k, y & 1, right] = p.recent[k, y & 1, right - 1]
    if last == q.shape[1] - 2 * BORDER:
        _extend(q, c, last + BORDER, right)
        q[c, last + BORDER] = q[c, last + BORDER - 1]
        if not reading:
            finish_writing(p.coder, p.data)
    return p.coder[2]
