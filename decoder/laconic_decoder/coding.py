"""Shared randomness, and the range coder (docs/format.md, "Shared randomness", "Range coder")."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from .container import MASK64, Array, LacError, need

MASK32 = (1 << 32) - 1


def philox(counter: Sequence[Array], key: int) -> list[Array]:
    """Philox4x32-10 of arrays of counters: four words each, uint64 below 2^32."""
    c0, c1, c2, c3 = (np.asarray(c, np.uint64) for c in counter)
    k0, k1 = key & MASK32, key >> 32
    low, word = np.uint64(MASK32), np.uint64(32)
    for _ in range(10):
        p0, p1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (
            (p1 >> word) ^ c1 ^ np.uint64(k0),
            p1 & low,
            (p0 >> word) ^ c3 ^ np.uint64(k1),
            p0 & low,
        )
        k0, k1 = (k0 + 0x9E3779B9) & MASK32, (k1 + 0xBB67AE85) & MASK32
    return [c0, c1, c2, c3]


class Shared(NamedTuple):
    """Shared randomness: a stream of 32-bit words named by two integers of 64 bits."""

    seed: int
    stream: int = 0

    def child(self, label: int) -> Shared:
        """The substream of this label."""
        counter = (label & MASK32, label >> 32, self.stream & MASK32, self.stream >> 32)
        w0, w1 = (int(w) for w in philox(counter, self.seed ^ 0x6C61636F6E696300)[:2])
        return Shared(self.seed, w0 | w1 << 32)

    def bits(self, count: int) -> Array:
        """The first `count` words, uint64."""
        block = np.arange(-(-count // 4), dtype=np.uint64)
        high = np.uint64(32)
        s0, s1 = self.stream & MASK32, self.stream >> 32
        words = philox((block & np.uint64(MASK32), block >> high, s0, s1), self.seed)
        shape = (4, block.size)
        return np.stack([np.broadcast_to(w, shape[1:]) for w in words]).T.reshape(-1)[:count]

    def at(self, places: Array) -> Array:
        """The words at some places, int64."""
        block, high = (places >> 2).astype(np.uint64), np.uint64(32)
        s0, s1 = self.stream & MASK32, self.stream >> 32
        words = philox((block & np.uint64(MASK32), block >> high, s0, s1), self.seed)
        found = np.choose(places & 3, [np.broadcast_to(w, places.shape) for w in words])
        return found.astype(np.int64)


@cache
def normal_table() -> Array:
    """Quantiles of the half-normal at upper masses 2^-7k (1 - (i + 1/2) / 2^15), `(3, 2^15)`."""
    quantile = NormalDist().inv_cdf
    rows = [
        [-quantile((65535 - 2 * i) / 65536 / (2 << 7 * k)) for i in range(32768)] for k in range(3)
    ]
    return np.array(rows).astype(np.float32)


def normals_of(words: Array) -> Array:
    """Standard normals of 32-bit words: a sign, then the rank from the middle outwards."""
    words = words.astype(np.int64)
    return normals_of_ranks(np.where(words >> 31 == 1, 0xFFFFFFFF - words, words | 1 << 31))


def normals_of_ranks(ranks: Array) -> Array:
    """Standard normals of the 2^32 cells of equal mass, cells in ascending order; float32."""
    upper = ranks >> 31 == 1
    v = np.where(upper, ranks ^ (1 << 31), MASK32 - ranks & 0x7FFFFFFF)
    body, tail = v >> 16, (v & 0xFFFFFF) >> 9
    table = normal_table()
    x = np.where(tail < 32512, table[1, tail], table[2, (v & 0x1FFFF) >> 2])
    x = np.where(body < 32512, table[0, body], x)
    return np.where(upper, x, -x)


LENGTHS = [1 << max(0, 12 - i // 2) for i in range(49)]


def edges_of(counts: Array) -> list[int]:
    """Left edges of symbols under counts, in parts of 2^24, and the end."""
    size = len(counts)
    scale = np.float32((1 << 24) - size) / np.float32(counts.sum())
    below = (np.cumsum(counts) - counts).astype(np.float32)
    return [*((below * scale).astype(np.int64) + np.arange(size)).tolist(), 1 << 24]


class Adaptive:
    """Adaptive counts: updated after runs of symbols."""

    def __init__(
        self, size: int, step: int = 32, limit: int = 1 << 14, longest: int = 64, counts: Any = None
    ) -> None:
        self.counts = np.ones(size, np.int64) if counts is None else np.array(counts, np.int64)
        self.step, self.limit, self.longest, self.seen = step, max(limit, 4 * size), longest, 0

    def run(self) -> int:
        """Symbols until the counts change."""
        grown = max(8, self.seen) if self.seen <= 64 else max(64, self.seen // 8)
        return min(self.longest, grown)

    def update(self, symbols: list[int]) -> None:
        """After a run."""
        self.counts += self.step * np.bincount(symbols, minlength=self.counts.size)
        self.seen += len(symbols)
        while self.counts.sum() > self.limit:
            self.counts = self.counts + 1 >> 1


class Range:
    """Reads a range-coded stream."""

    def __init__(self, data: bytes) -> None:
        words = np.frombuffer(data + bytes(-len(data) % 4), "<u4").tolist() + [0] * 6
        self.words, self.place = words, 2
        self.offset, self.extent = words[0] << 32 | words[1], MASK64

    def symbols(self, count: int, edges: list[int]) -> list[int]:
        """So many symbols whose intervals lie between edges, parts of 2^24."""
        offset, extent, place, words = self.offset, self.extent, self.place, self.words
        found = []
        try:
            for _ in range(count):
                scale = extent >> 24
                symbol = bisect_right(edges, offset // scale) - 1
                left = edges[symbol]
                offset -= scale * left
                extent = scale * (edges[symbol + 1] - left)
                if extent <= MASK32:
                    offset = offset << 32 | words[place]
                    extent <<= 32
                    place += 1
                found.append(symbol)
        except IndexError as error:
            raise LacError("a message ends too early: the file is damaged") from error
        self.offset, self.extent, self.place = offset, extent, place
        return found

    def uniform(self, sizes: Sequence[int]) -> list[int]:
        """Symbols, each from an alphabet of its own size, all alike."""
        offset, extent, place, words = self.offset, self.extent, self.place, self.words
        found = []
        try:
            for size in sizes:
                if size == 1:
                    found.append(0)
                    continue
                each, scale = (1 << 24) // size, extent >> 24
                value = min(offset // (scale * each), size - 1)
                offset -= scale * each * value
                extent = scale * (each if value < size - 1 else (1 << 24) - each * value)
                if extent <= MASK32:
                    offset = offset << 32 | words[place]
                    extent <<= 32
                    place += 1
                found.append(value)
        except IndexError as error:
            raise LacError("a message ends too early: the file is damaged") from error
        need(offset < extent, "a message is no code: the file is damaged")
        self.offset, self.extent, self.place = offset, extent, place
        return found

    def bit(self) -> int:
        """One bit."""
        return self.uniform([2])[0]

    def adaptive(self, count: int, model: Adaptive) -> Array:
        """Symbols under adaptive counts."""
        found: list[int] = []
        while len(found) < count:
            run = self.symbols(min(model.run(), count - len(found)), edges_of(model.counts))
            model.update(run)
            found += run
        return np.array(found, np.int64)

    def integer(self, most: int) -> int:
        """An integer: its length under a fixed table, then its bits."""
        length = self.symbols(1, edges_of(np.array(LENGTHS)))[0]
        value = 1
        for left in range(length, 0, -16):
            size = min(16, left)
            value = value << size | self.uniform([1 << size])[0]
        need(value - 1 <= most, "a count is out of range: the file is damaged")
        return value - 1

    def integers(self, count: int) -> Array:
        """Integers: lengths under adaptive counts, then all upper and all lower bits."""
        lengths = self.adaptive(count, Adaptive(32))
        high = self.uniform((1 << np.maximum(lengths - 16, 0)).tolist())
        low = self.uniform((1 << np.minimum(lengths, 16)).tolist())
        return (1 << lengths) - 1 + (np.array(high, np.int64) << 16 | np.array(low, np.int64))


def unzigzag_all(codes: Array) -> Array:
    """`unzigzag` of an array."""
    return np.where(codes & 1 == 1, -(codes + 1 >> 1), codes >> 1)
