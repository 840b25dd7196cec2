"""An arithmetic coder for bits, of 32 bits: one step of it, for compiled loops.

The state of a coder are four integers: both ends of the interval, the place in the bytes, and the
reader's current word. Probabilities have 16 bits. The units are those of lpaq1 (Mahoney 2005).
"""

from typing import Any, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

Int: TypeAlias = Any
"""An integer in compiled loops."""

Float: TypeAlias = Any
"""A number in binary32 in compiled loops."""

IntArray: TypeAlias = NDArray[np.int64]
ByteArray: TypeAlias = NDArray[np.uint8]

_WORD = 0xFFFFFFFF
_TOP = 0xFF000000


def new_coder() -> IntArray:
    """The state of a coder that has not written or read anything."""
    return np.array([0, _WORD, 0, 0], np.int64)


@njit(nogil=True, error_model="numpy")
def start_reading(coder: IntArray, data: ByteArray) -> None:
    """Read the first word; bytes after the end are 0."""
    for k in range(4):
        byte = np.int64(data[k]) if k < data.size else np.int64(0)
        coder[3] = (coder[3] << 8) | byte
    coder[2] = 4


@njit(nogil=True, error_model="numpy")
def finish_writing(coder: IntArray, data: ByteArray) -> None:
    """Write the last word; what does not fit into `data` is counted only."""
    for k in range(4):
        if coder[2] < data.size:
            data[coder[2]] = (coder[0] >> (24 - 8 * k)) & 255
        coder[2] += 1


@njit(nogil=True, error_model="numpy")
def code_bit(coder: IntArray, data: ByteArray, reading: bool, bit: Int, chance: Int) -> Int:
    """Write a bit, or read one; returns it.

    Args:
        coder: the state.
        data: bytes that are written or read.
        reading: whether to read.
        bit: 0 or 1, ignored by a reader.
        chance: probability of a 1 in units of 2^-16, 1 to 65535.
    """
    low, high = coder[0], coder[1]
    extent = high - low
    middle = low + (extent >> 16) * chance + ((extent & 0xFFFF) * chance >> 16)
    if reading:
        bit = 1 if coder[3] <= middle else 0
    if bit:
        high = middle
    else:
        low = middle + 1
    place = coder[2]
    while (low ^ high) & _TOP == 0:
        if reading:
            byte = np.int64(data[place]) if place < data.size else np.int64(0)
            coder[3] = ((coder[3] << 8) & _WORD) | byte
        elif place < data.size:
            data[place] = high >> 24
        place += 1
        low, high = (low << 8) & _WORD, ((high << 8) & _WORD) | 255
    coder[0], coder[1], coder[2] = low, high, place
    return bit
