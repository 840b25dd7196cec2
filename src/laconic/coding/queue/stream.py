"""The stream of bits: a first-in, first-out range coder with typed, bounded reads (a queue).

Every model here is made of integers, so that both sides agree exactly. A range decoder reads past
the end of its words without an error; `QueueDecoder` therefore adds up the information that it has
returned and stops when that exceeds the length of the words. The loops are compiled, in
`queue.kernels`: a network has millions of symbols, under counts that change after every few.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from laconic.coding.queue import kernels
from laconic.coding.tensors import kernels_signs
from laconic.errors import CodingError, CorruptFileError

IntArray = NDArray[np.int64]

_MAX_SIZE = 1 << 16
_MAX_TOTAL = 1 << 20
_SLACK_BITS = 64.0
_SLACK_WORDS = 4
_PIECE = 1 << 20
"""Most symbols read at once: memory grows only as symbols arrive."""
_LENGTH_COUNTS = np.array([1 << max(0, 12 - i // 2) for i in range(49)], np.int64)
"""Fixed table for the bit length of an unbounded integer (0 to 48 bits)."""


class AdaptiveModel:
    """Adaptive counts over `0 .. size-1`: every coded symbol adds to its count; integers only.

    Symbols are coded in runs of 8, 8, 16, 32, 64, 64, ... under the counts at the beginning of the
    run, so that a run is one call of the range coder. Make one model on each side and code the
    same symbols with both.

    Args:
        size: number of symbols.
        increment: what a symbol adds to its count.
        limit: the total at which all counts are halved.
        longest_run: where runs stop growing; long runs are fast but adapt slowly.
        counts: initial counts; equal if None.
    """

    def __init__(
        self,
        size: int,
        increment: int = 32,
        limit: int = 1 << 14,
        longest_run: int = 64,
        counts: Sequence[int] = (),
    ) -> None:
        if not 1 <= size <= 4096:
            raise CodingError(f"an adaptive model has 1 to 4096 symbols, not {size}")
        self.counts: IntArray = np.ones(size, np.int64)
        self.rule: IntArray = np.array([increment, max(limit, 4 * size), longest_run, 0])
        """Increment, limit, longest run, and how many symbols have passed."""
        if counts:
            self.counts = np.array(counts, np.int64)
            _check_table(self.counts)
        if self.counts.size != size or limit > _MAX_TOTAL:
            raise CodingError(
                f"a model of {size} symbols has as many counts, total <= {_MAX_TOTAL}"
            )


def _check(values: ArrayLike, sizes: int | ArrayLike) -> tuple[IntArray, IntArray]:
    """Symbols, flat, and the sizes of their alphabets: one for all, or one per symbol."""
    flat = np.ascontiguousarray(values, np.int64).reshape(-1)
    limits = np.ascontiguousarray(sizes, np.int64).reshape(-1)
    if limits.size not in (1, flat.size):
        raise CodingError(f"{limits.size} alphabets for {flat.size} symbols: give 1 or as many")
    if (flat.view(np.uint64) >= limits.view(np.uint64)).any():  # Negative: very large.
        raise CodingError("a symbol lies outside its alphabet: it cannot be written")
    return flat, limits


def _check_table(counts: IntArray) -> None:
    if counts.min() < 1 or counts.sum() > _MAX_TOTAL:
        raise CodingError(
            f"a frequency table needs two or more positive counts, total <= {_MAX_TOTAL}"
        )


def _split(values: IntArray, width: int) -> list[tuple[IntArray, int]]:
    """Fixed-width integers as pieces of at most 16 bits, most significant first."""
    pieces, left = [], width
    while left > 0:
        size = min(16, left)
        left -= size
        pieces.append(((values >> left) & ((1 << size) - 1), size))
    return pieces


def _uniform_bits(count: int, sizes: IntArray) -> float:
    """Information of `count` symbols of alphabets of `sizes`, `(count,)` or `(1,)`."""
    if sizes.size == 1:
        return count * math.log2(max(1, int(sizes[0])))
    return float(np.log2(np.maximum(sizes, 1)).sum())


def _refuse(status: int) -> None:
    """Raise the error that a reading loop has returned."""
    if status == kernels.TOO_EARLY:
        raise CorruptFileError("the message ends too early: the file is damaged or cut short")
    if status == kernels.NO_CODE:
        raise CorruptFileError("the message is not a code: the file is damaged")


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
        self._state = np.array([0, kernels.START, 0], np.uint64)
        self._words = np.empty(256, np.uint32)
        self._bits = 0.0

    @property
    def bits(self) -> float:
        """Information written so far, in bits; a difference is the cost of a part."""
        return self._bits

    def _room(self, symbols: int) -> NDArray[np.uint32]:
        """The words, with room for one more per symbol."""
        needed = int(self._state[2]) + symbols
        if needed > self._words.size:
            grown = np.empty(needed + needed // 4 + 64, np.uint32)
            grown[: self._state[2]] = self._words[: self._state[2]]
            self._words = grown
        return self._words

    def uniform(self, values: ArrayLike, sizes: int | ArrayLike) -> None:
        """Write `values[i]` from `0 .. sizes[i]-1`, all equally likely; sizes up to 65536."""
        flat, limits = _check(values, sizes)
        if flat.size and limits.max() > _MAX_SIZE:
            raise CodingError(
                f"uniform alphabets end at {_MAX_SIZE}: use `fixed` for wider integers"
            )
        kernels.encode_uniform(self._state, self._room(flat.size), flat, limits)
        self._bits += _uniform_bits(flat.size, limits)

    def fixed(self, values: ArrayLike, width: int) -> None:
        """Write integers of `width` bits each (0 to 48)."""
        flat, _ = _check(values, 1 << width)
        for piece, size in _split(flat, width):
            self.uniform(piece, 1 << size)

    def table(self, symbols: ArrayLike, counts: ArrayLike) -> None:
        """Write symbols under one table of positive integer counts."""
        table = np.asarray(counts, np.int64).reshape(-1)
        flat, _ = _check(symbols, table.size)
        if table.size > 1 and flat.size:
            _check_table(table)
            self._bits += kernels.encode_table(self._state, self._room(flat.size), flat, table)

    def adaptive(self, symbols: ArrayLike, model: AdaptiveModel) -> None:
        """Write symbols under adaptive counts."""
        flat, _ = _check(symbols, model.counts.size)
        self.sizes(flat, 0, model)

    def sizes(self, values: IntArray, dropped: int, model: AdaptiveModel) -> None:
        """Write |values| without their lowest bits; the last symbol means "this size or more"."""
        if model.counts.size > 1 and values.size:
            self._bits += kernels.encode_adaptive(
                self._state, self._room(values.size), values, dropped, model.counts, model.rule
            )

    def rest(self, values: IntArray, dropped: int, signed: bool = True) -> None:
        """Write the lowest bits of |values|, up to 16; if `signed`, the signs of all but 0, too."""
        words = self._room(values.size + 2)  # At most 17 bits each.
        self._bits += kernels.encode_rest(self._state, words, values, dropped, signed)

    def signs(self, values: IntArray, counts: IntArray) -> None:
        """Write the signs of kernels `(kernels, height, width)` under adaptive counts."""
        words = self._room(values.size)
        self._bits += kernels_signs.encode_signs(self._state, words, values, counts)

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
        lower, extent, count = (int(part) for part in self._state)
        if extent == kernels.START:
            return b""
        point = lower + (1 << 32) - 1  # Its top word starts a number in the interval.
        words = self._words[:count]
        if point >> 64:
            words = words.copy()
            kernels.carry(words, count)
        ends = [point >> 32 & 0xFFFFFFFF]
        if (lower + extent) >> 32 & 0xFFFFFFFF == ends[0]:
            ends.append(0)
        tail = np.array(ends, "<u4").tobytes()
        return b"".join([words.astype("<u4", copy=False).data, tail[:-4], tail[-4:].rstrip(b"\0")])


class QueueDecoder:
    """Reads what a `QueueEncoder` wrote; raises `CorruptFileError` when the bytes run out."""

    def __init__(self, data: bytes) -> None:
        """`data`: what `QueueEncoder.finish` returned."""
        words = np.zeros(-(-len(data) // 4), "<u4")
        words.view(np.uint8)[: len(data)] = np.frombuffer(data, np.uint8)
        words = words.astype(np.uint32, copy=False)
        first = np.zeros(2, np.uint64)
        first[: words.size] = words[:2]
        self._words = words
        self._size_words = len(data) // 4
        self._state = np.array([first[0] << np.uint64(32) | first[1], kernels.START, 2], np.uint64)
        # The last word may have been zero and dropped; 24-bit probabilities are rounded.
        self._ledger = np.array([0.0, 32.0 * words.size * 1.002 + _SLACK_BITS])

    @property
    def bits(self) -> float:
        """Information read so far, in bits."""
        return float(self._ledger[0])

    @property
    def is_certain(self) -> bool:
        """Whether all that was read so far depends on bytes that are there.

        The decoder reads up to eight bytes ahead. At the end of a message it is never certain;
        this is for messages that may be truncated.
        """
        return int(self._state[2]) <= self._size_words

    def _spend(self, bits: float) -> None:
        self._ledger[0] += bits
        if self._ledger[0] > self._ledger[1]:
            _refuse(kernels.TOO_EARLY)

    def uniform(self, count: int, sizes: int | ArrayLike) -> IntArray:
        """Read `count` integers from `0 .. sizes[i]-1`."""
        limits = np.asarray(sizes, np.int64).reshape(-1)
        if limits.size not in (1, count):
            raise CodingError(f"{limits.size} alphabets for {count} integers: give 1 or as many")
        self._spend(_uniform_bits(count, limits))
        values = np.empty(count, np.int64)
        _refuse(kernels.decode_uniform(self._state, self._words, values, limits))
        return values

    def fixed(self, count: int, width: int) -> IntArray:
        """Read `count` integers of `width` bits each."""
        values = np.zeros(count, np.int64)
        for _, size in _split(values, width):
            values = values << size | self.uniform(count, 1 << size)
        return values

    def table(self, count: int, counts: ArrayLike) -> IntArray:
        """Read `count` symbols under one table of positive integer counts."""
        table = np.asarray(counts, np.int64).reshape(-1)
        if table.size < 2 or count == 0:
            return np.zeros(count, np.int64)
        _check_table(table)
        least = count * float(np.log2(table.sum() / table.max()))
        self._spend(least)
        self._ledger[0] -= least
        symbols = np.empty(count, np.int64)
        where = self._state, self._words, symbols
        _refuse(kernels.decode_table(*where, table, self._ledger))
        return symbols

    def adaptive(self, count: int, model: AdaptiveModel) -> IntArray:
        """Read `count` symbols under adaptive counts."""
        pieces, left = [np.zeros(0, np.int64)], count
        while left > 0:
            piece = np.empty(min(left, max(_PIECE, int(model.rule[2]))), np.int64)
            pieces.append(piece[: self._fill(piece, left, model)])
            left -= pieces[-1].size
        return np.concatenate(pieces)

    def sizes(self, symbols: IntArray, model: AdaptiveModel) -> None:
        """Fill `symbols` with what `QueueEncoder.sizes` wrote."""
        self._fill(symbols, symbols.size, model)

    def _fill(self, symbols: IntArray, left: int, model: AdaptiveModel) -> int:
        """Fill `symbols` with whole runs of the `left` still to read; returns how many."""
        if model.counts.size < 2:
            symbols[:] = 0
            return symbols.size
        where = self._state, self._words, symbols, left
        done = int(kernels.decode_adaptive(*where, model.counts, model.rule, self._ledger))
        _refuse(done)
        return done

    def rest(self, sizes: IntArray, dropped: int, signed: bool = True) -> None:
        """Read the lowest bits, up to 16, and the signs that belong to `sizes`; in place.

        Raises:
            CorruptFileError: the message ends too early, or is damaged.
        """
        self._spend(float(sizes.size * dropped))
        before = int(np.count_nonzero(sizes)) if dropped == 0 and signed else 0
        self._spend(float(before))
        _refuse(kernels.decode_rest(self._state, self._words, sizes, dropped, signed))
        if signed:
            self._spend(float(np.count_nonzero(sizes) - before))

    def signs(self, sizes: IntArray, counts: IntArray) -> None:
        """Read the signs that belong to kernels' sizes `(kernels, height, width)`; in place.

        Raises:
            CorruptFileError: the message ends too early, or is damaged.
        """
        end = self._words.size + _SLACK_WORDS
        where = self._state, self._words
        bits = kernels_signs.decode_signs(*where, sizes, counts, end)
        _refuse(int(min(bits, 0)))
        self._spend(bits)

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
