"""PPM and PGM files of more than 8 bits a sample.

Samples from 0 to M are read as samples from 0 to 65535: floor((65535 v + floor(M / 2)) / M), which
is different for different v.

Source: Netpbm, the formats PGM and PPM.
"""

import re
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from laconic.deep_image.rows import DamagedRowsError

WHITE: Final = 65535
CHANNELS: Final = {b"P2": 1, b"P3": 3, b"P5": 1, b"P6": 3}
_SPACE: Final = rb"(?:\s|#[^\n\r]*[\n\r])+"
_HEAD: Final = re.compile(
    rb"(P[2356])" + 3 * (_SPACE + rb"([0-9]{1,9})") + rb"(?:#[^\n\r]*[\n\r]|\s)"
)


def read_ppm(file: bytes) -> NDArray[np.uint16]:
    """The samples of a file, `(height, width, channels)`, stretched to 0 to 65535.

    Raises:
        DamagedRowsError: it has fewer samples than it says, or larger ones.
    """
    head = _HEAD.match(file)
    if head is None:
        raise DamagedRowsError("the file does not begin with the size of the picture")
    width, height, largest = (int(head[k]) for k in (2, 3, 4))
    channels = CHANNELS[head[1]]
    count = width * height * channels
    values: NDArray[np.integer[Any]]
    if head[1] in (b"P2", b"P3"):
        text = re.sub(rb"#[^\n\r]*", b"", file[head.end() :])
        try:
            values = np.array(text.split()[:count], np.int64)
        except (ValueError, OverflowError) as error:
            raise DamagedRowsError("a sample is not a number") from error
    else:
        plain = file[head.end() : head.end() + 2 * count]
        values = np.frombuffer(plain[: len(plain) // 2 * 2], ">u2")
    if not 255 < largest <= WHITE or len(values) != count or not count:
        raise DamagedRowsError(f"{len(values)} samples of {count} are there")
    if values.min() < 0 or values.max() > largest:
        raise DamagedRowsError(f"a sample is not in 0 to {largest}")
    if largest < WHITE:
        values = (values.astype(np.uint32) * WHITE + largest // 2) // largest
    return values.astype(np.uint16).reshape(height, width, channels)


def write_ppm(samples: NDArray[np.uint16]) -> bytes:
    """A binary PPM file of an RGB picture; the format holds neither profile nor metadata."""
    height, width, _ = samples.shape
    return f"P6\n{width} {height}\n{WHITE}\n".encode() + samples.astype(">u2").tobytes()
