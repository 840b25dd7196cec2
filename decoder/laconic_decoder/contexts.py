"""Drawings, texts and screens by context mixing (docs/format.md, "Contexts")."""

from __future__ import annotations

import zlib

import numpy as np

from .binary import WORD, BinaryReader
from .container import Array, Fields, LacError, need
from .stack import logistic_cdf

LIMIT = 1472


def mix(code: int, *values: int) -> int:
    """A hash of 32 bits with more values in it."""
    for value in values:
        code = (code + value + 1) * 0x2F0B4C47 & WORD
        code ^= code >> 15
    return code


def median(west: int, north: int, corner: int) -> int:
    """The median of west, north and west + north - corner."""
    return sorted((west, north, west + north - corner))[1]


class Mixer:
    """Reads bits under probabilities that many contexts predict together."""

    def __init__(self, data: bytes, pixels: int) -> None:
        values = logistic_cdf()[2688 - LIMIT : 2688 + LIMIT + 1] >> 14
        squash = np.clip(values, 1, 65535)
        stretch = np.searchsorted(squash, np.arange(1 << 16), side="right") - 1 - LIMIT
        self.squash = squash.tolist()
        self.stretch: list[int] = np.clip(stretch, -LIMIT, LIMIT).tolist()
        self.rates = [(1 << 17) // (2 * n + 3) for n in range(128)]
        self.bits = min(max(pixels.bit_length() + 1, 12), 21)
        self.tables: list[dict[int, int]] = [{} for _ in range(14)]
        self.weights: dict[int, list[int]] = {}
        self.reader = BinaryReader(data)
        self.base: list[int] = []

    def bit(self, first: int, node: int, unit: int, rate: int) -> int:
        """The next bit, by tables from `first` on, one for each hash of `base`."""
        count, mask = len(self.base), (1 << self.bits) - 1
        weights = self.weights.setdefault(unit, [20000] * (count + 1))
        slots, inputs, entries, total = [], [], [], 0
        for k, base in enumerate(self.base):
            code = (base + node) * 0x9E3779B1 & WORD
            code ^= code >> 16
            code = code * 0x85EBCA6B & WORD
            code ^= code >> 13
            slot, check = code & mask, code >> 25
            entry = self.tables[first + k].get(slot, 0)
            if entry & 127 != check:
                entry = 1 << 31 | check
            slots.append(slot)
            entries.append(entry)
            inputs.append(self.stretch[entry >> 16])
            total += weights[k] * inputs[k]
        inputs.append(128)
        total += weights[count] * 128
        p = self.squash[min(max(total >> 16, -LIMIT), LIMIT) + LIMIT]
        bit = self.reader.read(p)
        error = ((bit << 16) - p) * rate
        for k in range(count + 1):
            weights[k] += inputs[k] * error + (1 << 22) >> 23
        for k, entry in enumerate(entries):
            chance, seen = entry >> 14, entry >> 7 & 127
            chance += (262143 * bit - chance) * self.rates[seen] >> 16
            self.tables[first + k][slots[k]] = chance << 14 | min(seen + 1, 127) << 7 | entry & 127
        return bit

    def value(self, kind: int, rate: int) -> int:
        """A number of 0 to 255: its length in unary, then the bits below the highest."""
        unit, known = 64 + 128 * kind, 0
        while known < 8 and self.bit(8, known * 0x1F35, unit + known, rate):
            known += 1
        if known <= 1:
            return known
        found = 1
        for done in range(known - 1):
            node = (256 + found) * 0x1F35 + known * 77
            found = 2 * found + self.bit(8, node, unit + 16 + known * 8 + done, rate)
        return found


class Reader:
    """Pixels one after the other; `q` has 3 rows above the picture and 4 columns beside it."""

    def __init__(self, mixer: Mixer, q: list[list[int]], channels: int, colours: int) -> None:
        self.m, self.q, self.channels, self.colours = mixer, q, channels, colours

    def set_repeats(self, y: int, x: int, last: int) -> tuple[int, int]:
        """Set the contexts of repeats; returns the equalities, and a hash of four neighbours."""
        one, two, three, zero = self.q[y - 1], self.q[y - 2], self.q[y - 3], self.q[y]
        west, north, corner, east = zero[x - 1], one[x], one[x - 1], one[x + 1]
        pairs = (
            (west, north), (north, corner), (north, east), (west, zero[x - 2]), (north, two[x]),
            (west, corner), (east, two[x + 1]), (corner, two[x - 1]), (east, one[x + 2]),
            (corner, one[x - 2]), (zero[x - 2], one[x - 2]), (zero[x - 2], zero[x - 3]),
            (two[x], two[x - 1]), (two[x], two[x + 1]), (two[x], three[x]), (west, east),
        )  # fmt: skip
        same = sum((a == b) << k for k, (a, b) in enumerate(pairs))
        h2 = mix(0x1234, west, north)
        h4 = mix(h2, corner, east)
        h6 = mix(h4, zero[x - 2], two[x])
        h9 = mix(h6, two[x + 1], one[x - 2], one[x + 2])
        h14 = mix(h9, two[x - 1], zero[x - 3], three[x], two[x - 2], two[x + 2])
        h20 = mix(h14, zero[x - 4], one[x + 3], one[x - 3], two[x + 3], three[x - 1], three[x + 1])
        colours = mix(west, north, last)
        self.m.base = [mix(h, k + 1) for k, h in enumerate((h2, h4, h6, h9, h14, h20))]
        self.m.base += [mix(0x777, same), mix(0x999, same, colours)]
        return same, h4

    def repeat(self, y: int, x: int, same: int, rate: int) -> int:
        """The neighbour that the pixel repeats, or -1."""
        q, tried = self.q, list[int]()
        for near in (q[y][x - 1], q[y - 1][x], q[y - 1][x + 1], q[y - 1][x - 1]):
            if near in tried:
                continue
            if self.colours == len(tried) + 1:
                return near
            count = len(tried)
            if self.m.bit(0, count * 0x3779, count * 16 + (same & 15), rate):
                return near
            tried.append(near)
        return 1 - q[y][x - 1] if self.colours == 2 else -1

    def index(self, y: int, x: int, h4: int, recent: int, rate: int) -> int:
        """The number of a colour in the palette."""
        west, north = self.q[y][x - 1], self.q[y - 1][x]
        self.m.base = [mix(0x51, 0), mix(0x52, west), mix(0x53, north), mix(0x54, west, north)]
        self.m.base += [mix(0x55, h4), mix(0x56, recent)]
        return self.m.value(0, rate)

    def colour(self, y: int, x: int, h4: int, recent: int, rate: int) -> int:
        """A colour byte by byte; of three or four bytes the second comes first."""
        q = self.q
        around = (q[y][x - 1], q[y - 1][x], q[y - 1][x - 1], q[y - 1][x + 1])
        h2, colours, shift, length = mix(around[0], around[1]), 0, 0, 0
        for before in range(self.channels):
            number = 1 - before if self.channels >= 3 and before < 2 else before
            west, north, corner, east = (p >> 8 * number & 255 for p in around)
            plane = median(west, north, corner)
            guess = plane
            if before > 0 and number < 3:
                guess = min(max(plane + shift, 0), 255)
            rough = abs(west - corner) + abs(corner - north) + abs(north - east)
            activity, tag = min(15, rough.bit_length()), 8 * number
            self.m.base = [
                mix(0x61 + number, activity),
                mix(0x62 + tag, h2, colours),
                mix(0x63 + tag, h4, colours),
                mix(0x64 + tag, shift & 255, length),
                mix(0x65 + tag, guess, colours),
                mix(0x66 + tag, recent, colours, activity),
            ]
            folded = self.m.value(1 + min(before, 2), rate)
            difference = -(folded + 1 >> 1) if folded & 1 else folded >> 1
            value = guess + difference & 255
            if before == 0:
                shift = value - plane
            length = min(abs(value - plane).bit_length(), 7)
            colours |= value << 8 * number
        return colours

    def fill(self) -> None:
        """Read all pixels."""
        last = before_last = self.q[0][0]
        done = new = 0
        for y in range(3, len(self.q)):
            for x in range(4, len(self.q[0]) - 4):
                same, h4 = self.set_repeats(y, x, last)
                value = self.repeat(y, x, same, 24 + 32768 // (256 + (done >> 2)))
                done += 1
                if value < 0:
                    new += 1
                    rate = 24 + 32768 // (256 + new)
                    if self.channels:
                        value = self.colour(y, x, h4, last, rate)
                    else:
                        value = self.index(y, x, h4, mix(last, before_last), rate)
                    before_last, last = last, value
                self.q[y][x] = value


def decode_contexts(data: bytes, height: int, width: int, channels: int, bits: int) -> Array:
    """A picture: `(height, width, channels)`."""
    fields = Fields(data)
    count, palette = fields.integer(256), None
    need(bits > 1 or count == 2, "a bilevel picture has 2 colours")
    if count and bits > 1:
        try:
            packed = fields.take(fields.integer())
            steps = Fields(zlib.decompressobj(-15).decompress(packed, 5 * count))
        except zlib.error as error:
            raise LacError(f"the palette is damaged: {error}") from error
        palette = np.cumsum(np.array(steps.integers(count, WORD)) + 1) - 1
    background = fields.integer(count - 1 if count else WORD)
    q = [[background] * (width + 8) for _ in range(height + 3)]
    mixer = Mixer(fields.rest(), height * width)
    Reader(mixer, q, 0 if count else channels * bits // 8, count or 1 << 40).fill()
    colours = np.array([row[4:-4] for row in q[3:]], np.int64)
    if palette is not None:
        colours = palette[np.minimum(colours, count - 1)]
    if bits == 16:
        return ((colours & 255) << 8 | colours >> 8 & 255)[..., None]
    return np.stack([colours >> 8 * k & 255 for k in range(channels)], -1)
