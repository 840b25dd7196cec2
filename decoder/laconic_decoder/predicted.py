"""Samples of 16 bits by prediction, and levels (docs/format.md, "Prediction", "Levels")."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

from .binary import BinaryReader
from .container import Array, Fields, LacError, need
from .contexts import LIMIT, median
from .stack import logistic_cdf

Plane = list[list[int]]


class Bits:
    """Reads bits under mixed probabilities, and low bits as they are."""

    def __init__(self, data: bytes, low: bytes) -> None:
        values = logistic_cdf()[2688 - LIMIT : 2688 + LIMIT + 1] >> 14
        squash = np.clip(values, 1, 65535)
        stretch = np.searchsorted(squash, np.arange(1 << 16), side="right") - 1 - LIMIT
        self.squash = squash.tolist()
        self.stretch: list[int] = np.clip(stretch, -LIMIT, LIMIT).tolist()
        self.tables: list[dict[tuple[int, ...], tuple[int, int]]] = [{}, {}, {}]
        self.weights: dict[tuple[int, ...], list[int]] = {}
        self.reader = BinaryReader(data)
        self.bits, self.done = int.from_bytes(low, "little"), 0

    def bit(self, slots: tuple[tuple[int, ...], ...], unit: tuple[int, ...]) -> int:
        """The next bit, by an entry of each table and a set of weights."""
        entries = [self.tables[k].get(slot, (1 << 21, 0)) for k, slot in enumerate(slots)]
        inputs = [*(self.stretch[chance >> 6] for chance, _ in entries), 128]
        weights = self.weights.setdefault(unit, [22000, 22000, 22000, 0, 0])
        total = sum(weights[k] * inputs[k] for k in range(4)) >> 16
        p = self.squash[min(max(total, -LIMIT), LIMIT) + LIMIT]
        bit = self.reader.read(p)
        error = ((bit << 16) - p) * (12 + 3000 // (16 + weights[4]))
        for k in range(4):
            weights[k] += inputs[k] * error + (1 << 17) >> 18
        weights[4] = min(weights[4] + 1, 4096)
        for table, slot, (chance, seen) in zip(self.tables, slots, entries, strict=True):
            chance += (4194303 * bit - chance) * ((1 << 17) // (2 * seen + 3)) >> 16
            table[slot] = chance, min(seen + 1, 254)
        return bit

    def raw(self, count: int) -> int:
        """So many low bits."""
        value = self.bits >> self.done & (1 << count) - 1
        self.done += count
        return value


def step(value: int) -> int:
    """About 4 log2(value + 1)."""
    octave = (value + 1).bit_length() - 1
    return min(4 * octave + ((value + 1 << 2 >> octave) & 3), 71)


class Predictor:
    """Samples of channels in coding order; two rows above, three columns left, two right."""

    def __init__(self, bits: Bits, planes: list[Plane], largest: int) -> None:
        self.bits, self.q, self.largest = bits, planes, largest
        self.height, self.width = len(planes[0]), len(planes[0][0])
        self.e = [[[0] * self.width for _ in range(self.height)] for _ in planes]
        self.costs = [[[[0] * self.width for _ in range(2)] for _ in range(4)] for _ in planes]
        self.filters = [[0] * 16 for _ in planes]

    def fill(self, colours: int) -> None:
        """Read all samples."""
        right = self.width - 2
        for y in range(2, self.height):
            for c, plane in enumerate(self.q):
                plane[y][:3] = [plane[y - 1][3]] * 3
                plane[y - 1][right:] = [plane[y - 1][right - 1]] * 2
                for cost in self.costs[c]:
                    cost[1 - (y & 1)][right] = cost[1 - (y & 1)][right - 1]
            for x in range(3, right):
                for c in range(len(self.q)):
                    self.sample(c, y, x, c if c < colours else 0)

    def inputs(self, c: int, y: int, x: int, level: int) -> tuple[list[int], int]:
        """Inputs of the filter, and the mean that they are measured from."""
        q = self.q

        def take(at: Callable[[int, int], int], places: str) -> tuple[list[int], int]:
            mean = at(y, x - 1) + at(y - 1, x) >> 1
            moves = {"W": (0, -1), "N": (-1, 0), "NW": (-1, -1), "NE": (-1, 1), "WW": (0, -2)}
            moves |= {"NN": (-2, 0), "NNE": (-2, 1), "NEE": (-1, 2), "NWW": (-1, -2)}
            moves |= {"NNW": (-2, -1), "X": (0, 0)}
            return [at(y + moves[m][0], x + moves[m][1]) - mean for m in places.split()], mean

        if level == 0:
            return take(lambda i, j: q[c][i][j], "W N NW NE WW NN NNE NEE NWW NNW")
        found, mean = take(lambda i, j: q[c][i][j] - q[0][i][j], "W N NW NE WW NN")
        found += take(lambda i, j: q[0][i][j], "X W N NW NE")[0]
        if level == 2:
            found += take(lambda i, j: q[1][i][j] - q[0][i][j], "X W N NW NE")[0]
        return found, mean

    def near(self, c: int, y: int, x: int, other: int) -> int:
        """The other channel's sample, and the median of differences from it."""
        p, o = self.q[c], self.q[other]
        west, north = p[y][x - 1] - o[y][x - 1], p[y - 1][x] - o[y - 1][x]
        return o[y][x] + median(west, north, p[y - 1][x - 1] - o[y - 1][x - 1])

    def guesses(self, c: int, y: int, x: int, level: int, mean: int, change: int) -> list[int]:
        """The four predictions."""
        p = self.q[c]
        west, north, corner, east = p[y][x - 1], p[y - 1][x], p[y - 1][x - 1], p[y - 1][x + 1]
        plane = median(west, north, corner)
        if level == 0:
            found = [mean + change, plane, north + east - p[y - 2][x + 1], west + east - north]
        else:
            mean += self.q[0][y][x]
            last = mean if level == 1 else self.near(c, y, x, 1)
            found = [mean + change, self.near(c, y, x, 0), plane, last]
        return [min(max(value, 0), self.largest) for value in found]

    def sample(self, c: int, y: int, x: int, level: int) -> None:
        """Read a sample, and adapt the predictions."""
        inputs, mean = self.inputs(c, y, x, level)
        weights = self.filters[c]
        change = sum(weights[k] * one for k, one in enumerate(inputs)) >> 16
        guesses = self.guesses(c, y, x, level, mean, change)
        row, above, shares, total = y & 1, 1 - (y & 1), 0, 0
        for cost, guess in zip(self.costs[c], guesses, strict=True):
            here, over = cost[row], cost[above]
            size = 2 * here[x - 1] + 2 * over[x] + over[x + 1] + over[x - 1] + here[x - 2] + 1
            share = (1 << 40) // (size * size) + 1
            shares, total = shares + share, total + share * guess
        guess = (total + (shares >> 1)) // shares
        value = min(max(guess + self.error(c, y, x, level, guess), 0), self.largest)
        self.q[c][y][x], self.e[c][y][x] = value, value - guess
        for cost, one in zip(self.costs[c], guesses, strict=True):
            cost[row][x] = abs(value - one)
        gain = (value - guesses[0] << 30) // (64 + sum(one * one for one in inputs))
        for k, one in enumerate(inputs):
            weights[k] += gain * one >> 19

    def error(self, c: int, y: int, x: int, level: int, guess: int) -> int:
        """Read the error of a prediction."""
        e, p = self.e[c], self.q[c]
        west, north = abs(e[y][x - 1]), abs(e[y - 1][x])
        recent = 2 * west + 2 * north + abs(e[y - 1][x + 1]) + abs(e[y - 1][x - 1])
        recent += abs(e[y][x - 2]) + abs(e[y - 2][x])
        if level == 0:
            up, corner = p[y - 1][x], p[y - 1][x - 1]
            other = abs(p[y][x - 1] - corner) + abs(up - corner) + abs(up - p[y - 1][x + 1])
        else:
            other = 3 * abs(self.e[0][y][x]) + (2 * abs(self.e[1][y][x]) if level == 2 else 0)
        fine = step(recent)
        sizes = west.bit_length() * 17 + north.bit_length()
        known = fine, (step(other) >> 1) * 18 + (fine >> 2), sizes

        def bit(node: int, kind: int) -> int:
            slots = tuple((c, context, node) for context in known)
            return self.bits.bit(slots, (c, kind, fine & 3))

        size = read_size(bit, self.bits, (recent >> 3).bit_length())
        if size == 0:
            return 0
        signs = [(one > 0) - (one < 0) + 1 for one in (e[y][x - 1], e[y - 1][x])]
        own, others = signs[0] * 3 + signs[1], 4
        if level > 0:
            ahead = [self.e[0][y][x], self.e[1][y][x] if level > 1 else 0]
            marks = [(one > 0) - (one < 0) + 1 for one in ahead]
            others = marks[0] * 3 + marks[1]
        edge = 1 if guess == 0 else 2 if guess == self.largest else 0
        places = others * 3 + edge, size.bit_length() * 9 + own, own * 9 + others
        slots = tuple((c, place, 85) for place in places)
        return -size if self.bits.bit(slots, (c, 11, fine & 3)) else size


def read_size(bit: Callable[[int, int], int], bits: Bits, start: int) -> int:
    """Read the absolute value of an error whose expected length is `start`."""
    length = start
    if start == 0 or bit(86, 0):
        while length < 16 and bit(length, 1 + min(length - start, 3)):
            length += 1
    else:
        length -= 1
        while length > 0 and bit(17 + length, 5 + min(start - 1 - length, 3)):
            length -= 1
    if length <= 1:
        return length
    found, left = 1, length - 1
    for k in range(min(2, left)):
        found = 2 * found + bit(34 + 3 * length + found - 1, 9 + k)
        left -= 1
    return found << left | bits.raw(left)


def decode_predicted(data: bytes, height: int, width: int, channels: int) -> Array:
    """A picture: `(height, width, channels)`."""
    need(height * width <= 1 << 22, "a picture is too large for prediction")
    fields = Fields(data)
    largest = fields.integer(65535)
    first = [fields.integer(largest) for _ in range(channels)]
    bits = Bits(fields.take(fields.integer()), fields.rest())
    planes = [[[value] * (width + 5) for _ in range(height + 2)] for value in first]
    Predictor(bits, planes, largest).fill(3 if channels > 2 else 1)
    order = (1, 0, 2, 3)[:channels] if channels > 2 else (0, 1)[:channels]
    found: Array = np.empty((height, width, channels), np.uint16)
    for channel, plane in zip(order, planes, strict=True):
        found[..., channel] = [row[3:-2] for row in plane[2:]]
    return found


Decode = Callable[[int, bytes, int], Array]
"""A method, its bytes and the bits of its samples, to the samples."""


def decode_levels(data: bytes, channels: int, decode: Decode) -> Array:
    """A picture whose samples are numbers of levels."""
    fields = Fields(data)
    kinds = fields.integers(channels, 65537)
    packed = fields.take(fields.integer())
    total = sum(max(kind - 1, 0) for kind in kinds)
    try:
        plain = Fields(zlib.decompressobj(-15).decompress(packed, 3 * total + 1))
    except zlib.error as error:
        raise LacError(f"the levels are damaged: {error}") from error
    depth, method = fields.integer(16), fields.integer(7, 1)
    need(method != 6, "levels have no levels")
    need(depth in (8, 16), "the numbers of levels have neither 8 nor 16 bits")
    samples = decode(method, fields.rest(), depth).astype(np.uint16)
    table: Array = None
    for channel, kind in enumerate(kinds):
        if kind == 0:
            continue
        if kind > 1:
            table = np.cumsum(np.array(plain.integers(kind - 1, 65535)) + 1) - 1
            need(table[-1] < 65536, "a level has more than 16 bits")
        need(table is not None, "the first channel has the levels of another")
        need(samples[..., channel].max() < len(table), "a sample has no level")
        samples[..., channel] = table[samples[..., channel]]
    return samples
