"""The stream of bits: a first-in, first-out range coder with typed, bounded reads (a queue).

Only this module imports constriction. Every model here is made of integers, so that both sides
agree exactly. constriction reads past the end of its words without complaint; `QueueDecoder`
therefore adds up the information that it has returned and stops when there is more of it than
words.
"""

from typing import Any

import constriction
import numpy as np
from numpy.typing import ArrayLike, NDArray

from laconic.errors import CodingError, CorruptFileError

IntArray = NDArray[np.int64]

_MODELS: Any = constriction.stream.model
_QUEUE: Any = constriction.stream.queue
_MAX_SIZE = 1 << 16
_MAX_TOTAL = 1 << 20
_SLACK_BITS = 64.0
_LENGTH_COUNTS = np.array([1 << max(0, 12 - i // 2) for i in range(49)], np.int64)
"""Fixed table for the bit length of an unbounded integer (0 to 48 bits)."""


class AdaptiveModel:
    """Frequency counts over `0 .. size-1` that follow the symbols as they pass; integers only.

    Symbols are coded in runs of 8, 8, 16, 32, 64, 64, ... with the counts as they stand at the
    run's start, so that a run is one call of the range coder. Make one on each side and pass the
    same symbols through both.

    Args:
        size: number of symbols.
        increment: what a symbol adds to its count.
        limit: the total at which all counts are halved.
        longest_run: where runs stop growing; long ones are quick, and follow changes slowly.
    """

    def __init__(
        self, size: int, increment: int = 32, limit: int = 1 << 14, longest_run: int = 64
    ) -> None:
        """Start from equal counts."""
        if not 1 <= size <= 4096:
            raise CodingError(f"an adaptive model has 1 to 4096 symbols, not {size}")
        self.counts: IntArray = np.ones(size, np.int64)
        self.increment = increment
        self.limit = max(limit, 4 * size)
        self.longest_run = longest_run
        self._seen = 0

    @property
    def run(self) -> int:
        """How many symbols may be coded before the next update."""
        if self._seen <= 64:
            return min(self.longest_run, max(8, self._seen))
        return min(self.longest_run, max(64, self._seen // 8))

    def update(self, symbols: IntArray) -> None:
        """Count symbols that have just been coded."""
        self.counts += self.increment * np.bincount(symbols, minlength=self.counts.size)
        self._seen += symbols.size
        while int(self.counts.sum()) > self.limit:
            self.counts = (self.counts + 1) >> 1


def _check(values: ArrayLike, sizes: int | ArrayLike) -> tuple[IntArray, IntArray]:
    flat = np.asarray(values, np.int64).reshape(-1)
    limits = np.broadcast_to(np.asarray(sizes, np.int64).reshape(-1), flat.shape)
    if flat.size and (flat.min() < 0 or bool((flat >= limits).any())):
        raise CodingError("a symbol lies outside its alphabet: it cannot be written")
    return flat, limits


def _table(counts: ArrayLike) -> tuple[Any, NDArray[np.float64]]:
    """The library model and the information (bits) of each symbol."""
    table = np.asarray(counts, np.int64).reshape(-1)
    total = int(table.sum())
    if table.size < 2 or table.min() < 1 or total > _MAX_TOTAL:
        raise CodingError(
            f"a frequency table needs two or more positive counts, total <= {_MAX_TOTAL}"
        )
    probabilities = table.astype(np.float32)
    return _MODELS.Categorical(probabilities, perfect=False), np.log2(total / table)


def _split(values: IntArray, width: int) -> list[tuple[IntArray, int]]:
    """Fixed-width integers as pieces of at most 16 bits, most significant first."""
    pieces, left = [], width
    while left > 0:
        size = min(16, left)
        left -= size
        pieces.append(((values >> left) & ((1 << size) - 1), size))
    return pieces


class QueueEncoder:
    """Writes symbols, first in, first out.

    >>> encoder = QueueEncoder()
    >>> encoder.uniform([3, 1], 5)
    >>> encoder.integer(1000)
    >>> decoder = QueueDecoder(encoder.finish())
    >>> decoder.uniform(2, 5).tolist(), decoder.integer(5000)
    ([3, 1], 1000)
    """

    def __init__(self) -> None:
        """An empty message."""
        self._coder: Any = _QUEUE.RangeEncoder()
        self._bits = 0.0

    @property
    def bits(self) -> float:
        """Information written so far, in bits; differences tell what a part has cost."""
        return self._bits

    def uniform(self, values: ArrayLike, sizes: int | ArrayLike) -> None:
        """Write `values[i]` from `0 .. sizes[i]-1`, all equally likely; sizes up to 65536."""
        flat, limits = _check(values, sizes)
        if flat.size and limits.max() > _MAX_SIZE:
            raise CodingError(
                f"uniform alphabets end at {_MAX_SIZE}: use `fixed` for wider integers"
            )
        keep = limits > 1
        if bool(keep.any()):
            self._coder.encode(
                flat[keep].astype(np.int32), _MODELS.Uniform(), limits[keep].astype(np.int32)
            )
            self._bits += float(np.log2(limits[keep]).sum())

    def fixed(self, values: ArrayLike, width: int) -> None:
        """Write integers of `width` bits each (0 to 48)."""
        flat, _ = _check(values, 1 << width)
        for piece, size in _split(flat, width):
            self.uniform(piece, 1 << size)

    def table(self, symbols: ArrayLike, counts: ArrayLike) -> None:
        """Write symbols under one table of positive integer counts."""
        flat, _ = _check(symbols, np.asarray(counts).size)
        if np.asarray(counts).size > 1 and flat.size:
            model, information = _table(counts)
            self._coder.encode(flat.astype(np.int32), model)
            self._bits += float(information[flat].sum())

    def adaptive(self, symbols: ArrayLike, model: AdaptiveModel) -> None:
        """Write symbols under counts that follow them."""
        flat, _ = _check(symbols, model.counts.size)
        done = 0
        while done < flat.size:
            run = flat[done : done + model.run]
            self.table(run, model.counts)
            model.update(run)
            done += run.size

    def integer(self, value: int) -> None:
        """Write an integer from 0 to 2^48 - 2: its length under a fixed table, then its bits."""
        length = (value + 1).bit_length() - 1
        if value < 0 or length >= _LENGTH_COUNTS.size - 1:
            raise CodingError(f"{value} is outside 0 .. 2^48 - 2: it cannot be written")
        self.table([length], _LENGTH_COUNTS)
        self.fixed([value + 1 - (1 << length)], length)

    def integers(self, values: ArrayLike) -> None:
        """Write integers from 0 to 2^32 - 3: lengths under adaptive counts, then the bits."""
        flat, _ = _check(values, (1 << 32) - 2)
        lengths = np.frexp(flat + 1.0)[1].astype(np.int64) - 1
        self.adaptive(lengths, AdaptiveModel(32))
        rest = flat + 1 - (1 << lengths)
        self.uniform(rest >> 16, 1 << np.maximum(lengths - 16, 0))
        self.uniform(rest & 0xFFFF, 1 << np.minimum(lengths, 16))

    def finish(self) -> bytes:
        """The message: little-endian 32-bit words, the last without the zero bytes at its end."""
        data = self._coder.get_compressed().astype("<u4").tobytes()
        return bytes(data[:-4] + data[-4:].rstrip(b"\0"))


class QueueDecoder:
    """Reads what a `QueueEncoder` wrote; raises `CorruptFileError` when the bytes run out."""

    def __init__(self, data: bytes) -> None:
        """`data`: what `QueueEncoder.finish` returned."""
        words = np.frombuffer(data + b"\0" * (-len(data) % 4), "<u4").astype(np.uint32)
        self._coder: Any = _QUEUE.RangeDecoder(words)
        # The last word may have been zero and dropped; 24-bit probabilities are rounded.
        self._limit = 32.0 * words.size * 1.002 + _SLACK_BITS
        self._bits = 0.0

    @property
    def bits(self) -> float:
        """Information read so far, in bits."""
        return self._bits

    def _spend(self, bits: float) -> None:
        self._bits += bits
        if self._bits > self._limit:
            raise CorruptFileError("the message ends too early: the file is damaged or cut short")

    def _decode(self, *arguments: Any) -> IntArray:
        try:
            symbols: IntArray = self._coder.decode(*arguments).astype(np.int64)
        except (AssertionError, ValueError) as error:
            raise CorruptFileError("the message is not a code: the file is damaged") from error
        return symbols

    def uniform(self, count: int, sizes: int | ArrayLike) -> IntArray:
        """Read `count` integers from `0 .. sizes[i]-1`."""
        limits = np.broadcast_to(np.asarray(sizes, np.int64).reshape(-1), (count,))
        keep = limits > 1
        values = np.zeros(count, np.int64)
        if bool(keep.any()):
            self._spend(float(np.log2(limits[keep]).sum()))
            values[keep] = self._decode(_MODELS.Uniform(), limits[keep].astype(np.int32))
        return values

    def fixed(self, count: int, width: int) -> IntArray:
        """Read `count` integers of `width` bits each."""
        values = np.zeros(count, np.int64)
        for _, size in _split(values, width):
            values = values << size | self.uniform(count, 1 << size)
        return values

    def table(self, count: int, counts: ArrayLike) -> IntArray:
        """Read `count` symbols under one table of positive integer counts."""
        if np.asarray(counts).size < 2 or count == 0:
            return np.zeros(count, np.int64)
        model, information = _table(counts)
        self._spend(count * float(information.min()))
        symbols = self._decode(model, count)
        self._spend(float((information[symbols] - information.min()).sum()))
        return symbols

    def adaptive(self, count: int, model: AdaptiveModel) -> IntArray:
        """Read `count` symbols under counts that follow them."""
        runs: list[IntArray] = []
        done = 0
        while done < count:
            run = self.table(min(model.run, count - done), model.counts)
            model.update(run)
            runs.append(run)
            done += run.size
        return np.concatenate(runs) if runs else np.zeros(0, np.int64)

    def integer(self, limit: int) -> int:
        """Read an integer that must not exceed `limit`."""
        length = int(self.table(1, _LENGTH_COUNTS)[0])
        value = (1 << length) - 1 + int(self.fixed(1, length)[0])
        if value > limit:
            raise CorruptFileError(f"a count of {value} where at most {limit} is possible")
        return value

    def integers(self, count: int, limit: int) -> IntArray:
        """Read `count` integers that must not exceed `limit`."""
        lengths = self.adaptive(count, AdaptiveModel(32))
        high = self.uniform(count, 1 << np.maximum(lengths - 16, 0))
        low = self.uniform(count, 1 << np.minimum(lengths, 16))
        values = (1 << lengths) - 1 + (high << 16 | low)
        if bool((values > limit).any()):
            raise CorruptFileError(
                f"a number above {limit}, the most possible: the file is damaged"
            )
        return values
