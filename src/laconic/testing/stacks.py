"""The laws of codecs on a stack: what every pair of push and pop must keep."""

from typing import Any

import numpy as np

from laconic.coding.random import SharedRandomness
from laconic.coding.stack.ans import TOTAL, Stack
from laconic.coding.stack.symbols import Codec


def seeded_stack(symbols: int = 100, heads: int = 1, seed: int = 0) -> Stack:
    """A stack that holds 28 random bits for each of `symbols`: something to draw from."""
    stack = Stack(heads)
    starts = SharedRandomness(seed).bits(0, symbols) & np.uint32(TOTAL - 1)
    stack.push(starts, np.ones(symbols, np.uint32))
    return stack


def same(a: Any, b: Any) -> bool:
    """Equal arrays, or lists of them."""
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(np.array_equal(a, b))


def check_inverse(codec: Codec[Any], symbols: Any, stack: Stack) -> float:
    """Law 1: pop after push gives the symbols, and the stack as it was.

    Returns:
        The length of the symbols in bits.
    """
    before, bits = stack.to_bytes(), stack.bits
    codec.push(stack, symbols)
    length = stack.bits - bits
    again = Stack.from_bytes(stack.to_bytes(), stack.heads)
    for each in (stack, again):
        assert same(codec.pop(each), symbols)
        assert each.to_bytes() == before
    return length


def check_draw(codec: Codec[Any], stack: Stack) -> Any:
    """Law 2: push after pop leaves any stack as it was: a draw's randomness is not lost.

    Returns:
        The symbols drawn.
    """
    before = stack.to_bytes()
    symbols = codec.pop(stack)
    drawn = stack.to_bytes()
    codec.push(stack, symbols)
    assert stack.to_bytes() == before
    assert same(codec.pop(stack), symbols)
    assert stack.to_bytes() == drawn
    return symbols
