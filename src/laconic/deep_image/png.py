"""PNG files of 16 bits a sample: samples here, all else by Pillow, from a file of one pixel.

Source: W3C, Portable Network Graphics (third edition), 5 and 11.
"""

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from laconic.deep_image.rows import DamagedRowsError, pack_rows, unpack_rows

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
CHANNELS: Final = {0: 1, 4: 2, 2: 3, 6: 4}
"""Channels by PNG's number of the kind of colour, without palettes."""
COLOURS: Final = {count: number for number, count in CHANNELS.items()}
_HEAD: Final = struct.Struct(">IIBBBBB")
DEPTH: Final = 16
LEVEL: Final = 6
"""Of zlib, for files that are written."""
Chunk = tuple[bytes, bytes]
"""Name and content."""


def read_png(file: bytes) -> tuple[NDArray[np.uint16], bytes]:
    """The samples of a PNG file of 16 bits, and a file of one pixel with all its other chunks.

    Raises:
        DamagedRowsError: the file is damaged, or has another depth.
    """
    chunks = list(_read_chunks(file))
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != _HEAD.size:
        raise DamagedRowsError("the file does not begin with the size of the picture")
    width, height, depth, colour, *_, interlace = _HEAD.unpack(chunks[0][1])
    if depth != DEPTH or colour not in CHANNELS or interlace > 1:
        raise DamagedRowsError(f"{depth} bits of colour type {colour} are not 16 bits a sample")
    data = b"".join(content for name, content in chunks if name == b"IDAT")
    samples = unpack_rows(data, height, width, CHANNELS[colour], interlace == 1)
    return samples, _join(_with_one_pixel(chunks, colour))


def write_png(samples: NDArray[np.uint16], carrier: Image.Image, **options: Any) -> bytes:
    """A PNG file of 16 bits a sample.

    Args:
        samples: `(height, width, channels)`.
        carrier: an image of one pixel with the same channels.
        options: of Pillow's `save`: colour profile and metadata.
    """
    (height, width, channels), pixel = samples.shape, io.BytesIO()
    carrier.save(pixel, "PNG", **options)
    data = pack_rows(samples, LEVEL)
    head = _HEAD.pack(width, height, DEPTH, COLOURS[channels], 0, 0, 0)
    ours = {b"IHDR": head, b"IDAT": data}
    chunks = _read_chunks(pixel.getvalue())
    return _join((name, ours.get(name, content)) for name, content in chunks)


def _with_one_pixel(chunks: Iterable[Chunk], colour: int) -> Iterator[Chunk]:
    """The chunks with the size and the data of a picture of one pixel."""
    done = False
    for name, content in chunks:
        if name == b"IHDR":
            yield name, _HEAD.pack(1, 1, DEPTH, colour, 0, 0, 0)
        elif name == b"IDAT":
            if not done:
                yield name, zlib.compress(bytes(1 + 2 * CHANNELS[colour]))
            done = True
        else:
            yield name, content


def _read_chunks(file: bytes) -> Iterator[Chunk]:
    """The chunks of a file up to its end; raises `DamagedRowsError`."""
    start = len(SIGNATURE)
    while start < len(file):
        size, name = int.from_bytes(file[start : start + 4], "big"), file[start + 4 : start + 8]
        content = file[start + 8 : start + 8 + size]
        check = file[start + 8 + size : start + 12 + size]
        if len(check) < 4 or zlib.crc32(name + content) != int.from_bytes(check, "big"):
            raise DamagedRowsError(f"the chunk {name!r} is damaged or cut short")
        yield name, content
        if name == b"IEND":
            return
        start += 12 + size
    raise DamagedRowsError("the file is cut short")


def _join(chunks: Iterable[Chunk]) -> bytes:
    """A file of chunks."""
    parts = [SIGNATURE]
    for name, content in chunks:
        parts += [struct.pack(">I", len(content)), name, content]
        parts.append(struct.pack(">I", zlib.crc32(name + content)))
    return b"".join(parts)
