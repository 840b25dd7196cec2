"""A lossless codec of numbers with few distinct values: the sorted values, and an index per number.

Networks that were trained with shared weights, or with weights on a grid, have few distinct values.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from laconic.coding.queue.stream import IntArray, QueueDecoder, QueueEncoder
from laconic.coding.tensors import planes
from laconic.coding.tensors.planes import Layout
from laconic.errors import CorruptFileError

LARGEST = 256
"""Most distinct values of a codebook."""

NUMBERS_PER_VALUE = 4
"""A codebook is used for at least so many times more numbers than it has values."""

_SAMPLE = 1 << 14

Words = NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class Codebook:
    """The distinct values in rising order.

    Attributes:
        words: the bits of the values, shape `(values,)`.
        zero: place of the value nearest to zero. Indices are counted from there, so that rare large
            values get large integers, which suits the coder of small integers.
    """

    words: Words
    zero: int

    @classmethod
    def of(
        cls, words: Words, to_values: Callable[[Words], NDArray[np.floating]]
    ) -> "Codebook | None":
        """The codebook of numbers; None if there are too many distinct values or too few numbers.

        Args:
            words: bits of the numbers, shape `(count,)`.
            to_values: converts bits to floats; called with distinct values.
        """
        limit = min(LARGEST, words.size // NUMBERS_PER_VALUE)
        distinct = np.unique(words[:_SAMPLE])
        for start in range(_SAMPLE, words.size, planes.CHUNK):
            if distinct.size > limit:
                break
            distinct = np.union1d(distinct, words[start : start + planes.CHUNK])
        if not 0 < distinct.size <= limit:
            return None
        sizes = to_values(distinct).astype(np.float64)
        if not np.isfinite(sizes).all():
            return None
        order = np.argsort(sizes, kind="stable")
        return cls(distinct[order], int(np.argmin(np.abs(sizes[order]))))

    def indices(self, words: Words) -> IntArray:
        """The index of each number's value, counted from `zero`."""
        order = np.argsort(self.words)
        places = order[np.searchsorted(self.words, words, sorter=order)]
        indices: IntArray = places.astype(np.int64) - self.zero
        return indices

    def values(self, indices: IntArray) -> Words:
        """The bits of the numbers with these indices.

        Raises:
            CorruptFileError: an index is outside the codebook.
        """
        places = indices + self.zero
        if places.size and not (places.min() >= 0 and places.max() < self.words.size):
            raise CorruptFileError("a number is outside its codebook: the file is damaged")
        return self.words[places]

    def write(self, stream: QueueEncoder, layout: Layout) -> None:
        """Write the distinct values."""
        stream.integers([self.words.size, self.zero])
        planes.write(stream, self.words, layout)

    @classmethod
    def read(cls, stream: QueueDecoder, layout: Layout) -> "Codebook":
        """Read what `write` wrote."""
        size, zero = (int(value) for value in stream.integers(2, LARGEST))
        if not zero < size:
            raise CorruptFileError("a codebook has no value at its middle: the file is damaged")
        return cls(planes.read(stream, size, layout), zero)
