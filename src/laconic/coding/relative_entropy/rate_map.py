"""The map of rates: how many bits each region of a tensor gets, told in a few thousand bits."""

import numpy as np

from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy import tile_map
from laconic.coding.relative_entropy.standard import DoubleArray
from laconic.coding.stream import IntArray, QueueDecoder, QueueEncoder

RATES: IntArray = np.array(
    # Steps of a third below 1 bit, of 3/16 bit up to 4 bits, of 1/4 bit up to 8 bits.
    [
        *(0, 2, 3, 4, 6, 8, 11, 15, 20, 27, 36, 48, 64, 80, 100, 124, 150, 180, 215, 256),
        *range(304, 1025, 48),
        *range(1088, 2049, 64),
    ],
    np.int64,
)
"""Rates that a region can have, in 1/256 bit per dimension."""


def _classify(mean: DoubleArray) -> IntArray:
    edges = np.sqrt(np.maximum(RATES[:-1], 0.7) * RATES[1:])
    return np.searchsorted(edges, 256 * mean).astype(np.int64)


def write(stream: QueueEncoder, bits: DoubleArray, budget: float) -> IntArray:
    """Tell the rates of regions; returns them per dimension, flattened, in 1/256 bit.

    Args:
        stream: where to write.
        bits: wanted bits per dimension, any shape; the last two axes are tiled.
        budget: bits that the map may take; the finest tiles within it are chosen, or else the
        coarsest.
    """
    tile = tile_map.coarsest(bits.shape)
    classes = _classify(tile_map.average(bits, tile))
    for finer in range(tile - 1, 0, -1):
        trial, trial_classes = QueueEncoder(), _classify(tile_map.average(bits, finer))
        if trial_classes.size > budget * 8:
            break
        tile_map.write(trial, trial_classes, RATES.size)
        if trial.bits > budget:
            break
        tile, classes = finer, trial_classes
    stream.uniform([tile], tile_map.MAX_TILE + 1)
    tile_map.write(stream, classes, RATES.size)
    return tile_map.spread(RATES[classes], bits.shape, tile)


def read(stream: QueueDecoder, shape: tuple[int, ...]) -> IntArray:
    """Read what `write` wrote."""
    tile = int(stream.uniform(1, tile_map.MAX_TILE + 1)[0])
    classes = tile_map.read(stream, tile_map.grid(shape, tile), RATES.size)
    return tile_map.spread(RATES[classes], shape, tile)


def order(rates: IntArray, shared: SharedRandomness) -> IntArray:
    """Dimensions by rate, those of one rate shuffled: neighbours in this order are alike."""
    key = rates << 32 | shared.child(5).bits(0, rates.size)
    return np.argsort(key, kind="stable")
