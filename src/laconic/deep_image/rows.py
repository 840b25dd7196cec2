"""Samples of 16 bits <-> the zlib stream of a PNG picture's filtered rows.

Source: W3C, Portable Network Graphics (third edition), 7 to 10.
"""

import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

PASSES: Final = (
    (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
    (1, 0, 2, 1),
)  # fmt: skip
"""Of interlaced pictures: first row, first column, and steps of both."""


class DamagedRowsError(ValueError):
    """The stream is not that of a picture of this size; the message says why."""


def pack_rows(samples: NDArray[np.uint16], level: int) -> bytes:
    """The stream of samples `(height, width, channels)`, not interlaced.

    Args:
        samples: of the picture.
        level: of zlib, 1 to 9.
    """
    from laconic.deep_image.kernels import choose_filters

    height, width, channels = samples.shape
    rows = samples.astype(">u2").view(np.uint8).reshape(height, 2 * width * channels)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    choose_filters(rows, filtered, 2 * channels)
    return zlib.compress(filtered.tobytes(), level)


def unpack_rows(
    data: bytes, height: int, width: int, channels: int, interlaced: bool = False
) -> NDArray[np.uint16]:
    """The samples of a stream, `(height, width, channels)`.

    Raises:
        DamagedRowsError: the stream is damaged, or of another size.
    """
    parts = [(0, 0, 1, 1)] if not interlaced else PASSES
    places = [(slice(y, height, dy), slice(x, width, dx)) for y, x, dy, dx in parts]
    shapes = [(len(range(height)[rows]), len(range(width)[cols])) for rows, cols in places]
    sizes = [rows * (1 + 2 * cols * channels) * (cols > 0) for rows, cols in shapes]
    plain = _inflate(data, sum(sizes))
    samples = np.empty((height, width, channels), np.uint16)
    start = 0
    for place, shape, size in zip(places, shapes, sizes, strict=True):
        if size:
            samples[place] = _read_pass(plain[start : start + size], shape, channels)
        start += size
    return samples


def _read_pass(
    plain: NDArray[np.uint8], shape: tuple[int, int], channels: int
) -> NDArray[np.uint16]:
    """The samples of one pass."""
    from laconic.deep_image.kernels import unfilter

    rows = plain.reshape(shape[0], -1)
    values = rows[:, 1:].copy()
    if not unfilter(values, rows[:, 0].copy(), 2 * channels):
        raise DamagedRowsError("a row has an unknown filter")
    return values.view(">u2").astype(np.uint16).reshape(*shape, channels)


def _inflate(data: bytes, size: int) -> NDArray[np.uint8]:
    """A zlib stream that gives at least `size` bytes, of which those are taken."""
    try:
        plain = zlib.decompressobj().decompress(data, size)
    except zlib.error as error:
        raise DamagedRowsError(str(error)) from error
    if len(plain) < size:
        raise DamagedRowsError(f"{len(plain)} bytes of {size} are there")
    return np.frombuffer(plain, np.uint8)
