"""The map of steps: the size of the quantisation step in each region of a dithered tensor."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from laconic.coding.queue.stream import IntArray, QueueDecoder, QueueEncoder
from laconic.coding.relative_entropy import standardise, tile_map
from laconic.coding.relative_entropy.dither import classes as dither
from laconic.coding.relative_entropy.standardise import DoubleArray

FAR = 6.0
"""Means beyond this many prior scales are sent as 16-bit numbers."""

_MAX_PLACES = 4096
_CONTEXTS = 6


def is_far(q: standardise.Standardised) -> NDArray[np.bool_]:
    """Dimensions that no class of steps suits: far means, and scales outside `SCALES`."""
    far: NDArray[np.bool_] = (
        (np.abs(q.mean) > FAR) | (q.scale > dither.SCALES[0]) | (q.scale < dither.SCALES[-1])
    )
    return far


@dataclass(frozen=True)
class StepMap:
    """One class of scales per tile, chosen so that the noise has the target's power.

    A tile's scale s is that of the mean precision, 1/s² = mean of 1/scale²: the noise power in
    units of the target's variance is 1 on average over the tile. So tiles of unequal scales cost
    more bits than their KL, and the sender searches the tile size with the smallest sum of map and
    code.

    Attributes:
        step_bits: 2^step_bits classes an octave, up to 16.
        finest: smallest tile, a square of side 2^finest.
    """

    step_bits: int
    finest: int

    @property
    def _stride(self) -> int:
        return dither.STEPS >> self.step_bits

    @property
    def _size(self) -> int:
        return (dither.CLASSES - 1) // self._stride + 1

    @property
    def _width(self) -> int:
        return -(-self._size // _CONTEXTS)

    def _classify(self, precision: DoubleArray, tile: int, near: NDArray[np.bool_]) -> IntArray:
        mean = tile_map.average(precision, tile, near)
        octaves = 0.5 * np.log2(np.where(mean > 0, mean, 1.0)) + 1
        tile_classes = np.rint(octaves * (dither.STEPS // self._stride))
        return np.clip(tile_classes, 0, self._size - 1).astype(np.int64)

    def write(
        self, stream: QueueEncoder, q: standardise.Standardised, shape: tuple[int, ...]
    ) -> IntArray:
        """Write the map; returns the class of each dimension, flattened."""
        near = ~is_far(q)
        precision = np.where(near, q.scale, 1.0).reshape(shape) ** -2.0
        best, map_bits = np.inf, 0.0
        chosen = (tile_map.coarsest(shape), np.zeros((0, 0, 0), np.int64))
        for tile in range(chosen[0], -1, -1):
            _, rows, columns = tile_map.grid(shape, tile)
            if np.isfinite(best) and (tile < self.finest or rows * columns > _MAX_PLACES):
                break
            tile_classes = self._classify(precision, tile, near)
            code = self._code_bits(q, tile_classes, shape, tile, near)
            if code + map_bits >= best:  # a finer map costs no less than the last one tried
                continue
            map_bits = self._map_bits(tile_classes)
            if code + map_bits < best:
                best, chosen = code + map_bits, (tile, tile_classes)
        tile, tile_classes = chosen
        stream.uniform([tile], tile_map.MAX_TILE + 1)
        tile_map.write(stream, tile_classes, self._size, self._width)
        return tile_map.spread(tile_classes * self._stride, shape, tile)

    def _map_bits(self, tile_classes: IntArray) -> float:
        trial = QueueEncoder()
        tile_map.write(trial, tile_classes, self._size, self._width)
        return trial.bits

    def _code_bits(
        self,
        q: standardise.Standardised,
        tile_classes: IntArray,
        shape: tuple[int, ...],
        tile: int,
        near: NDArray[np.bool_],
    ) -> float:
        classes = tile_map.spread(tile_classes * self._stride, shape, tile)[near]
        trial = QueueEncoder()
        spreads = dither.write_spreads(trial, q.mean[near], classes)
        return trial.bits + dither.rate_bits(classes, spreads)

    def read(self, stream: QueueDecoder, shape: tuple[int, ...]) -> IntArray:
        """Read what `write` wrote."""
        tile = int(stream.uniform(1, tile_map.MAX_TILE + 1)[0])
        tile_classes = tile_map.read(stream, tile_map.grid(shape, tile), self._size, self._width)
        return tile_map.spread(tile_classes * self._stride, shape, tile)
