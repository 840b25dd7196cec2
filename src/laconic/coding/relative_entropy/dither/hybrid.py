"""The hybrid coder: dither selects an interval, ordered random coding a point within it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal

from laconic.coding.queue.stream import IntArray, QueueDecoder, QueueEncoder
from laconic.coding.random import FloatArray, SharedRandomness, quantile_table, word_at
from laconic.coding.relative_entropy import standardise, tile_map
from laconic.coding.relative_entropy.base import Receipt, RelativeEntropyCoder
from laconic.coding.relative_entropy.standardise import DoubleArray
from laconic.compiled import compiled

_MAX_CELL_BITS = 15
_MAX_PLACES = 4096
_NARROWEST = 2.0**-11


@compiled()
def value_of(word: np.int64, table: FloatArray) -> np.float32:
    """Quantile of the standard normal at (word + 1/2) / 2^32.

    Linear between the entries of the table; computed by multiplications and additions only.
    """
    high, last = word >> 31, np.int64(32767)
    v = word & 0x7FFFFFFF if high else 0x7FFFFFFF - word
    level, width = 0, 16
    if v >= (1 << 31) - (1 << 17):
        level, width, v = 2, 2, v & 0x1FFFF
    elif v >= (1 << 31) - (1 << 24):
        level, width, v = 1, 9, v & 0xFFFFFF
    # Entry i belongs to the middle of its cell.
    twice = 2 * v + 1 - (1 << width)
    if twice < 0:
        x = np.float64(table[level, 0])
        if level == 0:
            x *= (2 * v + 1) * 2.0**-16
    else:
        i, part = twice >> (width + 1), (twice & ((2 << width) - 1)) * 2.0 ** -(width + 1)
        here, after = np.float64(table[level, i]), np.float64(table[level, min(i + 1, last)])
        x = here + part * (after - here)
    return np.float32(x if high else -x)


@compiled()
def _candidate(word: np.int64, low: np.int64, cell_bits: np.int64) -> tuple[np.int64, np.int64]:
    """The dither's only point k + o in [low, low + cell): the number k, and the point."""
    size = np.int64(1) << (32 - cell_bits)
    offset = word >> cell_bits
    number = (low - offset + size - 1) // size
    return number, number * size + offset


@compiled()
def _search(
    linear: DoubleArray,
    quadratic: DoubleArray,
    peak: DoubleArray,
    lows: IntArray,
    cells: IntArray,
    places: IntArray,
    draws: tuple[np.uint64, np.uint64],
    noise: tuple[np.uint64, np.uint64],
    index_bits: int,
    table: FloatArray,
) -> tuple[IntArray, IntArray, int]:
    """Per dimension the candidate with the least time over weight: index, number of its cell.

    The largest weight is 1, so that no later candidate can win once the time exceeds the best.
    """
    count, tries = 1 << index_bits, 0
    chosen, numbers = np.zeros(lows.size, np.int64), np.zeros(lows.size, np.int64)
    for d in range(lows.size):
        time, best = 0.0, np.inf
        for n in range(count):
            place = np.uint64((places[d] << index_bits) + n)
            uniform = (np.float64(word_at(noise[0], noise[1], place)) + 0.5) * 2.0**-32
            time -= np.log(uniform) / (count - n)
            if time >= best:
                break
            tries += 1
            word = np.int64(word_at(draws[0], draws[1], place))
            number, point = _candidate(word, lows[d], cells[d])
            u = np.float64(value_of(point, table))
            score = time * np.exp(peak[d] - (linear[d] - 0.5 * quadratic[d] * u) * u)
            if score < best:
                best, chosen[d], numbers[d] = score, n, number
    return chosen, numbers, tries


@compiled()
def _values(
    indices: IntArray,
    numbers: IntArray,
    cells: IntArray,
    places: IntArray,
    draws: tuple[np.uint64, np.uint64],
    index_bits: int,
    table: FloatArray,
) -> FloatArray:
    u = np.empty(indices.size, np.float32)
    for d in range(indices.size):
        place = np.uint64((places[d] << index_bits) + indices[d])
        offset = np.int64(word_at(draws[0], draws[1], place)) >> cells[d]
        u[d] = value_of((numbers[d] << (32 - cells[d])) + offset, table)
    return u


def _phi(x: DoubleArray) -> DoubleArray:
    result: DoubleArray = torch.special.ndtr(torch.from_numpy(x)).numpy()
    return result


@final
@dataclass(frozen=True)
class HybridCoder(RelativeEntropyCoder):
    """Hybrid coding: a dither selects an interval, ordered random coding a point within it.

    Source: Theis & Yosri 2022, "Algorithms for the communication of samples", section 4.

    The prior's mass is cut by its quantiles into cells of 2^-bits (`bits` per tile), such that
    some interval of that mass holds width/2 target scales on either side of the mean. Every one of
    2^index_bits shared offsets dithers that grid: it has exactly one point in the interval, in cell
    number K. So the candidates follow the prior restricted to the interval, and the ratio is
    bounded. Candidate n is chosen with the least e_n / ratio, e_n increasing: the order statistics
    of as many exponentials. K is uniform: `bits` bits. n is small: a universal code.

    Not exact: the target is cut to its interval (4 scales on either side by default: 6e-5 of its
    mass), and the bias of 2^index_bits candidates remains: it falls as they grow.

    Code length: at most bits + I + log2(I + 1) + 4 a dimension, I = KL - bits; this bound is
    `Receipt.theory_bits`. Measured over the KL: 1.8 bits a dimension at 2 to 8 bits, 1.1 at 1/4,
    0.36 at 0.01: one index per dimension is expensive. Run time: 2^(largest log ratio) candidates
    per dimension on average; the search stops when no later candidate can win.

    Attributes:
        index_bits: 2^index_bits candidates per dimension.
        outlier_bits: dimensions whose index would need more are sent as 16-bit numbers instead.
        width: a cell holds the target's mean and at least this many of its scales in all.
        finest: smallest tile of the map of cells, a square of side 2^finest.
    """

    id: ClassVar[str] = "hybrid"
    exact: ClassVar[bool] = False
    RANGES: ClassVar[Mapping[str, tuple[int, int]]] = {
        "index_bits": (1, 16),
        "outlier_bits": (1, 64),
        "width": (2, 12),
        "finest": (0, 12),
    }

    index_bits: int = 14
    outlier_bits: int = 10
    width: int = 8
    finest: int = 0

    def encode(
        self, target: Normal, prior: Normal, stream: QueueEncoder, shared: SharedRandomness
    ) -> tuple[Tensor, Receipt]:
        """Write the map of cells, outliers, numbers of cells and indices."""
        q = standardise.standardise(target, prior)
        marks = [stream.bits]
        cells = self._write_cells(stream, q, tuple(prior.loc.shape))
        marks.append(stream.bits)
        is_far = (q.kl_bits - cells > self.outlier_bits) | (q.scale < _NARROWEST)
        far, near = np.flatnonzero(is_far), np.flatnonzero(~is_far)
        u = np.zeros(cells.size, np.float32)
        u[far] = standardise.write_outliers(stream, far, standardise.draw_exactly(q, far, shared))
        marks.append(stream.bits)
        indices, numbers, tries = self._choose(q, near, cells[near], shared)
        stream.uniform(numbers, 1 << cells[near])
        marks.append(stream.bits)
        for size in np.unique(cells[near]):
            stream.integers(indices[cells[near] == size])
        marks.append(stream.bits)
        u[near] = self._draws(indices, numbers, cells[near], near, shared)
        names = ("cell map", "outliers", "cells", "indices")
        parts = {name: b - a for name, a, b in zip(names, marks, marks[1:], strict=False)}
        theory = self._theory_bits(q.kl_bits[near], cells[near])
        receipt = Receipt(float(q.kl_bits.sum()), theory, parts, tries)
        return standardise.restore(u, prior), receipt

    def decode(self, prior: Normal, stream: QueueDecoder, shared: SharedRandomness) -> Tensor:
        """Read the map of cells, outliers, numbers of cells and indices."""
        cells = self._read_cells(stream, tuple(prior.loc.shape))
        u = np.zeros(cells.size, np.float32)
        far, outliers = standardise.read_outliers(stream, cells.size)
        near = np.setdiff1d(np.arange(cells.size), far, assume_unique=True)
        numbers = stream.uniform(near.size, 1 << cells[near])
        indices = np.zeros(near.size, np.int64)
        for size in np.unique(cells[near]):
            where = cells[near] == size
            indices[where] = stream.integers(int(where.sum()), (1 << self.index_bits) - 1)
        u[far] = outliers
        u[near] = self._draws(indices, numbers, cells[near], near, shared)
        return standardise.restore(u, prior)

    def _write_cells(
        self, stream: QueueEncoder, q: standardise.Standardised, shape: tuple[int, ...]
    ) -> IntArray:
        """Write `bits` of each tile: its prior has 2^bits cells; returns the bits per dimension."""
        mass = 2 * _phi(0.5 * self.width * np.maximum(q.scale, _NARROWEST)) - 1
        wanted = np.clip(np.floor(-np.log2(mass)), 0, _MAX_CELL_BITS).astype(np.int64)
        best, map_bits, chosen = np.inf, 0.0, (tile_map.coarsest(shape), wanted)
        for tile in range(chosen[0], -1, -1):
            _, rows, columns = tile_map.grid(shape, tile)
            if np.isfinite(best) and (tile < self.finest or rows * columns > _MAX_PLACES):
                break
            tile_bits, trial = tile_map.lowest(wanted, tile, shape), QueueEncoder()
            code = self._theory_bits(q.kl_bits, tile_map.spread(tile_bits, shape, tile))
            if code + map_bits >= best:  # a finer map costs no less than the last one tried
                continue
            tile_map.write(trial, tile_bits, _MAX_CELL_BITS + 1)
            map_bits = trial.bits
            if code + map_bits < best:
                best, chosen = code + map_bits, (tile, tile_bits)
        stream.uniform([chosen[0]], tile_map.MAX_TILE + 1)
        tile_map.write(stream, chosen[1], _MAX_CELL_BITS + 1)
        return tile_map.spread(chosen[1], shape, chosen[0])

    def _read_cells(self, stream: QueueDecoder, shape: tuple[int, ...]) -> IntArray:
        tile = int(stream.uniform(1, tile_map.MAX_TILE + 1)[0])
        tile_bits = tile_map.read(stream, tile_map.grid(shape, tile), _MAX_CELL_BITS + 1)
        return tile_map.spread(tile_bits, shape, tile)

    def _theory_bits(self, kl_bits: DoubleArray, cells: IntArray) -> float:
        """Number of the cell, and Li & El Gamal's I + log2(I + 1) + 4 for an index alone."""
        rest = np.maximum(kl_bits - cells, 0)
        return float((cells + rest + np.log2(rest + 1) + 4).sum())

    def _choose(
        self, q: standardise.Standardised, near: IntArray, cells: IntArray, shared: SharedRandomness
    ) -> tuple[IntArray, IntArray, int]:
        mean, scale = q.mean[near], q.scale[near]
        half = 0.5 * self.width * scale
        size = 2.0**-cells
        centre = 0.5 * (_phi(mean - half) + _phi(mean + half))
        low = np.clip(centre - 0.5 * size, 0, 1 - size)
        lows = np.floor(low * 2.0**32).astype(np.int64)
        left, right = (
            torch.special.ndtri(torch.from_numpy(np.clip(edge, 1e-10, 1 - 1e-10))).numpy()
            for edge in (low, low + size)
        )
        linear, quadratic = q.linear[near], q.quadratic[near]
        flat = np.maximum(quadratic, 1e-9)
        summit = np.clip(linear / flat, left, right)
        heights = [(linear - 0.5 * quadratic * u) * u for u in (left, summit, right)]
        result: tuple[IntArray, IntArray, int] = _search(
            linear,
            quadratic,
            np.max(heights, axis=0),
            lows,
            cells,
            near,
            shared.child(1).name,
            shared.child(3).name,
            self.index_bits,
            quantile_table(),
        )
        return result

    def _draws(
        self,
        indices: IntArray,
        numbers: IntArray,
        cells: IntArray,
        near: IntArray,
        shared: SharedRandomness,
    ) -> FloatArray:
        values: FloatArray = _values(
            indices, numbers, cells, near, shared.child(1).name, self.index_bits, quantile_table()
        )
        return values
