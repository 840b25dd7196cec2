"""The alpha plane, losslessly: a constant in a byte, or filtered rows in a general format.

```
constant  00 value
deflate   1f zlib stream     f: filter, modulo 256; 0 outside the image
lzma      2f .lzma stream
filters   0 none; 1 minus the left pixel; 2 minus the pixel above; 3 minus left, minus above, plus
above left ```
"""

import lzma
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from laconic.errors import CorruptFileError

CONSTANT: Final = 0
DEFLATE: Final = 1
LZMA: Final = 2
FILTERS: Final = (0, 1, 2, 3)
LZMA_MEMORY_BYTES: Final = 128 << 20
LZMA_DICTIONARY_BYTES: Final = 1 << 20


def encode_alpha(alpha: NDArray[np.uint8]) -> bytes:
    """Compress a plane of shape `(height, width)`; the smallest of the methods above is taken."""
    if (alpha == alpha.flat[0]).all():
        return bytes([CONSTANT, int(alpha.flat[0])])
    options = []
    for number in FILTERS:
        rows = _filter(alpha, number).tobytes()
        options.append(bytes([DEFLATE << 4 | number]) + zlib.compress(rows, 9))
    best = min(options, key=len)
    number = best[0] & 15
    chain = [{"id": lzma.FILTER_LZMA1, "preset": 6, "dict_size": LZMA_DICTIONARY_BYTES}]
    packed = lzma.compress(_filter(alpha, number).tobytes(), lzma.FORMAT_ALONE, filters=chain)
    return min(best, bytes([LZMA << 4 | number]) + packed, key=len)


def decode_alpha(data: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """The plane back; memory is bounded by its size, whatever the bytes say.

    Raises:
        CorruptFileError: the bytes are no alpha plane of this size.
    """
    if len(data) == 2 and data[0] == CONSTANT:
        return np.full((height, width), data[1], np.uint8)
    method, number = (data[0] >> 4, data[0] & 15) if data else (-1, -1)
    if method not in (DEFLATE, LZMA) or number not in FILTERS:
        raise CorruptFileError("the alpha plane is stored in an unknown way")
    rows = _inflate(data[1:], method, height * width)
    if len(rows) != height * width:
        raise CorruptFileError(f"the alpha plane is not {width} x {height}")
    return _unfilter(np.frombuffer(rows, np.uint8).reshape(height, width), number)


def _inflate(data: bytes, method: int, size: int) -> bytes:
    try:
        if method == DEFLATE:
            inflater = zlib.decompressobj()
            return inflater.decompress(data, size + 1)
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=LZMA_MEMORY_BYTES)
        return unpacker.decompress(data, size + 1)
    except (zlib.error, lzma.LZMAError, EOFError) as error:
        raise CorruptFileError(f"the alpha plane is damaged: {error}") from error


def _filter(plane: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    if number & 1:
        plane = np.diff(plane, axis=1, prepend=np.uint8(0))
    if number & 2:
        plane = np.diff(plane, axis=0, prepend=np.uint8(0))
    return plane


def _unfilter(plane: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    if number & 2:
        plane = np.cumsum(plane, axis=0, dtype=np.uint8)
    if number & 1:
        plane = np.cumsum(plane, axis=1, dtype=np.uint8)
    return plane.copy()
