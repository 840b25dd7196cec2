"""Compiled loops of the predictive coder for samples of up to 16 bits.

Four predictions of each sample are averaged, the more so the smaller their recent errors: one is a
linear filter of its neighbours, trained while it codes (normalised least mean squares). What is
left is coded as the length of its absolute value, the two bits below the highest, and the sign,
each bit by adaptive probabilities of three contexts that a small logistic network mixes; lower bits
are stored as they are. All numbers are integers, equal on every machine.

Sources: Haykin 2002, "Adaptive Filter Theory", chapter 6 (the filter); Mahoney 2005, "Adaptive
weighing of context models for lossless data compression" (the mixing); the averaging follows the
weighted predictor of JPEG XL (ISO/IEC 18181-1).

Units: 2^-16 for a probability in the coder, 2^-22 for one in a table, 2^-7 nat for a logit, 2^-16
for a weight.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from laconic.coding.binary_arithmetic import (
    Int,
    IntArray,
    code_bit,
    finish_writing,
    start_reading,
)
from laconic.coding.context_mixing.kernels import bit_length, median
from laconic.compiled import compiled

ABOVE, LEFT, RIGHT = 2, 3, 2
"""Rows above a picture, columns on its left and right; they repeat the picture's border."""
TAPS = 16
"""Inputs of the linear filter, at most."""
PREDICTIONS = 4
FINE, CROSS, COARSE, SIZES = 72, 36, 18, 17
"""Steps of the recent errors, of errors of other channels, of both; lengths of an error."""
CONTEXTS = (FINE, CROSS * COARSE, SIZES * SIZES)
"""Of each of the three tables, for one channel."""
NODES = 88
"""Bits that a context predicts: lengths upwards and downwards, two bits below, the sign."""
DOWNWARDS, BELOW, SIGN = 17, 34, 85
KINDS = 12
"""Kinds of bits that have weights of their own, in each of four steps of the recent errors."""
LIMIT = 1472
"""Logits lie within +-LIMIT: beyond it, a probability is below 2^-16."""
RATES = 255
"""Observations after which the rate of adaptation stays constant."""
STEPS = 4097
"""Bits after which the rate of weights stays constant, plus 1."""
MODELLED = 2
"""Bits below the highest that are coded by contexts."""
SQUASH = (1 << 16) + LIMIT
RATE = SQUASH + LIMIT + 1
STEP = RATE + RATES
"""Where the middle of the second map is, and the starts of the third and the fourth."""
_BIAS = 128


class Predictor(NamedTuple):
    """The state of the coder, and its tables. Channels are in coding order.

    Attributes:
        samples: `(channels, ABOVE + height, LEFT + width + RIGHT)`.
        errors: of the final predictions, likewise.
        costs: absolute errors of each prediction, in this row and the one above, `(channels,
            PREDICTIONS, 2, LEFT + width + RIGHT)`.
        filters: weights of the filters, `(channels, TAPS)`.
        inputs: of the filter of the current sample, `(TAPS,)`.
        guesses: its predictions, `(PREDICTIONS,)`.
        near: its contexts, step of the recent errors, and expected length, `(5,)`.
        tables: three rows of probabilities: 22 bits, and 8 of count.
        weights: of the mixer, `(channels KINDS 4, 5)`: three tables, bias, count.
        coder: low and high end of the interval, place in `data`, word of the reader, place in `low`
            in bits.
        data: bytes of the arithmetic coder.
        low: bytes of the low bits.
        maps: logits of probabilities, then probabilities of logits -LIMIT to LIMIT, then rates of
            tables: 2^16 / (n + 3/2) for n observations, then rates of weights.
    """

    samples: NDArray[np.int32]
    errors: NDArray[np.int32]
    costs: NDArray[np.int32]
    filters: IntArray
    inputs: IntArray
    guesses: IntArray
    near: IntArray
    tables: NDArray[np.int32]
    weights: IntArray
    coder: IntArray
    data: NDArray[np.uint8]
    low: NDArray[np.uint8]
    maps: IntArray


@njit(nogil=True, error_model="numpy")
def _step(value: Int) -> Int:
    """About 4 log2(value + 1)."""
    octave = bit_length(value + 1) - 1
    return min(4 * octave + (((value + 1) << 2 >> octave) & 3), FINE - 1)


@njit(nogil=True, error_model="numpy")
def _adapt(entry: Int, bit: Int, rate: Int) -> Int:
    """An entry of a table after a bit."""
    chance, seen = entry >> 8, entry & 255
    chance += (((1 << 22) - 1) * bit - chance) * rate >> 16
    return chance << 8 | min(seen + 1, RATES - 1)


@njit(nogil=True, error_model="numpy")
def _code(
    tables: NDArray[np.int32],
    weights: IntArray,
    coder: IntArray,
    data: NDArray[np.uint8],
    maps: IntArray,
    reading: bool,
    bit: Int,
    slots: tuple[Int, Int, Int],
    unit: Int,
) -> Int:
    """Write a bit, or read one; returns it. `slots`: of the tables, `unit`: row of the weights."""
    first, second, third = slots
    entry0, entry1 = np.int64(tables[0, first]), np.int64(tables[1, second])
    entry2 = np.int64(tables[2, third])
    logit0, logit1, logit2 = maps[entry0 >> 14], maps[entry1 >> 14], maps[entry2 >> 14]
    total = weights[unit, 0] * logit0 + weights[unit, 1] * logit1
    total += weights[unit, 2] * logit2 + weights[unit, 3] * _BIAS
    chance = maps[SQUASH + min(max(total >> 16, -LIMIT), LIMIT)]
    bit = code_bit(coder, data, reading, bit, chance)
    seen = weights[unit, 4]
    weights[unit, 4] = min(seen + 1, STEPS - 1)
    error = ((bit << 16) - chance) * maps[STEP + seen]
    weights[unit, 0] += (logit0 * error + (1 << 17)) >> 18
    weights[unit, 1] += (logit1 * error + (1 << 17)) >> 18
    weights[unit, 2] += (logit2 * error + (1 << 17)) >> 18
    weights[unit, 3] += (_BIAS * error + (1 << 17)) >> 18
    tables[0, first] = _adapt(entry0, bit, maps[RATE + (entry0 & 255)])
    tables[1, second] = _adapt(entry1, bit, maps[RATE + (entry1 & 255)])
    tables[2, third] = _adapt(entry2, bit, maps[RATE + (entry2 & 255)])
    return bit


@njit(nogil=True, error_model="numpy", inline="always")
def _code_low(m: Predictor, reading: bool, value: Int, count: Int) -> Int:
    """Write or read the `count` lowest bits of a number as they are, the lowest first."""
    found: Int = np.int64(0)
    for k in range(count):
        place = m.coder[4] >> 3
        if place < m.low.size:
            if reading:
                found |= ((np.int64(m.low[place]) >> (m.coder[4] & 7)) & 1) << k
            else:
                m.low[place] |= ((value >> k) & 1) << (m.coder[4] & 7)
        m.coder[4] += 1
    return found if reading else value & ((1 << count) - 1)


@njit(nogil=True, error_model="numpy", inline="always")
def _gather_own(q: NDArray[np.int32], d: IntArray, c: Int, y: Int, x: Int) -> tuple[Int, Int]:
    """Set the inputs of a channel predicted by itself; returns their number and the mean."""
    mean = (np.int64(q[c, y, x - 1]) + q[c, y - 1, x]) >> 1
    d[0], d[1] = q[c, y, x - 1] - mean, q[c, y - 1, x] - mean
    d[2], d[3] = q[c, y - 1, x - 1] - mean, q[c, y - 1, x + 1] - mean
    d[4], d[5] = q[c, y, x - 2] - mean, q[c, y - 2, x] - mean
    d[6], d[7] = q[c, y - 2, x + 1] - mean, q[c, y - 1, x + 2] - mean
    d[8], d[9] = q[c, y - 1, x - 2] - mean, q[c, y - 2, x - 1] - mean
    return 10, mean


@njit(nogil=True, error_model="numpy", inline="always")
def _gather_other(q: NDArray[np.int32], d: IntArray, c: Int, y: Int, x: Int) -> tuple[Int, Int]:
    """The same of a channel that is predicted as its difference from the first one."""
    west, north = np.int64(q[c, y, x - 1]) - q[0, y, x - 1], q[c, y - 1, x] - q[0, y - 1, x]
    mean = (west + north) >> 1
    d[0], d[1] = west - mean, north - mean
    d[2] = q[c, y - 1, x - 1] - q[0, y - 1, x - 1] - mean
    d[3] = q[c, y - 1, x + 1] - q[0, y - 1, x + 1] - mean
    d[4], d[5] = q[c, y, x - 2] - q[0, y, x - 2] - mean, q[c, y - 2, x] - q[0, y - 2, x] - mean
    first = (np.int64(q[0, y, x - 1]) + q[0, y - 1, x]) >> 1
    d[6], d[7], d[8] = q[0, y, x] - first, q[0, y, x - 1] - first, q[0, y - 1, x] - first
    d[9], d[10] = q[0, y - 1, x - 1] - first, q[0, y - 1, x + 1] - first
    if c == 1:
        return 11, mean
    west, north = np.int64(q[1, y, x - 1]) - q[0, y, x - 1], q[1, y - 1, x] - q[0, y - 1, x]
    second = (west + north) >> 1
    d[11] = q[1, y, x] - q[0, y, x] - second
    d[12], d[13] = west - second, north - second
    d[14] = q[1, y - 1, x - 1] - q[0, y - 1, x - 1] - second
    d[15] = q[1, y - 1, x + 1] - q[0, y - 1, x + 1] - second
    return 16, mean


@njit(nogil=True, error_model="numpy", inline="always")
def _difference(q: NDArray[np.int32], c: Int, other: Int, y: Int, x: Int) -> Int:
    """A prediction: the other channel's sample, and the median of differences from it."""
    west = np.int64(q[c, y, x - 1]) - q[other, y, x - 1]
    north = np.int64(q[c, y - 1, x]) - q[other, y - 1, x]
    return q[other, y, x] + median(west, north, q[c, y - 1, x - 1] - q[other, y - 1, x - 1])


@njit(nogil=True, error_model="numpy", inline="always")
def _predict(m: Predictor, c: Int, y: Int, x: Int, level: Int, largest: Int) -> tuple[Int, Int]:
    """Set the four predictions; returns the number of inputs and their squared length."""
    q, g = m.samples, m.guesses
    west, north, corner = np.int64(q[c, y, x - 1]), np.int64(q[c, y - 1, x]), q[c, y - 1, x - 1]
    if level == 0:
        taps, mean = _gather_own(q, m.inputs, c, y, x)
        g[1] = median(west, north, corner)
        g[2] = north + q[c, y - 1, x + 1] - q[c, y - 2, x + 1]
        g[3] = west + q[c, y - 1, x + 1] - north
    else:
        taps, mean = _gather_other(q, m.inputs, c, y, x)
        mean += q[0, y, x]
        g[1] = _difference(q, c, 0, y, x)
        g[2] = median(west, north, corner)
        g[3] = mean if level == 1 else _difference(q, c, 1, y, x)
    total: Int = np.int64(0)
    power: Int = np.int64(64)
    for k in range(taps):
        total += m.filters[c, k] * m.inputs[k]
        power += m.inputs[k] * m.inputs[k]
    g[0] = mean + (total >> 16)
    for k in range(PREDICTIONS):
        g[k] = min(max(g[k], 0), largest)
    return taps, power


@njit(nogil=True, error_model="numpy", inline="always")
def _average(m: Predictor, c: Int, y: Int, x: Int) -> Int:
    """The predictions, weighted by the inverse squares of their costs around the sample."""
    row, above, cost = y & 1, 1 - (y & 1), m.costs
    weights: Int = np.int64(0)
    total: Int = np.int64(0)
    for k in range(PREDICTIONS):
        size = 2 * np.int64(cost[c, k, row, x - 1]) + 2 * cost[c, k, above, x] + 1
        size += cost[c, k, above, x + 1] + cost[c, k, above, x - 1] + cost[c, k, row, x - 2]
        weight = (np.int64(1) << 40) // (size * size) + 1
        weights += weight
        total += weight * m.guesses[k]
    return (total + (weights >> 1)) // weights


@njit(nogil=True, error_model="numpy", inline="always")
def _set_contexts(m: Predictor, c: Int, y: Int, x: Int, level: Int) -> None:
    """Set contexts of the error's bits."""
    e, q = m.errors, m.samples
    west, north = abs(np.int64(e[c, y, x - 1])), abs(np.int64(e[c, y - 1, x]))
    recent = 2 * west + 2 * north + abs(e[c, y - 1, x + 1]) + abs(e[c, y - 1, x - 1])
    recent += abs(e[c, y, x - 2]) + abs(e[c, y - 2, x])
    if level == 0:
        corner, beside = np.int64(q[c, y - 1, x - 1]), np.int64(q[c, y - 1, x + 1])
        other = abs(q[c, y, x - 1] - corner) + abs(q[c, y - 1, x] - corner)
        other += abs(q[c, y - 1, x] - beside)
    else:
        other = 3 * abs(np.int64(e[0, y, x]))
        if level == 2:
            other += 2 * abs(np.int64(e[1, y, x]))
    fine = _step(recent)
    m.near[0] = fine
    m.near[1] = (_step(other) >> 1) * COARSE + (fine >> 2)
    m.near[2] = bit_length(west) * SIZES + bit_length(north)
    m.near[3], m.near[4] = fine & 3, bit_length(recent >> 3)


@njit(nogil=True, error_model="numpy", inline="always")
def _bit(m: Predictor, reading: bool, bit: Int, c: Int, node: Int, kind: Int) -> Int:
    """Code a bit of an error in the sample's contexts."""
    slots = (
        (c * FINE + m.near[0]) * NODES + node,
        (c * (CROSS * COARSE) + m.near[1]) * NODES + node,
        (c * (SIZES * SIZES) + m.near[2]) * NODES + node,
    )
    return _code(
        m.tables,
        m.weights,
        m.coder,
        m.data,
        m.maps,
        reading,
        bit,
        slots,
        (c * KINDS + kind) * 4 + m.near[3],
    )


@njit(nogil=True, error_model="numpy", inline="always")
def _code_length(m: Predictor, reading: bool, length: Int, c: Int) -> Int:
    """Code the length of an error, upwards or downwards from the expected one."""
    start = found = m.near[4]
    if start == 0 or _bit(m, reading, 1 if length >= start else 0, c, SIGN + 1, 0):
        while found < SIZES - 1:
            more = 1 if length > found else 0
            if not _bit(m, reading, more, c, found, 1 + min(found - start, 3)):
                break
            found += 1
        return found
    found -= 1
    while found > 0:
        fewer = 1 if length < found else 0
        if not _bit(m, reading, fewer, c, DOWNWARDS + found, 5 + min(start - 1 - found, 3)):
            break
        found -= 1
    return found


@njit(nogil=True, error_model="numpy", inline="always")
def _code_size(m: Predictor, reading: bool, size: Int, c: Int) -> Int:
    """Code the absolute value of an error."""
    length = _code_length(m, reading, bit_length(size), c)
    if length <= 1:
        return length
    found, left = np.int64(1), length - 1
    for k in range(MODELLED):
        if left > 0:
            left -= 1
            node = BELOW + 3 * length + found - 1
            found = 2 * found + _bit(m, reading, (size >> left) & 1, c, node, 9 + k)
    return found << left | _code_low(m, reading, size, left)


@njit(nogil=True, error_model="numpy")
def _sign(value: Int) -> Int:
    """0, 1 or 2 for a negative number, zero, or a positive one."""
    return 1 + (1 if value > 0 else 0) - (1 if value < 0 else 0)


@njit(nogil=True, error_model="numpy", inline="always")
def _code_error(
    m: Predictor, reading: bool, error: Int, c: Int, place: tuple[Int, Int, Int], edge: Int
) -> Int:
    """Code an error. `place`: row, column, level; `edge`: of the range, 0 for neither."""
    size = _code_size(m, reading, abs(error), c)
    if size == 0:
        return size
    y, x, level = place
    own = _sign(m.errors[c, y, x - 1]) * 3 + _sign(m.errors[c, y - 1, x])
    others = _sign(m.errors[0, y, x]) if level > 0 else 1
    others = others * 3 + (_sign(m.errors[1, y, x]) if level > 1 else 1)
    slots = (
        (c * FINE + others * 3 + edge) * NODES + SIGN,
        (c * (CROSS * COARSE) + bit_length(size) * 9 + own) * NODES + SIGN,
        (c * (SIZES * SIZES) + own * 9 + others) * NODES + SIGN,
    )
    negative = 1 if error < 0 else 0
    unit = (c * KINDS + 11) * 4 + m.near[3]
    return (
        -size
        if _code(m.tables, m.weights, m.coder, m.data, m.maps, reading, negative, slots, unit)
        else size
    )


@njit(nogil=True, error_model="numpy", inline="always")
def _code_sample(
    m: Predictor, reading: bool, c: Int, y: Int, x: Int, level: Int, largest: Int
) -> None:
    """Code a sample, and adapt the predictions."""
    taps, power = _predict(m, c, y, x, level, largest)
    guess = _average(m, c, y, x)
    _set_contexts(m, c, y, x, level)
    edge = 1 if guess == 0 else (2 if guess == largest else 0)
    error = _code_error(m, reading, m.samples[c, y, x] - guess, c, (y, x, level), edge)
    sample = min(max(guess + error, 0), largest)
    m.samples[c, y, x], m.errors[c, y, x] = sample, sample - guess
    for k in range(PREDICTIONS):
        m.costs[c, k, y & 1, x] = abs(sample - m.guesses[k])
    gain = ((sample - m.guesses[0]) << 30) // power
    for k in range(taps):
        m.filters[c, k] += (gain * m.inputs[k]) >> 19


@njit(nogil=True, error_model="numpy", inline="always")
def _extend(m: Predictor, y: Int, right: Int) -> None:
    """Repeat the border to the left of a row, and what is `right` of the row above."""
    for c in range(m.samples.shape[0]):
        for k in range(LEFT):
            m.samples[c, y, k] = m.samples[c, y - 1, LEFT]
        for k in range(RIGHT):
            m.samples[c, y - 1, right + k] = m.samples[c, y - 1, right - 1]
        for k in range(PREDICTIONS):
            m.costs[c, k, 1 - (y & 1), right] = m.costs[c, k, 1 - (y & 1), right - 1]


@compiled(nogil=True, error_model="numpy")
def code_samples(m: Predictor, reading: bool, colours: Int, largest: Int) -> Int:
    """Write samples, or read them into `m.samples`; returns the number of bytes in `m.data`.

    Args:
        m: a new predictor (`prediction.samples`).
        reading: whether to read.
        colours: channels that are predicted from each other, 1 or 3; the others follow.
        largest: of all samples.
    """
    if reading:
        start_reading(m.coder, m.data)
    right = m.samples.shape[2] - RIGHT
    for y in range(ABOVE, m.samples.shape[1]):
        _extend(m, y, right)
        for x in range(LEFT, right):
            for c in range(m.samples.shape[0]):
                _code_sample(m, reading, c, y, x, c if c < colours else 0, largest)
    if not reading:
        finish_writing(m.coder, m.data)
    return m.coder[2]
