"""A lossless codec of numbers of any type: planes of symbols, under adaptive counts or raw.

The sign and exponent of a float depend on each other and have skewed frequencies: they form one
plane of up to 4096 symbols. The mantissa is nearly random: it is cut into planes of at most eight
bits. Integers are cut into bytes. A plane that adaptive counts would not shorten is sent raw.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from laconic.coding.queue.stream import AdaptiveModel, IntArray, QueueDecoder, QueueEncoder

CHUNK = 1 << 20
"""Numbers that are processed at once, so that memory stays small."""

_WORTH = 0.995
"""A plane gets adaptive counts if its entropy is below this share of its width."""

_SAMPLE = 1 << 16


@dataclass(frozen=True)
class Layout:
    """How numbers of one type split into planes.

    Attributes:
        width: bits per number: 8, 16, 32 or 64.
        first: bits of the first plane (sign and exponent of a float), at most 12.
    """

    width: int
    first: int

    @property
    def planes(self) -> list[tuple[int, int]]:
        """(shift, bits) of each plane, most significant first."""
        left = self.width - self.first
        found = [(left, self.first)]
        while left:
            bits = left % 8 or 8
            left -= bits
            found.append((left, bits))
        return found


def write(stream: QueueEncoder, words: NDArray[np.unsignedinteger], layout: Layout) -> None:
    """Write unsigned integers of `layout.width` bits, shape `(count,)`."""
    models = _Models()
    for start in range(0, words.size, CHUNK):
        chunk = words[start : start + CHUNK].astype(np.uint64)
        for shift, bits in layout.planes:
            symbols = _plane(chunk, shift, bits)
            modelled = _entropy(symbols, bits) < _WORTH * bits
            stream.uniform([int(modelled)], 2)
            if modelled:
                stream.adaptive(symbols, models.of(shift, bits))
            else:
                stream.uniform(symbols, 1 << bits)


def bits_per_number(words: NDArray[np.unsignedinteger], layout: Layout) -> float:
    """An estimate of the bits per number that `write` takes, from a sample of the numbers."""
    sample = words[:: max(1, words.size // _SAMPLE)].astype(np.uint64)
    planes = [
        min(_entropy(_plane(sample, shift, bits), bits), bits) for shift, bits in layout.planes
    ]
    return sum(planes) if sample.size else 0.0


def _plane(words: NDArray[np.uint64], shift: int, bits: int) -> IntArray:
    return (words >> np.uint64(shift)).astype(np.int64) & ((1 << bits) - 1)


def read(stream: QueueDecoder, count: int, layout: Layout) -> NDArray[np.unsignedinteger]:
    """Read what `write` wrote."""
    dtype = np.dtype(f"uint{layout.width}")
    words = np.zeros(count, dtype)
    models = _Models()
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        chunk = np.zeros(size, np.uint64)
        for shift, bits in layout.planes:
            if int(stream.uniform(1, 2)[0]):
                symbols = stream.adaptive(size, models.of(shift, bits))
            else:
                symbols = stream.uniform(size, 1 << bits)
            chunk |= symbols.astype(np.uint64) << np.uint64(shift)
        words[start : start + size] = chunk.astype(dtype)
    return words


class _Models:
    """Counts of each plane, made at their first use: small tensors need few."""

    def __init__(self) -> None:
        self._made: dict[int, AdaptiveModel] = {}

    def of(self, shift: int, bits: int) -> AdaptiveModel:
        """The counts of the plane that begins at bit `shift`."""
        if shift not in self._made:
            self._made[shift] = AdaptiveModel(
                1 << bits, increment=16, limit=1 << 18, longest_run=1 << 12
            )
        return self._made[shift]


def _entropy(symbols: IntArray, bits: int) -> float:
    """Bits per symbol under adaptive counts: the sample's entropy and the cost of learning."""
    sample = symbols[:: max(1, symbols.size // _SAMPLE)]
    counts = np.bincount(sample, minlength=1 << bits)
    shares = counts[counts > 0] / sample.size
    learning = 4 * np.count_nonzero(counts) / symbols.size
    return float(-(shares * np.log2(shares)).sum()) + learning
