"""Samples as they are: what is left for noise."""

from typing import ClassVar, final

import numpy as np

from laconic.codecs.lossless.core import DTYPES, Samples
from laconic.codecs.lossless.direct.base import DirectMethod
from laconic.errors import CorruptFileError


@final
class Plain(DirectMethod):
    """Row by row, channels together; 16 bits low byte first; eight bilevel samples a byte."""

    number: ClassVar[int] = 1
    name: ClassVar[str] = "plain"

    def encode(self, samples: Samples, effort: int) -> bytes:
        """Write samples; the first of eight bilevel ones is the highest bit."""
        if samples.dtype == np.bool_:
            return np.packbits(samples.reshape(-1)).tobytes()
        return samples.astype(samples.dtype.newbyteorder("<"), copy=False).tobytes()

    def decode(self, data: bytes, height: int, width: int, channels: int, bits: int) -> Samples:
        """Read them back."""
        count = height * width * channels
        if len(data) != -(-count * bits // 8):
            raise CorruptFileError(f"{len(data)} bytes are not {width} x {height} plain samples")
        if bits == 1:
            packed = np.frombuffer(data, np.uint8)
            flat = np.unpackbits(packed, count=count).view(np.bool_)
        else:
            flat = np.frombuffer(data, np.dtype(DTYPES[bits]).newbyteorder("<"))
        samples: Samples = flat.astype(DTYPES[bits]).reshape(height, width, channels)
        return samples
