"""A lossless WebP picture without its file around it: the content of the chunk VP8L.

Source: WebP Lossless Bitstream Specification, and WebP Container Specification (RIFF).
"""

import io
import struct
from typing import ClassVar, Final, final

import numpy as np
from PIL import Image, features

from laconic.codecs.lossless.core import Samples
from laconic.codecs.lossless.direct.base import MAX_STREAM_PIXELS, DirectMethod
from laconic.codecs.lossless.direct.pillow_images import from_eight_bits, to_image
from laconic.errors import CorruptFileError, UnsupportedFileError

MAX_WEBP_SIDE: Final = 16383
_FRONT: Final = 12
"""Bytes of "RIFF", a length and "WEBP"."""
_HEAD: Final = struct.Struct("<BI")
"""A signature, then fields: 14 bits of width - 1, 14 of height - 1, and four others."""
_SIDE: Final = (1 << 14) - 1
_SETTINGS: Final = {0: (0, 0), 1: (1, 20), 9: (6, 100)}
"""Effort of libwebp, `method` and `quality`; (4, 80), which is Pillow's default, for all others."""


@final
class WebP(DirectMethod):
    """8 bits or bilevel; grey is written as colour with equal channels."""

    number: ClassVar[int] = 2
    name: ClassVar[str] = "WebP"

    def encode(self, samples: Samples, effort: int) -> bytes | None:
        """Write samples of up to 8 bits with sides of up to 16,383."""
        height, width, channels = samples.shape
        if samples.dtype == np.uint16 or max(height, width) > MAX_WEBP_SIDE:
            return None
        if height * width > MAX_STREAM_PIXELS:
            return None
        if not features.check("webp"):
            return None
        method, quality = _SETTINGS.get(effort, (4, 80))
        image = to_image(samples).convert("RGB" if channels % 2 else "RGBA")
        file = io.BytesIO()
        image.save(file, "WEBP", lossless=True, exact=True, method=method, quality=quality)
        return _content(file.getvalue())

    def decode(self, data: bytes, height: int, width: int, channels: int, bits: int) -> Samples:
        """Read them back."""
        if height * width > MAX_STREAM_PIXELS:
            raise CorruptFileError(f"{width} x {height} pixels are too many for a WebP stream")
        if not features.check("webp"):
            raise UnsupportedFileError(
                "the picture is stored as WebP, which this Pillow cannot read; install a Pillow "
                "that has WebP (pip install --upgrade pillow)"
            )
        if _size(data) != (width, height):  # Pillow would first take memory for what it says.
            raise CorruptFileError(f"the WebP picture is not {width} x {height}")
        padded = data + bytes(len(data) % 2)
        chunk = b"VP8L" + struct.pack("<I", len(data)) + padded
        file = b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk
        try:
            with Image.open(io.BytesIO(file), formats=["WEBP"]) as image:
                values = np.asarray(image.convert("RGB" if channels % 2 else "RGBA"))
        except (OSError, ValueError, SyntaxError) as error:
            raise CorruptFileError(f"the WebP picture is damaged: {error}") from error
        if channels < 3:
            values = values[..., -channels:] if channels == 2 else values[..., :1]
        return from_eight_bits(values, bits)


def _size(data: bytes) -> tuple[int, int] | None:
    """Width and height that the stream's first bytes name; None where these are missing."""
    if len(data) < _HEAD.size:
        return None
    _, fields = _HEAD.unpack_from(data)
    return (fields & _SIDE) + 1, (fields >> 14 & _SIDE) + 1


def _content(file: bytes) -> bytes | None:
    """What the only chunk of a lossless file holds; None where there are others."""
    name, size = file[_FRONT : _FRONT + 4], *struct.unpack_from("<I", file, _FRONT + 4)
    start = _FRONT + 8
    alone = name == b"VP8L" and len(file) - start == size + size % 2
    return file[start : start + size] if alone else None
