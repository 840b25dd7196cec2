"""Matrices in blocks: large tensors are quantised, coded and decoded part by part.

A block is as many rows as have `BLOCK` numbers; where a single row has more, a block is a piece of
a row. Memory therefore stays small, whatever a tensor's shape is.
"""

from collections.abc import Iterator
from typing import Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from laconic.codecs.network.manifest import Entry
from laconic.coding.queue.stream import IntArray
from laconic.coding.relative_entropy.standardise import DoubleArray
from laconic.types import TORCH_DTYPES

_GRAIN: Final = 1 << 14
"""Numbers that torch converts without waking threads of its own."""

BLOCK: Final = 1 << 21
"""Numbers that are quantised and coded together."""

Part: TypeAlias = tuple[slice, slice]
"""Rows and columns of a block."""

Blocks: TypeAlias = NDArray[np.signedinteger]
Words: TypeAlias = NDArray[np.unsignedinteger]


def is_wide(entry: Entry) -> bool:
    """Whether a single row has more numbers than a block."""
    return entry.matrix[1] > BLOCK


def parts_of(entry: Entry) -> list[Part]:
    """The blocks of a tensor, in the order of its numbers.

    Files that were written before rows could be cut have rows of any length in one block: their
    entries are not `wide`.
    """
    rows, columns = entry.matrix
    if entry.wide:
        pieces = [slice(k, min(k + BLOCK, columns)) for k in range(0, columns, BLOCK)]
        return [(slice(row, row + 1), piece) for row in range(rows) for piece in pieces]
    step = max(1, BLOCK // max(1, columns))
    whole = slice(0, columns)
    return [(slice(k, min(k + step, rows)), whole) for k in range(0, rows, step)]


def shape_of(part: Part) -> tuple[int, int]:
    """Rows and columns of a block."""
    return part[0].stop - part[0].start, part[1].stop - part[1].start


def values_of(entry: Entry, tensor: Tensor) -> Iterator[DoubleArray]:
    """A tensor's numbers, block by block."""
    matrix = tensor.reshape(entry.matrix)
    return (to_doubles(matrix[part]) for part in parts_of(entry))


def to_doubles(block: Tensor) -> DoubleArray:
    """As numpy takes them, which wakes no threads: with torch they cost more than they save."""
    if block.dtype == torch.bfloat16:  # The upper half of a binary32 number.
        words = block.view(torch.int16).numpy().view(np.uint16).astype(np.uint32) << 16
        return words.view(np.float32).astype(np.float64)
    values: DoubleArray = block.numpy().astype(np.float64)
    return values


def to_floats(words: Words, dtype: str) -> Tensor:
    """Numbers of a type by their bits."""
    return torch.from_numpy(words.view(f"int{8 * words.itemsize}")).view(TORCH_DTYPES[dtype])


def round_to(values: DoubleArray, dtype: torch.dtype) -> DoubleArray:
    """To the type, and back."""
    if dtype == torch.float32:
        single: DoubleArray = values.astype(np.float32).astype(np.float64)
        return single
    flat, near = torch.from_numpy(values.reshape(-1)), np.empty(values.size)
    for k in range(0, values.size, _GRAIN):
        near[k : k + _GRAIN] = flat[k : k + _GRAIN].to(dtype).double().numpy()
    return near.reshape(values.shape)


def compact(q: IntArray) -> Blocks:
    """In as few bytes as hold them: all blocks of a tensor wait for its last."""
    return q.astype(np.int16 if np.abs(q).max(initial=0) < 1 << 15 else np.int32)
