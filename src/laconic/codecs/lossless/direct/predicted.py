"""Samples of 16 bits by prediction and adaptive arithmetic coding: photographs.

Data: an integer, the largest sample; for each channel in coding order an integer, its sample at
the top left; an integer and so many bytes: those of the arithmetic coder; then the low bits. Of
three and four channels, the second comes first (`coding.prediction`).
"""

from typing import ClassVar, Final, final

import numpy as np

from laconic.codecs.image.tiles import MAX_TILE_PIXELS
from laconic.codecs.lossless.core import Samples
from laconic.codecs.lossless.direct.base import ORDERS, DirectMethod
from laconic.container import FieldReader, FieldWriter
from laconic.errors import CorruptFileError

LARGEST: Final = 65535


@final
class Predicted(DirectMethod):
    """16 bits, up to `MAX_TILE_PIXELS`."""

    number: ClassVar[int] = 5
    name: ClassVar[str] = "prediction"

    def encode(self, samples: Samples, effort: int) -> bytes | None:
        """Write samples; None where they have another depth, or take more bytes than in memory."""
        from laconic.coding.prediction.samples import encode_samples

        height, width, channels = samples.shape
        if samples.dtype != np.uint16 or height * width > MAX_TILE_PIXELS:
            return None
        planes = np.stack([samples[..., k] for k in ORDERS[channels]]).astype(np.uint16)
        coded = encode_samples(planes, 3 if channels > 2 else 1, samples.nbytes)
        if coded is None:
            return None
        writer = FieldWriter()
        for value in (planes.max(), *planes[:, 0, 0]):
            writer.integer(int(value))
        writer.integer(len(coded[0]))
        return writer.finish() + b"".join(coded)

    def decode(self, data: bytes, height: int, width: int, channels: int, bits: int) -> Samples:
        """Read them back."""
        from laconic.coding.prediction.samples import decode_samples

        if bits != 16 or height * width > MAX_TILE_PIXELS:
            raise CorruptFileError(f"{width} x {height} samples of {bits} bits are not predicted")
        reader = FieldReader(data, "the picture")
        largest = reader.integer(LARGEST, "the largest sample")
        first = [reader.integer(largest, "a first sample") for _ in range(channels)]
        coded = reader.raw(reader.integer(reader.left, "the length of the coded bits"))
        low = reader.raw(reader.left)
        shape, colours = (channels, height, width), 3 if channels > 2 else 1
        planes = decode_samples(coded, low, shape, colours, np.array(first), largest)
        samples = np.empty((height, width, channels), np.uint16)
        for plane, channel in zip(planes, ORDERS[channels], strict=True):
            samples[..., channel] = plane
        return samples
