"""Compiled loops of the context mixing coder for pictures of few colours or flat areas.

Tables of adaptive probabilities predict every bit in several contexts at once. A small network of
logistic units, trained while it codes, mixes the predictions, and an arithmetic coder of 32 bits
writes the bit. All numbers are integers: tables, weights and errors are equal on every machine.

One bit for each distinct neighbour (left, above, above right, above left) says whether the pixel
repeats it, until one is repeated; otherwise the colour of the pixel is coded. Contexts are hashes
of neighbours. Source: Mahoney 2005, "Adaptive weighing of context models for lossless data
compression" (PAQ); the arithmetic coder and the units are those of lpaq1.

Units: 2^-16 for a probability in the coder, 2^-18 for one in a table, 2^-7 nat for a logit, 2^-16
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
from laconic.compiled import compiled

ABOVE = 3
"""Rows of background above a picture."""
BESIDE = 4
"""Columns of background on either side."""
LIMIT = 1472
"""Logits lie within +-LIMIT: beyond it, a probability is below 2^-16."""
RATES = 128
"""Observations after which the rate of adaptation stays constant."""
REPEATS = 8
"""Contexts of the bits for repeated neighbours."""
COLOURS = 6
"""Contexts of the bits of a new colour."""
WEIGHT_SETS = 64
VALUE_SETS = 128
"""Sets of weights: for repeats, and for each of four kinds of value."""
_WORD = 0xFFFFFFFF
_HALF = 1 << 31  # A table's first entry: probability one half, no observations.
_BIAS = 128


class Mixer(NamedTuple):
    """The state of the coder, and its tables.

    Attributes:
        table: `(REPEATS + COLOURS, 2^k)`: 18 bits of probability, 7 of count, 7 of check.
        weights: one row per set, `(WEIGHT_SETS + 4 VALUE_SETS, REPEATS + 1)`.
        coder: low and high end of the interval, place in `data`, current word of the reader.
        data: bytes that are written or read.
        base: hashes of the contexts of the current bit.
        slots: place of each context in its table.
        inputs: logit of each context, and the bias.
        squash: probabilities of logits -LIMIT to LIMIT.
        stretch: logits of probabilities.
        rates: 2^16 / (n + 3/2) for n observations.
    """

    table: NDArray[np.uint32]
    weights: IntArray
    coder: IntArray
    data: NDArray[np.uint8]
    base: IntArray
    slots: IntArray
    inputs: IntArray
    squash: IntArray
    stretch: IntArray
    rates: IntArray


@njit(nogil=True, error_model="numpy")
def _mix(code: Int, value: Int) -> Int:
    """A hash of 32 bits with another value in it."""
    mixed = ((code + value + 1) * 0x2F0B4C47) & _WORD
    return mixed ^ (mixed >> 15)


@njit(nogil=True, error_model="numpy")
def bit_length(value: Int) -> Int:
    """Bits of a number."""
    bits = 0
    while value:
        bits += 1
        value >>= 1
    return bits


@njit(nogil=True, error_model="numpy")
def median(west: Int, north: Int, corner: Int) -> Int:
    """The median of west, north, and the plane through all three neighbours."""
    low, high = min(west, north), max(west, north)
    return min(max(west + north - corner, low), high)


@njit(nogil=True, error_model="numpy")
def _predict(m: Mixer, first: Int, count: Int, node: Int, unit: Int) -> Int:
    """The probability of a one, by contexts `first` to `first + count` and a set of weights."""
    total: Int = np.int64(0)
    mask = m.table.shape[1] - 1
    for k in range(count):
        code = ((m.base[k] + node) * 0x9E3779B1) & _WORD
        code ^= code >> 16
        code = (code * 0x85EBCA6B) & _WORD
        code ^= code >> 13
        slot, check = code & mask, code >> 25
        entry: Int = np.int64(m.table[first + k, slot])
        if entry & 127 != check:
            entry = _HALF | check
            m.table[first + k, slot] = entry
        m.slots[k] = slot
        m.inputs[k] = m.stretch[entry >> 16]
        total += m.weights[unit, k] * m.inputs[k]
    m.inputs[count] = _BIAS
    total += m.weights[unit, count] * _BIAS
    return m.squash[min(max(total >> 16, -LIMIT), LIMIT) + LIMIT]


@njit(nogil=True, error_model="numpy")
def _learn(m: Mixer, first: Int, count: Int, unit: Int, bit: Int, error: Int) -> None:
    """Update weights and probabilities after a bit; `error`: of its probability, times the rate."""
    for k in range(count + 1):
        m.weights[unit, k] += (m.inputs[k] * error + (1 << 22)) >> 23
    for k in range(count):
        entry: Int = np.int64(m.table[first + k, m.slots[k]])
        probability, seen = entry >> 14, (entry >> 7) & 127
        probability += (((1 << 18) - 1) * bit - probability) * m.rates[seen] >> 16
        seen = min(seen + 1, RATES - 1)
        m.table[first + k, m.slots[k]] = (probability << 14) | (seen << 7) | (entry & 127)


@njit(nogil=True, error_model="numpy")
def _code(
    m: Mixer, reading: bool, bit: Int, first: Int, count: Int, node: Int, unit: Int, rate: Int
) -> Int:
    """Write a bit, or read one; returns it."""
    probability = _predict(m, first, count, node, unit)
    bit = code_bit(m.coder, m.data, reading, bit, probability)
    _learn(m, first, count, unit, bit, ((bit << 16) - probability) * rate)
    return bit


@njit(nogil=True, error_model="numpy")
def _code_value(m: Mixer, reading: bool, value: Int, kind: Int, rate: Int) -> Int:
    """Code a number of 0 to 255: its length in bits, in unary, then the bits below the highest."""
    unit, length, known = WEIGHT_SETS + VALUE_SETS * kind, bit_length(value), 0
    while known < 8:
        more = 1 if length > known else 0
        node = known * 0x1F35
        if not _code(m, reading, more, REPEATS, COLOURS, node, unit + known, rate):
            break
        known += 1
    if known <= 1:
        return known
    found = 1
    for place in range(known - 2, -1, -1):
        node = (256 + found) * 0x1F35 + known * 77
        set_ = unit + 16 + known * 8 + known - 2 - place
        bit = (value >> place) & 1
        found = 2 * found + _code(m, reading, bit, REPEATS, COLOURS, node, set_, rate)
    return found


@njit(nogil=True, error_model="numpy")
def _equalities(q: IntArray, y: Int, x: Int) -> Int:
    """16 bits: which pairs of the pixels around are equal."""
    west, north, corner, east = q[y, x - 1], q[y - 1, x], q[y - 1, x - 1], q[y - 1, x + 1]
    same = np.int64(west == north) | np.int64(north == corner) << 1
    same |= np.int64(north == east) << 2 | np.int64(west == q[y, x - 2]) << 3
    same |= np.int64(north == q[y - 2, x]) << 4 | np.int64(west == corner) << 5
    same |= np.int64(east == q[y - 2, x + 1]) << 6 | np.int64(corner == q[y - 2, x - 1]) << 7
    same |= np.int64(east == q[y - 1, x + 2]) << 8 | np.int64(corner == q[y - 1, x - 2]) << 9
    same |= np.int64(q[y, x - 2] == q[y - 1, x - 2]) << 10
    same |= np.int64(q[y, x - 2] == q[y, x - 3]) << 11
    same |= np.int64(q[y - 2, x] == q[y - 2, x - 1]) << 12
    same |= np.int64(q[y - 2, x] == q[y - 2, x + 1]) << 13
    same |= np.int64(q[y - 2, x] == q[y - 3, x]) << 14
    return same | np.int64(west == east) << 15


@njit(nogil=True, error_model="numpy")
def _set_contexts(m: Mixer, q: IntArray, y: Int, x: Int, last: Int) -> tuple[Int, Int]:
    """Set the contexts of repeats; returns the equalities and a hash of the four nearest pixels."""
    same = _equalities(q, y, x)
    two = _mix(_mix(0x1234, q[y, x - 1]), q[y - 1, x])
    four = _mix(_mix(two, q[y - 1, x - 1]), q[y - 1, x + 1])
    six = _mix(_mix(four, q[y, x - 2]), q[y - 2, x])
    nine = _mix(_mix(_mix(six, q[y - 2, x + 1]), q[y - 1, x - 2]), q[y - 1, x + 2])
    more = _mix(_mix(_mix(nine, q[y - 2, x - 1]), q[y, x - 3]), q[y - 3, x])
    more = _mix(_mix(more, q[y - 2, x - 2]), q[y - 2, x + 2])
    most = _mix(_mix(_mix(more, q[y, x - 4]), q[y - 1, x + 3]), q[y - 1, x - 3])
    most = _mix(_mix(_mix(most, q[y - 2, x + 3]), q[y - 3, x - 1]), q[y - 3, x + 1])
    m.base[0], m.base[1], m.base[2] = _mix(two, 1), _mix(four, 2), _mix(six, 3)
    m.base[3], m.base[4], m.base[5] = _mix(nine, 4), _mix(more, 5), _mix(most, 6)
    m.base[6] = _mix(0x777, same)
    colours = _mix(_mix(q[y, x - 1], q[y - 1, x]), last)
    m.base[7] = _mix(_mix(0x999, same), colours)
    return same, four


@njit(nogil=True, error_model="numpy")
def _code_repeat(
    m: Mixer, reading: bool, q: IntArray, y: Int, x: Int, colours: Int, same: Int, rate: Int
) -> Int:
    """Code which neighbour a pixel repeats, or -1; the last possible colour needs no bit."""
    first = second = third = np.int64(-1)
    count = 0
    for k in range(4):
        near = q[y, x - 1]
        if k > 0:
            near = q[y - 1, x] if k == 1 else (q[y - 1, x + 1] if k == 2 else q[y - 1, x - 1])
        if near in (first, second, third):
            continue
        if colours == count + 1:
            return near
        third, second, first = second, first, near
        hit = 1 if q[y, x] == near else 0
        unit = count * 16 + (same & 15)
        if _code(m, reading, hit, 0, REPEATS, count * 0x3779, unit, rate):
            return near
        count += 1
    return 1 - q[y, x - 1] if colours == 2 else np.int64(-1)


@njit(nogil=True, error_model="numpy")
def _code_index(
    m: Mixer, reading: bool, q: IntArray, y: Int, x: Int, four: Int, recent: Int, rate: Int
) -> Int:
    """Code the number of a colour in the palette."""
    west, north = q[y, x - 1], q[y - 1, x]
    m.base[0], m.base[1], m.base[2] = _mix(0x51, 0), _mix(0x52, west), _mix(0x53, north)
    m.base[3], m.base[4] = _mix(_mix(0x54, west), north), _mix(0x55, four)
    m.base[5] = _mix(0x56, recent)
    return _code_value(m, reading, q[y, x], 0, rate)


@njit(nogil=True, error_model="numpy")
def _code_channel(
    m: Mixer,
    reading: bool,
    value: Int,
    near: tuple[Int, Int, Int, Int],
    known: tuple[Int, ...],
    rate: Int,
) -> Int:
    """Code one byte of a colour, as its difference from a prediction.

    `near`: the byte of the pixels to the left, above, above left, above right. `known`: number of
    the byte, and of the bytes before it; difference of the first byte; the bytes so far; length of
    the last difference; hashes of two and four neighbours; the last new colour.
    """
    west, north, corner, east = near
    number, before, shift, colours, last_length, two, four, recent = known
    predicted = median(west, north, corner)
    if before > 0 and number < 3:
        predicted = min(max(predicted + shift, 0), 255)
    rough = abs(west - corner) + abs(corner - north) + abs(north - east)
    activity = min(15, bit_length(rough))
    m.base[0] = _mix(0x61 + number, activity)
    m.base[1] = _mix(_mix(0x62 + 8 * number, two), colours)
    m.base[2] = _mix(_mix(0x63 + 8 * number, four), colours)
    m.base[3] = _mix(_mix(0x64 + 8 * number, shift & 255), last_length)
    m.base[4] = _mix(_mix(0x65 + 8 * number, predicted), colours)
    m.base[5] = _mix(_mix(_mix(0x66 + 8 * number, recent), colours), activity)
    difference = (value - predicted) & 255
    folded = 2 * difference if difference < 128 else 511 - 2 * difference
    folded = _code_value(m, reading, folded, 1 + min(before, 2), rate)
    difference = -((folded + 1) >> 1) if folded & 1 else folded >> 1
    return (predicted + difference) & 255


@njit(nogil=True, error_model="numpy")
def _code_colour(
    m: Mixer,
    reading: bool,
    q: IntArray,
    y: Int,
    x: Int,
    channels: Int,
    four: Int,
    recent: Int,
    rate: Int,
) -> Int:
    """Code a colour byte by byte; of three or four bytes, green comes first."""
    west, north, corner, east = q[y, x - 1], q[y - 1, x], q[y - 1, x - 1], q[y - 1, x + 1]
    two, colours = _mix(west, north), np.int64(0)
    shift: Int = 0
    length: Int = 0
    for before in range(channels):
        number = before
        if channels >= 3 and before < 2:
            number = 1 - before
        bits = 8 * number
        near = (
            (west >> bits) & 255,
            (north >> bits) & 255,
            (corner >> bits) & 255,
            (east >> bits) & 255,
        )
        known = (number, before, shift, colours, length, two, four, recent)
        value = _code_channel(m, reading, (q[y, x] >> bits) & 255, near, known, rate)
        predicted = median(near[0], near[1], near[2])
        if before == 0:
            shift = value - predicted
        length = min(bit_length(abs(value - predicted)), 7)
        colours |= value << bits
    return colours


@compiled(nogil=True, error_model="numpy")
def code_pixels(m: Mixer, reading: bool, q: IntArray, channels: Int, colours: Int) -> Int:
    """Write pixels, or read them into `q`; returns the number of bytes.

    Args:
        m: a new mixer (`context_mixing.pixels`).
        reading: whether to read.
        q: `(ABOVE + height, width + 2 BESIDE)`: colours, a byte for each channel, or numbers of
            a palette; the border around the picture is background.
        channels: bytes of a colour, 0 for a palette.
        colours: size of the palette, or any number larger than the number of pixels.
    """
    if reading:
        start_reading(m.coder, m.data)
    last = before_last = q[0, 0]
    done = new = 0
    for y in range(ABOVE, q.shape[0]):
        for x in range(BESIDE, q.shape[1] - BESIDE):
            same, four = _set_contexts(m, q, y, x, last)
            rate = 24 + 32768 // (256 + (done >> 2))
            done += 1
            value = _code_repeat(m, reading, q, y, x, colours, same, rate)
            if value < 0:
                new += 1
                rate = 24 + 32768 // (256 + new)
                if channels == 0:
                    recent = _mix(last, before_last)
                    value = _code_index(m, reading, q, y, x, four, recent, rate)
                else:
                    value = _code_colour(m, reading, q, y, x, channels, four, last, rate)
                before_last, last = last, value
            q[y, x] = value
    if not reading:
        finish_writing(m.coder, m.data)
    return m.coder[2]
