"""Samples of 8 bits by least squares (docs/format.md, "Least squares")."""

from __future__ import annotations

from math import isqrt

import numpy as np

from .binary import BinaryReader
from .container import Array, Fields, need
from .contexts import LIMIT, median
from .stack import logistic_cdf

ONE, HALF = np.float32(1), np.float32(0.5)
NEAR, ABOVE, SLOW, EASE = (np.float32(x) for x in (0.85, 0.75, 0.9995, 1e-5))
SCALES, REACH, PREDICTIONS, TABLES = 24, 768, 5, 6
OWN = (
    "0,-1 -1,0 -1,-1 -1,1 0,-2 -2,0 -2,1 -1,2 -1,-2 -2,-1 -2,2 -2,-2 0,-3 -3,0 -1,3 -1,-3 -3,1 "
    "-3,-1 0,-4 -2,3 -2,-3"
)
OTHER = "0,0 0,-1 -1,0 0,1 1,0 -1,-1 -1,1 1,-1 1,1"


def moves(text: str) -> list[tuple[int, int]]:
    """Rows and columns from the sample."""
    pairs = [part.split(",") for part in text.split()]
    return [(int(row), int(column)) for row, column in pairs]


def choose_taps(c: int) -> list[tuple[int, int, int]]:
    """Channel, row and column of each neighbour."""
    own = [(c, *move) for move in moves(OWN)]
    if c not in (1, 2):
        return own
    near = [(c - 1, *move) for move in moves(OTHER)]
    far = [(0, *move) for move in moves(OTHER)] if c == 2 else []
    first = [*own[:2], *near[:1], *far[:1], *own[2:4], *near[1:5], *far[1:3]]
    return [*first, *own[4:8], *near[5:], *far[3:], *own[8:18]]


def dot(a: Array, b: Array) -> np.float32:
    """The sum of products by four sums, in float32."""
    lanes = np.zeros(4, np.float32)
    products = np.zeros(-(-len(a) // 4) * 4, np.float32)
    products[: len(a)] = a * b
    for part in products.reshape(-1, 4):
        lanes += part
    total: np.float32 = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3])
    return total


class Squares:
    """Weights of neighbours, by sums of products in float32.

    Rows are taps, the last column is the sample; only the upper triangle counts.
    """

    def __init__(self, taps: int, width: int) -> None:
        self.n = taps
        self.rows = np.zeros((width, taps, taps + 1), np.float32)
        self.right = np.zeros_like(self.rows)
        self.left, self.wide = np.zeros((2, taps, taps + 1), np.float32)
        self.weights = np.zeros((3, taps), np.float32)

    def start_row(self) -> None:
        """Sums from each column on."""
        self.right[-1] = self.rows[-1]
        for x in range(len(self.rows) - 2, -1, -1):
            self.right[x] = self.rows[x] + NEAR * self.right[x + 1]
        self.left[:] = 0

    def solve(self, system: Array, ridge: float, which: int, counts: tuple[int, ...]) -> None:
        """Set weights, unless a diagonal is not positive."""
        inverses = np.zeros(self.n, np.float32)
        for k in range(self.n):
            diagonal = system[k, k] + np.float32(ridge)
            if not diagonal > 0:
                return
            inverses[k] = ONE / diagonal
            factors = system[k, k + 1 : -1] * inverses[k]
            system[k + 1 :, k + 1 :] -= factors[:, None] * system[k, k + 1 :]
        for part, count in enumerate(counts):
            weights = self.weights[which + part]
            for k in range(count - 1, -1, -1):
                rest = dot(system[k, k + 1 : count], weights[k + 1 : count])
                weights[k] = (system[k, -1] - rest) * inverses[k]

    def predict(self, x: int, taps: Array) -> list[np.float32]:
        """Three predictions."""
        if x % 4 == 0:
            self.solve(self.left + self.right[x], 4, 0, (min(12, self.n), self.n))
        if x % 8 == 6:
            self.solve(self.wide.copy(), 32, 2, (self.n,))
        return [dot(weights, taps) for weights in self.weights]

    def learn(self, x: int, taps: Array, target: np.float32, expected: int) -> None:
        """Add a sample."""
        weight = ONE / (ONE + np.float32(expected * expected) * EASE)
        products = (taps * weight)[:, None] * np.append(taps, target)
        here = self.rows[x] + products
        self.rows[x] = ABOVE * here
        self.left = NEAR * (self.left + here)
        self.wide = self.wide * SLOW + products


def step(value: int) -> int:
    """About 3 log2(value + 1)."""
    octave = (value + 1).bit_length() - 1
    part = (value + 1 << 3 >> octave) & 7
    return 3 * octave + (part >= 2) + (part >= 5)


class Bits:
    """Reads bits: five distributions, six tables and a bias, mixed and corrected."""

    def __init__(self, data: bytes) -> None:
        values = logistic_cdf()[2688 - LIMIT : 2688 + LIMIT + 1] >> 14
        squash = np.clip(values, 1, 65535)
        stretch = np.searchsorted(squash, np.arange(1 << 16), side="right") - 1 - LIMIT
        self.squash = squash.tolist()
        self.stretch: list[int] = np.clip(stretch, -LIMIT, LIMIT).tolist()
        self.fresh = [self.squash[92 * k] * 16 for k in range(33)]
        self.tables: list[dict[tuple[int, int], tuple[int, int]]] = [{} for _ in range(TABLES)]
        self.weights: dict[int, list[int]] = {}
        self.seen: dict[int, int] = {}
        self.fixes: dict[tuple[int, int], list[int]] = {}
        self.reader = BinaryReader(data)
        self.contexts = [0] * TABLES
        self.group = self.part = 0

    def chance(self, part: int, whole: int) -> int:
        """The logit of a share."""
        return self.stretch[min(max((part << 16) // whole, 1), 65535)]

    def bit(self, inputs: list[int], node: int, kind: int) -> int:
        """The next bit."""
        slots = [(context, node) for context in self.contexts]
        pairs = zip(self.tables, slots, strict=True)
        entries = [table.get(slot, (1 << 21, 0)) for table, slot in pairs]
        inputs = [*inputs, *(self.stretch[odds >> 6] for odds, _ in entries), 256]
        unit = kind * 4 + self.group
        weights = self.weights.setdefault(unit, [7864] * 11 + [0])
        total = sum(w * one for w, one in zip(weights, inputs, strict=True)) >> 16
        logit = min(max(total, -LIMIT), LIMIT)
        p, place = self.squash[logit + LIMIT], (logit + LIMIT) * 32
        base = min(place // (2 * LIMIT), 31)
        rest = place - base * 2 * LIMIT
        fixes = self.fixes.setdefault((node, self.part), self.fresh.copy())
        fixed = (fixes[base] * (2 * LIMIT - rest) + fixes[base + 1] * rest) // (2 * LIMIT) >> 4
        bit = self.reader.read(min(max(3 * p + fixed >> 2, 1), 65535))
        near = base if rest < LIMIT else base + 1
        fixes[near] += (bit << 20) - 16 * bit - fixes[near] >> 6
        seen = self.seen.get(unit, 0)
        error = ((bit << 16) - p) * (3 + 1000 // (16 + seen))
        self.seen[unit] = min(seen + 1, 4096)
        for k, one in enumerate(inputs):
            weights[k] += one * error + (1 << 17) >> 18
        for table, slot, (odds, count) in zip(self.tables, slots, entries, strict=True):
            odds += (4194303 * bit - odds) * ((1 << 17) // (2 * count + 3)) >> 16
            table[slot] = odds, min(count + 1, 59)
        return bit


def student_law() -> list[int]:
    """Student's distribution with two degrees of freedom, by 64ths, in units of 2^-30."""
    upper = [(1 << 29) + (x << 49) // isqrt((8192 + x * x) << 40) for x in range(REACH + 1)]
    return [(1 << 30) - value for value in reversed(upper[1:])] + upper


class Law:
    """What five distributions around predictions leave to a sample, and the bits that say it."""

    def __init__(self, bits: Bits, largest: int) -> None:
        self.bits, self.largest, self.table = bits, largest, student_law()
        self.guesses: list[int] = []
        self.scales: list[int] = []

    def at(self, position: int, value: int) -> list[int]:
        """Distributions at a position in units of 2^-8, with `value` samples below it."""
        found = []
        for guess, scale in zip(self.guesses, self.scales, strict=True):
            place = min(max((position - guess) * scale >> 16, -REACH), REACH)
            found.append(self.table[REACH + place] + value * 64)
        return found

    def read(self, start: int) -> int:
        """The sample; `start` is the expected length of its error."""
        bits, largest, center = self.bits, self.largest, self.guesses[4] + 128 >> 8
        whole = (1 << 30) + (largest + 1) * 64
        lower = self.at(center * 256 - 128, center) if center > 0 else [0] * 5
        upper = [whole] * 5
        if center < largest:
            upper = self.at(center * 256 + 128, center + 1)
        shares = [bits.chance(b - a, whole) for a, b in zip(lower, upper, strict=True)]
        if bits.bit(shares, 0, 0):
            return center
        above = int(center == 0)
        if 0 < center < largest:
            pairs = zip(lower, upper, strict=True)
            shares = [bits.chance(whole - b, whole - b + a) for a, b in pairs]
            above = bits.bit(shares, 1, 1)
        if above:
            self.lower, self.upper = upper, [whole] * 5
        else:
            self.lower, self.upper = [0] * 5, lower
        self.sign, self.center = (1 if above else -1), center
        return center + self.sign * self.size(largest - center if above else center, start)

    def reaches(self, threshold: int, node: int, kind: int) -> int:
        """Whether the absolute error is at least a threshold."""
        position = self.center * 256 + self.sign * (threshold * 256 - 128)
        value = self.center + self.sign * threshold + (self.sign < 0)
        middle = self.at(position, value)
        sides = zip(self.lower, middle, self.upper, strict=True)
        if self.sign > 0:
            shares = [self.bits.chance(high - at, high - low) for low, at, high in sides]
        else:
            shares = [self.bits.chance(at - low, high - low) for low, at, high in sides]
        bit = self.bits.bit(shares, node, kind)
        if (bit == 1) == (self.sign > 0):
            self.lower = middle
        else:
            self.upper = middle
        return bit

    def size(self, most: int, start: int) -> int:
        """An absolute error of 1 to `most`."""
        length = max(min(start, most.bit_length()), 1)
        if length > 1 and not self.reaches(1 << length - 1, 2 + length, 2):
            length -= 1
            while length > 1 and not self.reaches(1 << length - 1, 38 + length, 3):
                length -= 1
        else:
            while 1 << length <= most and self.reaches(
                1 << length, 20 + length, 4 if length - start < 2 else 5
            ):
                length += 1
        low, high = 1 << length - 1, min(1 << length, most + 1)
        node, kind = 56 + length, 6
        while high - low > 1:
            threshold = low + (1 << (high - low - 1).bit_length() - 1)
            if self.reaches(threshold, node, kind):
                low = threshold
            else:
                high = threshold
            node, kind = 74 + (high - low - 1).bit_length(), 7
        return low


Grid = list[list[int]]
"""Numbers of one channel; a border of four surrounds the samples."""


class Channel:
    """Reads the samples of one channel after those of the channels before it."""

    def __init__(
        self, planes: list[Grid], errors: list[Grid], c: int, data: bytes, largest: int, flag: int
    ) -> None:
        self.planes, self.errors, self.c, self.flag = planes, errors, c, flag
        self.height, self.width = len(planes[c]) - 8, len(planes[c][0]) - 8
        self.taps = choose_taps(c)
        self.squares = Squares(len(self.taps), self.width)
        self.law = Law(Bits(data), largest)
        self.recent = [[[0] * (self.width + 8) for _ in range(2)] for _ in range(PREDICTIONS)]
        first = [102 * (4 + k % 3 + (k % 3 > 1)) * (1 << k // 3) // 4 for k in range(SCALES)]
        self.means = [[(mean, 0) for mean in first] for _ in range(PREDICTIONS)]

    def fill(self) -> None:
        """Read all samples."""
        q, right = self.planes[self.c], self.width + 4
        for y in range(4, self.height + 5):
            q[y][:4], q[y - 1][right:] = [q[y - 1][4]] * 4, [q[y - 1][right - 1]] * 4
            if y == self.height + 4:
                q[y] = q[y - 1].copy()
                return
            self.squares.start_row()
            for x in range(4, right):
                self.read(y, x)
            for recent in self.recent:
                recent[y & 1][right] = recent[y & 1][right - 1]

    def around(self, k: int, y: int, x: int) -> int:
        """Errors of a prediction near the sample."""
        row, above = self.recent[k][y & 1], self.recent[k][1 - (y & 1)]
        return 2 * row[x - 1] + 2 * above[x] + above[x - 1] + above[x + 1] + row[x - 2]

    def median(self, y: int, x: int) -> int:
        """The last of the single predictions."""
        q = self.planes[self.c]
        west, north, corner = q[y][x - 1], q[y - 1][x], q[y - 1][x - 1]
        if not self.flag:
            return median(west, north, corner)
        o = self.planes[self.c - 1]
        found = median(west - o[y][x - 1], north - o[y - 1][x], corner - o[y - 1][x - 1])
        return min(max(found + o[y][x], 0), self.law.largest)

    def read(self, y: int, x: int) -> None:
        """Read a sample, and learn from it."""
        q, law = self.planes[self.c], self.law
        sums = {c: self.planes[c][y][x - 1] + self.planes[c][y - 1][x] for c in range(self.c + 1)}
        values = [2 * self.planes[c][y + i][x + j] - sums[c] for c, i, j in self.taps]
        taps = HALF * np.array(values, np.float32)
        mean = HALF * np.float32(sums[self.c])
        law.guesses = []
        for one in self.squares.predict(x - 4, taps):
            value = one + mean
            if not value > 0:
                law.guesses.append(0)
            elif value > law.largest:
                law.guesses.append(law.largest * 256)
            else:
                law.guesses.append(int(np.floor(value * np.float32(256) + HALF)))
        law.guesses.append(256 * self.median(y, x))
        shares = [(1 << 40) // (self.around(k, y, x) + 1) ** 2 + 1 for k in range(4)]
        total = sum(share * guess for share, guess in zip(shares, law.guesses, strict=True))
        law.guesses.append((total + (sum(shares) >> 1)) // sum(shares))
        steps = self.set_contexts(y, x)
        expected = self.means[4][steps[4]][0]
        sample = q[y][x] = law.read((5 * expected >> 11).bit_length())
        for k, at in enumerate(steps):
            error, (now, seen) = abs(sample * 256 - law.guesses[k]), self.means[k][at]
            now += (error - now) * ((1 << 17) // (2 * seen + 3)) >> 16
            self.means[k][at] = now, min(seen + 1, 59)
            self.recent[k][y & 1][x] = error >> 4
        self.errors[self.c][y][x] = self.recent[4][y & 1][x]
        target = HALF * np.float32(2 * sample - sums[self.c])
        self.squares.learn(x - 4, taps, target, expected)

    def set_contexts(self, y: int, x: int) -> list[int]:
        """Set scales and contexts; returns the step of each prediction."""
        q, law, bits, other = self.planes[self.c], self.law, self.law.bits, 0
        if self.c in (1, 2):
            near = self.errors[self.c - 1]
            other = 2 * near[y][x] + near[y][x + 1] + near[y + 1][x]
        if self.c == 2:
            other += 2 * self.errors[0][y][x]
        half = other >> 1
        steps = [min(23, step(self.around(k, y, x) + half >> 2)) for k in range(PREDICTIONS)]
        law.scales = [(1 << 22) // (self.means[k][at][0] + 1) for k, at in enumerate(steps)]
        scale, guess, own = steps[4], law.guesses[4], self.errors[self.c]
        bits.group, bits.part = scale * 4 // SCALES, (guess + 128 & 255) >> 6
        corner, up = q[y - 1][x - 1], q[y - 1][x]
        edge = abs(q[y][x - 1] - corner) + abs(up - corner) + abs(up - q[y - 1][x + 1])
        lengths = [(one >> 3).bit_length() for one in (own[y][x - 1], own[y - 1][x])]
        apart = [(law.guesses[k] - guess >> 7) & 63 for k in range(2)]
        bits.contexts = [
            scale * 8 + ((guess + 128 & 255) >> 5),
            (lengths[0] * 12 + lengths[1]) * 4 + (x & 1) * 2 + (y & 1),
            min(23, step(other >> 2)) * 12 + scale // 2,
            min(15, step(edge) // 2) * 12 + scale // 2,
            min(255, guess + 128 >> 8) * 4 + min(3, scale // 6),
            apart[0] * 64 + apart[1],
        ]
        return steps


def decode_squares(data: bytes, height: int, width: int, channels: int) -> Array:
    """A picture: `(height, width, channels)`."""
    need(height * width <= 1 << 22, "a picture is too large for least squares")
    fields = Fields(data)
    ends = [(fields.integer(255), fields.integer(255)) for _ in range(channels)]
    need(all(first <= largest for first, largest in ends), "a first sample is too large")
    flags = fields.integer((1 << channels) - 1)
    allowed = 6 if channels > 2 else 0
    need(flags & ~allowed == 0, "a channel is a difference from none")
    sizes = [fields.integer() for _ in range(channels)]
    planes = [[[first] * (width + 8) for _ in range(height + 8)] for first, _ in ends]
    errors = [[[0] * (width + 8) for _ in range(height + 8)] for _ in ends]
    for c, size in enumerate(sizes):
        part = fields.take(size)
        if part:
            Channel(planes, errors, c, part, ends[c][1], flags >> c & 1).fill()
    order = (1, 0, 2, 3)[:channels] if channels > 2 else (0, 1)[:channels]
    found: Array = np.empty((height, width, channels), np.uint8)
    for channel, plane in zip(order, planes, strict=True):
        found[..., channel] = [row[4:-4] for row in plane[4:-4]]
    return found
