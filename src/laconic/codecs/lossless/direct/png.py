"""A PNG picture without its file around it: the zlib stream of its filtered rows.

Source: W3C, Portable Network Graphics (third edition), 11.2.1 IHDR, 11.2.3 IDAT.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import ClassVar, Final, cast, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from laconic.codecs.lossless.core import Samples
from laconic.codecs.lossless.direct.base import MAX_STREAM_PIXELS, DirectMethod
from laconic.codecs.lossless.direct.pillow_images import from_eight_bits, to_image
from laconic.deep_image.rows import DamagedRowsError, pack_rows, unpack_rows
from laconic.errors import CorruptFileError

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES: Final = {1: 0, 2: 4, 3: 2, 4: 6}
"""PNG's number for grey, grey with alpha, colour, colour with alpha, by channels."""
_MODES: Final = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


@final
class Png(DirectMethod):
    """Bilevel, 8 bits or 16 bits."""

    number: ClassVar[int] = 3
    name: ClassVar[str] = "PNG"

    def encode(self, samples: Samples, effort: int) -> bytes | None:
        """Write samples; several channels of 16 bits by our own writer, since Pillow has none."""
        height, width, channels = samples.shape
        if height * width > MAX_STREAM_PIXELS:
            return None
        if samples.dtype == np.uint16 and channels > 1:
            return pack_rows(cast(NDArray[np.uint16], samples), 9 if effort else 1)
        file = io.BytesIO()
        to_image(samples).save(file, "PNG", optimize=effort > 0)
        return b"".join(data for name, data in _chunks(file.getvalue()) if name == b"IDAT")

    def decode(self, data: bytes, height: int, width: int, channels: int, bits: int) -> Samples:
        """Read them back."""
        if height * width > MAX_STREAM_PIXELS:
            raise CorruptFileError(f"{width} x {height} pixels are too many for a PNG stream")
        if bits == 16 and channels > 1:
            try:
                return unpack_rows(data, height, width, channels)
            except DamagedRowsError as error:
                raise CorruptFileError(f"the PNG picture is damaged: {error}") from error
        header = struct.pack(">IIBBBBB", width, height, bits, _COLOUR_TYPES[channels], 0, 0, 0)
        parts = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
        file = _SIGNATURE + b"".join(_chunk(*part) for part in parts)
        try:
            with Image.open(io.BytesIO(file), formats=["PNG"]) as image:
                values = np.asarray(image if bits != 8 else image.convert(_MODES[channels]))
        except (OSError, ValueError, SyntaxError, zlib.error) as error:
            raise CorruptFileError(f"the PNG picture is damaged: {error}") from error
        if bits == 16:
            return np.ascontiguousarray(values.astype(np.uint16).reshape(height, width, 1))
        return from_eight_bits(values.view(np.uint8).reshape(height, width, channels), bits)


def _chunk(name: bytes, data: bytes) -> bytes:
    check = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)


def _chunks(file: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of every chunk."""
    start = len(_SIGNATURE)
    while start < len(file):
        (size,) = struct.unpack_from(">I", file, start)
        yield file[start + 4 : start + 8], file[start + 8 : start + 8 + size]
        start += size + 12
