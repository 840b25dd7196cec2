"""Pictures of 16 bits a sample with several channels, for which Pillow has no mode."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from .container import Array, LacError, need

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOURS = (0, 4, 2, 6)
"""PNG's number of the kind of colour, by channels."""


class DeepImage:
    """Samples `(height, width, channels)`, and `info` as Pillow's images have it."""

    def __init__(self, samples: Array) -> None:
        self.samples, self.info = samples, dict[str, Any]()
        self.size = samples.shape[1], samples.shape[0]
        self.mode = ("", "LA;16", "RGB;16", "RGBA;16")[samples.shape[2] - 1]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.samples, dtype, copy=copy)

    def save(self, file: IO[bytes], kind: str, **options: Any) -> None:
        """Write a PNG file; metadata are those that Pillow writes of one pixel."""
        from PIL import Image

        need(kind == "PNG", "only .png holds 16 bits a sample: name such a file")
        mode, pixel = self.mode.removesuffix(";16"), io.BytesIO()
        Image.new(mode, (1, 1)).save(pixel, "PNG", **options)
        channels = self.samples.shape[2]
        head = struct.pack(">IIBBBBB", *self.size, 16, COLOURS[channels - 1], 0, 0, 0)
        rows = self.samples.astype(">u2").view(np.uint8).reshape(self.size[1], -1)
        data = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())
        file.write(SIGNATURE)
        for name, content in chunks(pixel.getvalue()):
            file.write(chunk(name, {b"IHDR": head, b"IDAT": data}.get(name, content)))


def chunks(file: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of every chunk of a PNG file."""
    place = len(SIGNATURE)
    while place < len(file):
        size = int.from_bytes(file[place : place + 4], "big")
        yield file[place + 4 : place + 8], file[place + 8 : place + 8 + size]
        place += size + 12


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    check = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


def png_file(data: bytes, height: int, width: int, bits: int, channels: int) -> bytes:
    """A PNG file around the contents of its chunks IDAT."""
    head = struct.pack(">IIBBBBB", width, height, bits, COLOURS[channels - 1], 0, 0, 0)
    parts = (b"IHDR", head), (b"IDAT", data), (b"IEND", b"")
    return SIGNATURE + b"".join(chunk(*part) for part in parts)


def decode_deep_png(data: bytes, height: int, width: int, channels: int) -> Array:
    """A PNG stream of 16 bits: its high and its low bytes are two pictures with equal filters."""
    from PIL import Image

    size = height * (1 + 2 * width * channels)
    found: Array = np.zeros((height, width, channels), np.uint16)
    try:
        plain = zlib.decompressobj().decompress(data, size)
        need(len(plain) == size, "a PNG stream is cut short")
        rows = np.frombuffer(plain, np.uint8).reshape(height, -1)
        for start, shift in ((1, 8), (2, 0)):
            part = np.concatenate([rows[:, :1], rows[:, start::2]], 1)
            file = png_file(zlib.compress(part.tobytes(), 1), height, width, 8, channels)
            with Image.open(io.BytesIO(file), formats=["PNG"]) as image:
                found |= np.asarray(image).astype(np.uint16) << shift
    except (OSError, ValueError, SyntaxError, zlib.error) as error:
        raise LacError(f"a wrapped picture is damaged: {error}") from error
    return found
