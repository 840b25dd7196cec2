"""Maps of tiles: one class for every square of every plane, written as integers.

The last two axes of a tensor are tiled; the axes before them are planes. Tiles are written in
raster order, all planes of one place together, under adaptive counts chosen by the neighbouring
tiles; the first tile of a plane is written as its change from the plane before.
"""

import numpy as np
from numpy.typing import NDArray

from laconic.coding.queue.stream import AdaptiveModel, IntArray, QueueDecoder, QueueEncoder
from laconic.coding.relative_entropy.standardise import DoubleArray

MAX_TILE = 12
"""Tiles are squares of side 2^tile, clipped at the borders."""


def _planes(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Any shape as (planes, height, width)."""
    if len(shape) < 3:
        return 1, 1, int(np.prod(shape, dtype=np.int64))
    return int(np.prod(shape[:-2], dtype=np.int64)), shape[-2], shape[-1]


def grid(shape: tuple[int, ...], tile: int) -> tuple[int, int, int]:
    """The numbers of (planes, rows, columns) of tiles that cover a tensor."""
    planes, height, width = _planes(shape)
    return planes, -(-height >> tile), -(-width >> tile)


def coarsest(shape: tuple[int, ...]) -> int:
    """The smallest tile that covers a plane, at most `MAX_TILE`."""
    _, height, width = _planes(shape)
    return min(MAX_TILE, (max(height, width, 1) - 1).bit_length())


def _sums(values: DoubleArray, shape: tuple[int, ...], tile: int) -> DoubleArray:
    planes, height, width = _planes(shape)
    _, rows, columns = grid(shape, tile)
    padded = np.zeros((planes, rows << tile, columns << tile))
    padded[:, :height, :width] = values.reshape(planes, height, width)
    sums: DoubleArray = padded.reshape(planes, rows, 1 << tile, columns, 1 << tile).sum((2, 4))
    return sums


def average(values: DoubleArray, tile: int, near: NDArray[np.bool_] | None = None) -> DoubleArray:
    """Mean over each tile of the dimensions inside the tensor, or of the `near` ones among them.

    A tile with no such dimension has mean 0.
    """
    inside = np.ones(values.shape) if near is None else near.reshape(values.shape).astype(float)
    count = _sums(inside, values.shape, tile)
    kept = values if near is None else np.where(inside > 0, values, 0.0)
    mean: DoubleArray = _sums(kept, values.shape, tile) / np.maximum(count, 1)
    return mean


def lowest(values: IntArray, tile: int, shape: tuple[int, ...]) -> IntArray:
    """The least of the values in each tile."""
    planes, height, width = _planes(shape)
    _, rows, columns = grid(shape, tile)
    padded = np.full((planes, rows << tile, columns << tile), np.iinfo(np.int64).max)
    padded[:, :height, :width] = values.reshape(planes, height, width)
    least: IntArray = padded.reshape(planes, rows, 1 << tile, columns, 1 << tile).min((2, 4))
    return least


def spread(values: IntArray, shape: tuple[int, ...], tile: int) -> IntArray:
    """The values of tiles, repeated for each of their dimensions; flattened."""
    _, height, width = _planes(shape)
    # A tile is never repeated past the plane: `tile` comes from the stream.
    rows, columns = min(1 << tile, height), min(1 << tile, width)
    wide = np.repeat(np.repeat(values, rows, 1), columns, 2)
    return wide[:, :height, :width].reshape(-1)


def _contexts(classes: IntArray, row: int, column: int, width: int) -> IntArray:
    left = classes[:, row, column - 1] if column else None
    up = classes[:, row - 1, column] if row else None
    if left is None and up is None:
        return np.zeros(classes.shape[0], np.int64)
    if left is None or up is None:
        near = left if left is not None else up
        assert near is not None
        return near // width + 1
    return (left + up + 1) // 2 // width + 1


def _models(size: int, width: int) -> list[AdaptiveModel]:
    return [AdaptiveModel(size) for _ in range((size - 1) // width + 2)]


def write(stream: QueueEncoder, classes: IntArray, size: int, width: int = 1) -> None:
    """Write the class of every tile.

    Args:
        stream: where to write.
        classes: `0 .. size - 1`, shape `grid(...)`.
        size: number of classes.
        width: this many neighbouring classes share one table of counts.
    """
    models = _models(size, width)
    for row, column in np.ndindex(classes.shape[1:]):
        symbols, contexts = classes[:, row, column], _contexts(classes, row, column, width)
        if row == column == 0:
            symbols = np.diff(symbols, prepend=0) % size
        for context in np.unique(contexts):
            stream.adaptive(symbols[contexts == context], models[context])


def read(stream: QueueDecoder, shape: tuple[int, int, int], size: int, width: int = 1) -> IntArray:
    """Read what `write` wrote; `shape` is that of the grid."""
    classes = np.zeros(shape, np.int64)
    models = _models(size, width)
    for row, column in np.ndindex(classes.shape[1:]):
        contexts = _contexts(classes, row, column, width)
        for context in np.unique(contexts):
            where = contexts == context
            classes[where, row, column] = stream.adaptive(int(where.sum()), models[context])
        if row == column == 0:
            classes[:, 0, 0] = np.cumsum(classes[:, 0, 0]) % size
    return classes
