"""The stack of bits: an asymmetric numeral system (rANS), last in, first out.

Bits-back needs a stack, not a queue: popping a symbol under a distribution that never wrote it
draws from that distribution, and pushing the symbol gives the same bits back. The stack is one long
integer, split into heads of 64 bits and words of 32.

    push:  if head >= size * 2^(64 - precision): move its low 32 bits to the words
           head <- (head // size) * 2^precision + start + head % size
    pop:   the symbol is the one whose interval holds head % 2^precision
           head <- size * (head // 2^precision) + head % 2^precision - start
           if head < 2^32: take a word

Every head stays in [2^32, 2^64), so push and pop undo each other exactly, for all intervals.
constriction's stack takes one family of models per call and pops an empty stack without an error.
Here each symbol has its own integer interval, computed beforehand, and popping an empty stack
raises an error. So the loops are our own (`kernels`, compiled).

Source: Duda, "Asymmetric numeral systems", 2013; interleaved heads: Giesen, "Interleaved entropy
coders", 2014.
"""

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import ArrayLike

from laconic.coding.stack.kernels import (
    FLOOR,
    PRECISION,
    TOTAL,
    WORD,
    HeadArray,
    IntArray,
    WordArray,
    push_intervals,
)
from laconic.errors import CodingError, ConfigError, CorruptFileError

__all__ = ["PRECISION", "TOTAL", "IntArray", "Snapshot", "Stack", "StackEmpty"]

_LENGTH_BITS = 3
_SHORTEST = 5  # bytes of a head


class StackEmpty(CodingError):
    """The stack holds too few bits to draw a latent; it is as it was before the attempt."""


class Snapshot:
    """A state that `Stack.restore` goes back to; made by `Stack.snapshot`."""

    def __init__(self, heads: HeadArray, count: int) -> None:
        self.heads = heads.copy()
        self.count = count
        self.lowest = count
        self.saved: list[WordArray] = []

    def save(self, words: WordArray, count: int) -> None:
        """Copy the words popped below the lowest count so far, before a push overwrites them."""
        if count < self.lowest:
            self.saved.append(words[count : self.lowest].copy())
            self.lowest = count


class Stack:
    """A stack of symbols, each with its own integer interval of 2^28.

    A batch of n symbols is pushed last first, so that it pops in its own order; symbol i of a batch
    uses head i modulo the number of heads. With several heads a processor works on several symbols
    at once; each head costs four bytes.

    Args:
        heads: number of heads.

    >>> stack = Stack()
    >>> stack.push([0, 1 << 26], [1 << 26, 3 << 26])
    >>> round(stack.bits, 3), len(stack.to_bytes())
    (2.426, 5)
    """

    def __init__(self, heads: int = 1) -> None:
        if heads < 1:
            raise ConfigError(f"a stack has one head or more, not {heads}")
        self._heads: HeadArray = np.full(heads, FLOOR, np.uint64)
        self._words: WordArray = np.empty(1024, np.uint32)
        self._count = 0
        self._snapshots: WeakSet[Snapshot] = WeakSet()

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self._heads.size

    @property
    def empty(self) -> bool:
        """Whether all that was pushed has been popped, and nothing else."""
        return self._count == 0 and bool((self._heads == FLOOR).all())

    @property
    def bits(self) -> float:
        """Content in bits; its growth is the length of what was pushed."""
        return WORD * self._count + float((np.log2(self._heads) - WORD).sum())

    @property
    def available_bits(self) -> float:
        """Bits that can always be popped, however the symbols fall on the heads.

        With one head this is the content. Each symbol may round it by 0.09 bit: leave a margin,
        or take a `snapshot`, try, and restore.
        """
        spare = WORD * max(0, self._count - (self.heads - 1))
        return spare + float(np.log2(self._heads).min()) - WORD

    def push(self, starts: ArrayLike, sizes: ArrayLike) -> None:
        """Push symbols by their intervals `start .. start + size - 1` of 0 .. 2^28 - 1.

        Args:
            starts: `(n,)`.
            sizes: `(n,)`, positive.

        Raises:
            CodingError: an interval is empty or does not fit.
        """
        first = np.ascontiguousarray(starts, np.uint32).reshape(-1)
        width = np.ascontiguousarray(sizes, np.uint32).reshape(-1)
        if first.size != width.size or (
            first.size
            and (width.min() == 0 or width.max() > TOTAL or bool((first > TOTAL - width).any()))
        ):
            raise CodingError(f"intervals must be positive and end at {TOTAL} at most")
        self._reserve(first.size)
        self._count = int(push_intervals(self._heads, self._words, self._count, first, width))

    def pop(self, kernel: Callable[..., int], symbols: IntArray, *arguments: Any) -> IntArray:
        """Fill `symbols` by a compiled loop (`kernels`).

        Args:
            kernel: called with heads, words, number of words, `symbols` and `arguments`; returns
                the new number of words, or `-1 - i` if symbol i needs a word that is missing.
            symbols: `(n,)` or `(n, channels)`, overwritten.
            arguments: the distribution's parameters.

        Raises:
            CorruptFileError: the stack holds too few bits; it is left as it was.
        """
        before = self._heads.copy()
        count = int(kernel(self._heads, self._words, self._count, symbols, *arguments))
        if count < 0:
            self._heads = before
            raise CorruptFileError(
                f"the message ends before symbol {-1 - count} of {symbols.size}: "
                "the file is damaged or cut short"
            )
        self._count = count
        for snapshot in self._snapshots:
            snapshot.save(self._words, count)
        return symbols

    def snapshot(self) -> Snapshot:
        """Remember this state; copies the words that are popped below it afterwards."""
        snapshot = Snapshot(self._heads, self._count)
        self._snapshots.add(snapshot)
        return snapshot

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a state of this stack."""
        if snapshot not in self._snapshots:
            raise CodingError("this snapshot belongs to another stack")
        place = snapshot.lowest
        for words in reversed(snapshot.saved):
            self._words[place : place + words.size] = words
            place += words.size
        self._heads = snapshot.heads.copy()
        self._count = snapshot.count

    def to_bytes(self) -> bytes:
        """Heads, then words, the top first: a file cut short has lost the bottom of the stack.

        A head is a big-endian integer of 5 to 9 bytes; its first 3 bits are its bytes minus 5.
        Words are little-endian.
        """
        parts = [_head_bytes(int(head)) for head in self._heads]
        return b"".join(parts) + self._words[: self._count][::-1].astype("<u4").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, heads: int = 1) -> "Stack":
        """A stack from what `to_bytes` returned, or from the beginning of it.

        Args:
            data: heads and words; an incomplete last word is ignored.
            heads: number of heads that the stack had.

        Raises:
            CorruptFileError: the heads are damaged or cut short.
        """
        stack, place = cls(heads), 0
        for i in range(heads):
            length = _SHORTEST + (data[place] >> (8 - _LENGTH_BITS)) if place < len(data) else 9
            value = int.from_bytes(data[place : place + length], "big")
            value &= (1 << 8 * length - _LENGTH_BITS) - 1
            if place + length > len(data) or not FLOOR <= value < 1 << 64:
                raise CorruptFileError("the beginning of the message is damaged or cut short")
            stack._heads[i] = value
            place += length
        words = np.frombuffer(data[place : len(data) - (len(data) - place) % 4], "<u4")
        stack._reserve(words.size)
        stack._words[: words.size] = words[::-1]
        stack._count = words.size
        return stack

    def _reserve(self, symbols: int) -> None:
        """Room for one more word per symbol."""
        if self._count + symbols > self._words.size:
            grown = np.empty(2 * (self._count + symbols), np.uint32)
            grown[: self._count] = self._words[: self._count]
            self._words = grown


def _head_bytes(head: int) -> bytes:
    """The shortest form of a head, after its length."""
    length = max(_SHORTEST, -(-(head.bit_length() + _LENGTH_BITS) // 8))
    marked = length - _SHORTEST << 8 * length - _LENGTH_BITS | head
    return marked.to_bytes(length, "big")
