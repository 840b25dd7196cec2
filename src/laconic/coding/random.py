"""Shared randomness: sender and receiver compute the same numbers, on every machine and version.

Bits come from Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), a
counter-based generator of integers: the word at a position depends on the key and the position
alone. So every part can be computed alone, in any order, by any number of threads. A table of
quantiles turns those bits into normals: integer look-ups, never a logarithm.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from laconic.compiled import compiled

_MASK64 = (1 << 64) - 1
_TAIL_CELLS = 256
"""The outermost cells of each quantile table are drawn from the next, finer table."""

UInt32Array = NDArray[np.uint32]
FloatArray = NDArray[np.float32]


@compiled(inline="always")
def philox(
    c0: np.uint32, c1: np.uint32, c2: np.uint32, c3: np.uint32, k0: np.uint32, k1: np.uint32
) -> tuple[np.uint32, np.uint32, np.uint32, np.uint32]:
    """One block of Philox4x32-10: four words from a counter of four and a key of two."""
    for _ in range(10):
        p0 = np.uint64(0xD2511F53) * np.uint64(c0)
        p1 = np.uint64(0xCD9E8D57) * np.uint64(c2)
        n0 = np.uint32(np.uint32(p1 >> np.uint64(32)) ^ c1 ^ k0)
        n2 = np.uint32(np.uint32(p0 >> np.uint64(32)) ^ c3 ^ k1)
        c1, c3 = np.uint32(p1), np.uint32(p0)
        c0, c2 = n0, n2
        k0 = np.uint32(k0 + np.uint32(0x9E3779B9))
        k1 = np.uint32(k1 + np.uint32(0xBB67AE85))
    return c0, c1, c2, c3


@compiled()
def _words(seed: np.uint64, stream: np.uint64, first: np.uint64, blocks: int) -> UInt32Array:
    """Words `4 * first` to `4 * (first + blocks)` of a stream."""
    out = np.empty(4 * blocks, np.uint32)
    s0, s1 = np.uint32(stream), np.uint32(stream >> np.uint64(32))
    k0, k1 = np.uint32(seed), np.uint32(seed >> np.uint64(32))
    for b in range(blocks):
        n = np.uint64(first + np.uint64(b))
        w = philox(np.uint32(n), np.uint32(n >> np.uint64(32)), s0, s1, k0, k1)
        out[4 * b], out[4 * b + 1], out[4 * b + 2], out[4 * b + 3] = w
    return out


@compiled(inline="always")
def normal_of(word: np.uint32, table: FloatArray) -> np.float32:
    """The standard normal that a word selects.

    The top bit is the sign. The other 31 select a cell of the half-normal: 15 bits in the body, 24
    in the outer 1/128, 31 in the outermost 1/16384, so that values reach 6.2 standard deviations.
    """
    v = word & np.uint32(0x7FFFFFFF)
    if v >> np.uint32(16) < np.uint32(32768 - _TAIL_CELLS):
        x = table[0, v >> np.uint32(16)]
    elif (v & np.uint32(0xFFFFFF)) >> np.uint32(9) < np.uint32(32768 - _TAIL_CELLS):
        x = table[1, (v & np.uint32(0xFFFFFF)) >> np.uint32(9)]
    else:
        x = table[2, (v & np.uint32(0x1FFFF)) >> np.uint32(2)]
    value: np.float32 = -x if word >> np.uint32(31) else x
    return value


@compiled()
def word_at(seed: np.uint64, stream: np.uint64, position: np.uint64) -> np.uint32:
    """One word of a stream."""
    n = position >> np.uint64(2)
    w0, w1, w2, w3 = philox(
        np.uint32(n),
        np.uint32(n >> np.uint64(32)),
        np.uint32(stream),
        np.uint32(stream >> np.uint64(32)),
        np.uint32(seed),
        np.uint32(seed >> np.uint64(32)),
    )
    place = position & np.uint64(3)
    if place < np.uint64(2):
        return w0 if place == np.uint64(0) else w1
    return w2 if place == np.uint64(2) else w3


@compiled()
def _normals_at(
    seed: np.uint64, stream: np.uint64, positions: NDArray[np.int64], table: FloatArray
) -> FloatArray:
    out = np.empty(positions.size, np.float32)
    for i in range(positions.size):
        out[i] = normal_of(word_at(seed, stream, np.uint64(positions[i])), table)
    return out


@compiled()
def _to_normals(words: UInt32Array, table: FloatArray) -> FloatArray:
    out = np.empty(words.size, np.float32)
    for i in range(words.size):
        out[i] = normal_of(words[i], table)
    return out


@cache
def quantile_table() -> FloatArray:
    """Half-normal quantiles, float32, `(3, 32768)`: body, outer 2^-7, outer 2^-14.

    Entry `[level, i]` is the quantile at upper-tail mass `2^-(7 level) (1 - (i + 1/2) / 32768)`.
    The file is part of the format: it was made once in extended precision and is never recomputed.
    """
    with files("laconic.coding").joinpath("normal_quantiles.npy").open("rb") as file:
        table: FloatArray = np.load(file, allow_pickle=False)
    table.flags.writeable = False
    return table


def ranked_normals(ranks: UInt32Array) -> FloatArray:
    """Standard normals of the distribution's 2^32 cells, in ascending order of the cells.

    Cell r is the quantile at (r + 1/2) / 2^32. `normal_of` counts from the middle outwards.
    """
    upper = ranks >= np.uint32(1 << 31)
    words = np.where(upper, ranks ^ np.uint32(1 << 31), ~ranks)
    normals: FloatArray = _to_normals(words, quantile_table())
    return normals


@dataclass(frozen=True)
class SharedRandomness:
    """An endless, addressable stream of random numbers, named by two 64-bit integers.

    Counter-based: `bits(5, 3)` equals `bits(0, 8)[5:]`.

    Attributes:
        seed: Philox key, low word first.
        stream: upper half of the Philox counter, low word first; `child` sets it.
    """

    seed: int
    stream: int = 0

    @property
    def name(self) -> tuple[np.uint64, np.uint64]:
        """Seed and stream as compiled functions take them."""
        return np.uint64(self.seed & _MASK64), np.uint64(self.stream & _MASK64)

    def child(self, label: int) -> "SharedRandomness":
        """An independent substream.

        Rule: the first two words of Philox at counter (label, low word first; stream, low word
        first) and key `seed XOR 0x6C61636F6E696300`, low word first, name the new stream.
        """
        key, stream = SharedRandomness(self.seed ^ 0x6C61636F6E696300, self.stream).name
        words = _words(key, stream, np.uint64(label & _MASK64), 1)
        return SharedRandomness(self.seed, int(words[0]) | int(words[1]) << 32)

    def bits(self, start: int, count: int) -> UInt32Array:
        """Words `start` to `start + count` of the stream, uint32."""
        first = start // 4
        blocks = -(-(start + count) // 4) - first
        words: UInt32Array = _words(*self.name, np.uint64(first), blocks)
        return words[start - 4 * first :][:count]

    def normals(self, start: int, count: int) -> FloatArray:
        """Standard normals `start` to `start + count`, float32; normal i uses word i alone."""
        normals: FloatArray = _to_normals(self.bits(start, count), quantile_table())
        return normals

    def normals_at(self, positions: NDArray[np.int64]) -> FloatArray:
        """Standard normals at any positions (not negative), float32."""
        normals: FloatArray = _normals_at(*self.name, positions, quantile_table())
        return normals

    def uniforms(self, start: int, count: int) -> NDArray[np.float64]:
        """Uniforms on (0, 1), float64: word i gives exactly (word + 1/2) / 2^32."""
        return (self.bits(start, count).astype(np.float64) + 0.5) * 2.0**-32
