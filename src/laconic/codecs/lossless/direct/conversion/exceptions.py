"""The pixels whose components do not give them, listed with what is to be added.

Data: an integer and so many bytes, a raw deflate stream of integers: the number of exceptions; for
each, row by row, the pixels between it and the one before (the first: from the start), and for red,
green and blue the colour minus the converted one, modulo 256.
"""

import zlib
from typing import Final

import numpy as np

from laconic.codecs.lossless.direct.conversion.program import Bytes
from laconic.container import FieldReader, FieldWriter
from laconic.errors import CorruptFileError

ONE_OF: Final = 16
"""At most one of so many pixels is an exception."""
_MOST_BYTES: Final = 10
"""Of an exception: below 2^28 four, and three times two."""


def write_exceptions(converted: Bytes, colours: Bytes, writer: FieldWriter) -> None:
    """Write where colours `(height, width, 3)` are not the converted ones, and by how much."""
    found, wanted = converted.reshape(-1, 3), colours.reshape(-1, 3)
    places = np.flatnonzero((found != wanted).any(1))
    fields = FieldWriter()
    fields.integer(len(places))
    gaps = np.diff(places, prepend=-1) - 1
    added = wanted[places] - found[places]  # Modulo 256, as bytes are.
    for gap, channels in zip(gaps.tolist(), added.tolist(), strict=True):
        fields.integer(gap)
        for one in channels:
            fields.integer(one)
    packer = zlib.compressobj(9, wbits=-15)
    data = packer.compress(fields.finish()) + packer.flush()
    writer.integer(len(data))
    writer.raw(data)


def read_exceptions(converted: Bytes, data: bytes) -> None:
    """Read the stream, and add exceptions to converted colours `(height, width, 3)` in place.

    Raises:
        CorruptFileError: they are damaged, too many, or outside the picture.
    """
    flat = converted.reshape(-1, 3)
    most = len(flat) // ONE_OF
    try:
        plain = zlib.decompressobj(-15).decompress(data, _MOST_BYTES * (most + 1))
    except zlib.error as error:
        raise CorruptFileError(f"the exceptions are damaged: {error}") from error
    fields = FieldReader(plain, "the exceptions")
    place = -1
    for _ in range(fields.integer(most, "the number of exceptions")):
        place += 1 + fields.integer(len(flat), "a gap")
        added = [fields.integer(255, "a correction") for _ in range(3)]
        if place >= len(flat):
            raise CorruptFileError("an exception is outside the picture")
        flat[place] += np.array(added, np.uint8)
    fields.finish()
