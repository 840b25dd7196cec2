"""Drawings, texts, screens and bilevel pictures by context mixing: our own coder for them.

Up to 256 different colours are numbered in ascending order, a palette; more are coded byte by byte.
A colour is an integer whose lowest byte is the first channel, of 16 bits the high byte. Data: an
integer, the colours of the palette, 0 without one (a bilevel picture: 2); with a palette, unless
the picture is bilevel, an integer and so many bytes, a raw deflate stream of integers: each
colour's difference from the one before it, less one (the first: from -1); an integer, the pixel at
the top left, as number or colour; then the bits of `coding.context_mixing`.
"""

import zlib
from typing import ClassVar, Final, final

import numpy as np
from numpy.typing import NDArray

from laconic.codecs.lossless.core import Samples
from laconic.codecs.lossless.direct.base import DirectMethod
from laconic.container import FieldReader, FieldWriter
from laconic.errors import CorruptFileError

MAX_PALETTE: Final = 256
MAX_CONTEXT_PIXELS: Final = 1 << 25
"""Eight bytes of memory each."""
MANY: Final = 1 << 40
"""More colours than there are."""
_MAX_COLOUR: Final = (1 << 32) - 1
_MOST_BYTES: Final = 5
"""Of an integer below 2^32."""
_SAMPLE: Final = 1 << 12
Colours = NDArray[np.int64]


@final
class Contexts(DirectMethod):
    """Bilevel, 8 bits, or one channel of 16 bits, up to `MAX_CONTEXT_PIXELS`."""

    number: ClassVar[int] = 4
    name: ClassVar[str] = "contexts"

    def encode(self, samples: Samples, effort: int) -> bytes | None:
        """Write samples; None where they take more bytes than in memory, or have no place."""
        from laconic.coding.context_mixing.pixels import encode_pixels

        height, width, channels = samples.shape
        deep = samples.dtype == np.uint16
        if (deep and channels > 1) or height * width > MAX_CONTEXT_PIXELS:
            return None
        pixels, palette = _number(samples)
        writer = FieldWriter()
        writer.integer(0 if palette is None else len(palette))
        if palette is not None and samples.dtype != np.bool_:
            _write_palette(palette, writer)
        background = int(pixels[0, 0])
        writer.integer(background)
        count, each = (MANY, samples.itemsize * channels) if palette is None else (len(palette), 0)
        data = encode_pixels(pixels, each, count, background, samples.nbytes)
        return None if data is None else writer.finish() + data

    def decode(self, data: bytes, height: int, width: int, channels: int, bits: int) -> Samples:
        """Read them back."""
        from laconic.coding.context_mixing.pixels import decode_pixels

        if height * width > MAX_CONTEXT_PIXELS or (bits == 16 and channels > 1):
            raise CorruptFileError(f"{width} x {height} samples of {bits} bits have no contexts")
        reader = FieldReader(data, "the picture")
        count = reader.integer(MAX_PALETTE, "the number of colours")
        if bits == 1 and count != 2:
            raise CorruptFileError(f"a bilevel picture has 2 colours, not {count}")
        palette = _read_palette(reader, count) if count and bits > 1 else None
        background = reader.integer(count - 1 if count else _MAX_COLOUR, "the first pixel")
        rest = reader.raw(reader.left)
        each = 0 if count else channels * bits // 8
        pixels = decode_pixels(rest, height, width, each, count or MANY, background)
        if palette is not None:
            pixels = palette[np.minimum(pixels, count - 1)]
        return _unpack(pixels, channels, bits)


def _number(samples: Samples) -> tuple[Colours, Colours | None]:
    """Numbers of a palette and the palette; or colours, and None, where there are too many."""
    colours = _pack(samples)
    if samples.dtype == np.bool_:
        return colours, np.arange(2)
    some = colours.reshape(-1)[:: max(1, colours.size // _SAMPLE)]
    if len(np.unique(some)) > MAX_PALETTE:
        return colours, None
    palette = np.unique(colours)
    if len(palette) > MAX_PALETTE:
        return colours, None
    return np.searchsorted(palette, colours), palette


def _pack(samples: Samples) -> Colours:
    """Samples as colours, `(height, width)`."""
    values = samples.astype(np.int64)
    if samples.dtype == np.uint16:
        return values[..., 0] >> 8 | (values[..., 0] & 255) << 8
    colours = values[..., 0]
    for channel in range(1, values.shape[2]):
        colours = colours | values[..., channel] << (8 * channel)
    return colours


def _unpack(colours: Colours, channels: int, bits: int) -> Samples:
    """Colours as samples, `(height, width, channels)`."""
    if bits == 1:
        white: NDArray[np.bool_] = colours[..., None] != 0
        return white
    if bits == 16:
        deep = (colours & 255) << 8 | colours >> 8 & 255
        return deep.astype(np.uint16)[..., None]
    samples = np.empty((*colours.shape, channels), np.uint8)
    for channel in range(channels):
        samples[..., channel] = colours >> (8 * channel) & 255
    return samples


def _write_palette(palette: Colours, writer: FieldWriter) -> None:
    fields = FieldWriter()
    for step in np.diff(palette, prepend=-1):
        fields.integer(int(step) - 1)
    packer = zlib.compressobj(9, wbits=-15)
    data = packer.compress(fields.finish()) + packer.flush()
    writer.integer(len(data))
    writer.raw(data)


def _read_palette(reader: FieldReader, count: int) -> Colours:
    data = reader.raw(reader.integer(reader.left, "the length of the palette"))
    try:
        plain = zlib.decompressobj(-15).decompress(data, _MOST_BYTES * count)
    except zlib.error as error:
        raise CorruptFileError(f"the palette is damaged: {error}") from error
    fields = FieldReader(plain, "the palette")
    steps = [fields.integer(_MAX_COLOUR, "a colour") for _ in range(count)]
    fields.finish()
    palette = np.cumsum(np.array(steps, np.int64) + 1) - 1
    if palette[-1] > _MAX_COLOUR:
        raise CorruptFileError("the palette has a colour of more than four bytes")
    return palette
