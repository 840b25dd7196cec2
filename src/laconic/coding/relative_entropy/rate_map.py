"""The map of rates: how many bits each region of a tensor gets, told in a few thousand bits."""

import numpy as np

from laconic.coding.relative_entropy.standard import DoubleArray
from laconic.coding.stream import AdaptiveModel, IntArray, QueueDecoder, QueueEncoder

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


MAX_TILE = 12
"""Tiles are squares of side 2^tile, clipped at the borders."""


def _planes(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Any shape as (planes, height, width)."""
    if len(shape) < 3:
        return 1, 1, int(np.prod(shape, dtype=np.int64))
    return int(np.prod(shape[:-2], dtype=np.int64)), shape[-2], shape[-1]


def _spread(classes: IntArray, shape: tuple[int, ...], tile: int) -> IntArray:
    _, height, width = _planes(shape)
    # A tile is never repeated past the plane: `tile` comes from the stream.
    rows, columns = min(1 << tile, height), min(1 << tile, width)
    spread = np.repeat(np.repeat(RATES[classes], rows, 1), columns, 2)
    return spread[:, :height, :width].reshape(-1)


def _contexts(classes: IntArray, row: int, column: int) -> IntArray:
    left = classes[:, row, column - 1] if column else None
    up = classes[:, row - 1, column] if row else None
    if left is None and up is None:
        return np.zeros(classes.shape[0], np.int64)
    if left is None or up is None:
        near = left if left is not None else up
        assert near is not None
        return near + 1
    return (left + up + 1) // 2 + 1


def _grid(shape: tuple[int, ...], tile: int) -> tuple[int, int, int]:
    planes, height, width = _planes(shape)
    return planes, -(-height >> tile), -(-width >> tile)


def _average(bits: DoubleArray, tile: int) -> DoubleArray:
    """Mean over each tile of the dimensions that lie inside the tensor."""
    planes, height, width = _planes(bits.shape)
    _, rows, columns = _grid(bits.shape, tile)
    padded = np.zeros((2, planes, rows << tile, columns << tile))
    padded[0, :, :height, :width] = bits.reshape(planes, height, width)
    padded[1, :, :height, :width] = 1
    sums = padded.reshape(2, planes, rows, 1 << tile, columns, 1 << tile).sum((3, 5))
    mean: DoubleArray = sums[0] / np.maximum(sums[1], 1)
    return mean


def _classify(mean: DoubleArray) -> IntArray:
    edges = np.sqrt(np.maximum(RATES[:-1], 0.7) * RATES[1:])
    return np.searchsorted(edges, 256 * mean).astype(np.int64)


def _models() -> list[AdaptiveModel]:
    return [AdaptiveModel(RATES.size) for _ in range(RATES.size + 1)]


def _write_classes(stream: QueueEncoder, classes: IntArray) -> None:
    models = _models()
    for row, column in np.ndindex(classes.shape[1:]):
        contexts = _contexts(classes, row, column)
        for context in np.unique(contexts):
            stream.adaptive(classes[contexts == context, row, column], models[context])


def write(stream: QueueEncoder, bits: DoubleArray, budget: float) -> IntArray:
    """Tell the rates of regions; returns them per dimension, flattened, in 1/256 bit.

    Args:
        stream: where to write.
        bits: wanted bits per dimension, any shape; the last two axes are tiled.
        budget: bits that the map may take; the finest tiles within it are chosen, or else the
        coarsest.
    """
    _, height, width = _planes(bits.shape)
    coarsest = min(MAX_TILE, (max(height, width, 1) - 1).bit_length())
    tile, classes = coarsest, _classify(_average(bits, coarsest))
    for finer in range(coarsest - 1, 0, -1):
        trial, trial_classes = QueueEncoder(), _classify(_average(bits, finer))
        if trial_classes.size > budget * 8:
            break
        _write_classes(trial, trial_classes)
        if trial.bits > budget:
            break
        tile, classes = finer, trial_classes
    stream.uniform([tile], MAX_TILE + 1)
    _write_classes(stream, classes)
    return _spread(classes, bits.shape, tile)


def read(stream: QueueDecoder, shape: tuple[int, ...]) -> IntArray:
    """Read what `write` wrote."""
    tile = int(stream.uniform(1, MAX_TILE + 1)[0])
    classes = np.zeros(_grid(shape, tile), np.int64)
    models = _models()
    for row, column in np.ndindex(classes.shape[1:]):
        contexts = _contexts(classes, row, column)
        for context in np.unique(contexts):
            where = contexts == context
            classes[where, row, column] = stream.adaptive(int(where.sum()), models[context])
    return _spread(classes, shape, tile)
