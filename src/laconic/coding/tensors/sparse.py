"""Bits of a sparse network as the literature counts them: compressed sparse rows, Huffman codes.

No file is written this way: ours are smaller. Published figures count bits like this, so only
figures counted in the same way are comparable with them.
"""

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from laconic.coding.queue.stream import IntArray

FULL_BITS = 32
"""Bits of a number before compression, and of a value in the codebook."""


@dataclass(frozen=True)
class Rows:
    """A matrix as compressed sparse rows (A, IR, IC).

    Attributes:
        values: entries that are not 0, row by row, shape `(count,)`.
        starts: where each row begins in `values`, then the number of values, `(rows + 1,)`.
        columns: column of each value, shape `(count,)`.
    """

    values: IntArray
    starts: IntArray
    columns: IntArray

    @classmethod
    def of(cls, matrix: ArrayLike) -> "Rows":
        """Take a matrix of integers apart; other shapes are rows along the first axis."""
        flat = np.asarray(matrix, np.int64)
        flat = flat.reshape(flat.shape[0] if flat.ndim > 1 else 1, -1)
        row, column = np.nonzero(flat)
        starts = np.searchsorted(row, np.arange(flat.shape[0] + 1))
        return cls(flat[row, column], starts, column.astype(np.int64))


@dataclass(frozen=True)
class SparseBits:
    """Bits as Deep Compression counts them.

    Attributes:
        values: bits of the Huffman-coded indices into the codebook, fillers included.
        gaps: bits of the Huffman-coded distances from one value to the next.
        rows: bits of the places where rows begin, each as wide as the largest one needs.
        codebook: bits of the distinct values, at full width.
    """

    values: int
    gaps: int
    rows: int
    codebook: int

    @property
    def total(self) -> int:
        """Sum of all four."""
        return self.values + self.gaps + self.rows + self.codebook


def huffman_lengths(counts: ArrayLike) -> IntArray:
    """Bits of each symbol's word in a Huffman code; one bit if there is only one symbol.

    Args:
        counts: how often each symbol occurs, at least once, shape `(symbols,)`.

    Source: Huffman 1952.
    """
    sizes = np.asarray(counts, np.int64)
    lengths = np.zeros(sizes.size, np.int64)
    heap = [(int(size), index, [index]) for index, size in enumerate(sizes)]
    heapq.heapify(heap)
    if len(heap) == 1:
        lengths[0] = 1
    while len(heap) > 1:
        (first, _, left), (second, order, right) = heapq.heappop(heap), heapq.heappop(heap)
        lengths[left + right] += 1
        heapq.heappush(heap, (first + second, order, left + right))
    return lengths


def huffman_bits(symbols: ArrayLike) -> int:
    """Bits of a message in its own Huffman code; as is usual, the code itself is not counted."""
    counts = np.unique(np.asarray(symbols, np.int64), return_counts=True)[1]
    return int(counts @ huffman_lengths(counts)) if counts.size else 0


def count_sparse(matrix: ArrayLike, gap_bits: int = 5) -> SparseBits:
    """Bits of a quantised matrix as Deep Compression counts them.

    Args:
        matrix: integers, each an entry of a codebook; 0 means that the weight was removed.
        gap_bits: filler zeros divide gaps of 2^gap_bits and more; the source takes 5 for linear
            layers and 8 for convolutions.

    Source: Ullrich, appendix 9.2, after Han, Mao & Dally 2016.
    """
    sparse = Rows.of(matrix)
    inside = np.ones(sparse.values.size, np.bool_)
    inside[sparse.starts[:-1][sparse.starts[:-1] < sparse.starts[1:]]] = False
    before = np.concatenate([[-1], sparse.columns[:-1]]) if sparse.columns.size else sparse.columns
    gaps = sparse.columns - np.where(inside, before, -1) - 1
    longest = 1 << gap_bits
    fillers = gaps // longest
    filled = np.concatenate([sparse.values, np.zeros(int(fillers.sum()), np.int64)])
    coded = np.concatenate([gaps % longest, np.full(int(fillers.sum()), longest - 1)])
    return SparseBits(
        values=huffman_bits(filled),
        gaps=huffman_bits(coded),
        rows=sparse.starts.size * max(1, int(filled.size).bit_length()),
        codebook=FULL_BITS * np.unique(sparse.values).size,
    )
