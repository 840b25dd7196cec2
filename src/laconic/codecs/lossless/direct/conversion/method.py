"""Colours that were converted from luma and chroma, coded as these: decoded photographs, mostly.

A picture that was a JPEG, WebP, AVIF or HEIF file, a Photo CD or a frame of a film has integer luma
and chroma; of all colours only 1 of 4 (JPEG) to 1 of 9 (Photo CD) are those of some, so colours
take up to two or three bits a pixel more.

Data: the program that gives colours from components (`program`), the pixels that it does not give
(`exceptions`), an integer, the method of the components, and its data: samples of 8 bits of the
same size, components in place of red, green and blue, alpha as it is. The components are the second
chroma, luma, the first chroma: methods code the second channel first.
"""

from typing import ClassVar, Final, cast, final

import numpy as np
from numpy.typing import NDArray

from laconic.codecs.lossless.core import Samples
from laconic.codecs.lossless.direct.base import SMALL, THOROUGH, DirectMethod
from laconic.codecs.lossless.direct.contexts import Contexts
from laconic.codecs.lossless.direct.conversion.detection import find_conversion
from laconic.codecs.lossless.direct.conversion.exceptions import (
    read_exceptions,
    write_exceptions,
)
from laconic.codecs.lossless.direct.conversion.inverse import invert
from laconic.codecs.lossless.direct.conversion.known import Known
from laconic.codecs.lossless.direct.conversion.program import Bytes, Program
from laconic.codecs.lossless.direct.plain import Plain
from laconic.codecs.lossless.direct.png import Png
from laconic.codecs.lossless.direct.sketch import Sketch
from laconic.codecs.lossless.direct.squares import Squares
from laconic.codecs.lossless.direct.webp import WebP
from laconic.container import FieldReader, FieldWriter
from laconic.errors import CorruptFileError, UnsupportedFileError

_FAST: Final[tuple[DirectMethod, ...]] = (Plain(), WebP(), Png())
_ALL: Final[tuple[DirectMethod, ...]] = (*_FAST, Contexts())
_PHOTOGRAPHS: Final[tuple[DirectMethod, ...]] = (Squares(),)
"""Methods that are tried for photographs."""
INNER: Final[dict[int, DirectMethod]] = {method.number: method for method in (*_ALL, *_PHOTOGRAPHS)}
"""Methods that code the components."""


@final
class Conversion(DirectMethod):
    """8 bits of three or four channels that were converted.

    Args:
        known: the conversion, if it has been found; so all tiles of a picture have the same.
    """

    number: ClassVar[int] = 8
    name: ClassVar[str] = "conversion"

    def __init__(self, known: Known | None = None) -> None:
        self._known = known

    def encode(self, samples: Samples, effort: int) -> bytes | None:
        """Write samples; None where no conversion is found, or more than 1 of 32 do not fit."""
        if samples.dtype != np.uint8 or samples.shape[2] < 3:
            return None
        known = self._known or find_conversion(samples)
        if known is None:
            return None
        pixels = cast(Bytes, samples)
        components = invert(pixels[..., :3], known)
        if components is None:
            return None
        writer = FieldWriter()
        known.program.write(writer)
        write_exceptions(known.program.run(components), pixels[..., :3], writer)
        number, data = _encode_inner(np.dstack([components, pixels[..., 3:]]), effort)
        writer.integer(number)
        return writer.finish() + data

    def decode(self, data: bytes, height: int, width: int, channels: int, bits: int) -> Samples:
        """Read them back."""
        if bits != 8 or channels < 3:
            raise CorruptFileError(f"{channels} channels of {bits} bits have no conversion")
        program, exceptions, method, rest = _take_apart(data)
        samples = cast(Bytes, method.decode(rest, height, width, channels, bits))
        colours = program.run(samples[..., :3])
        read_exceptions(colours, exceptions)
        return np.dstack([colours, samples[..., 3:]])

    def bits(
        self, data: bytes, height: int, width: int, channels: int
    ) -> NDArray[np.float64] | None:
        """Bits of each component; exceptions are not counted."""
        *_, method, rest = _take_apart(data)
        return method.bits(rest, height, width, channels)


def _take_apart(data: bytes) -> tuple[Program, bytes, DirectMethod, bytes]:
    """The program, the exceptions, the method of the components, and its data."""
    reader = FieldReader(data, "the picture")
    program = Program.read(reader)
    exceptions = reader.raw(reader.integer(reader.left, "the length of the exceptions"))
    number = reader.integer(what="the method of the components")
    if number not in INNER:
        raise UnsupportedFileError(
            f"the file has luma and chroma coded by method {number}, which this laconic does "
            "not know; update laconic"
        )
    return program, exceptions, INNER[number], reader.raw(reader.left)


def _encode_inner(samples: Bytes, effort: int) -> tuple[int, bytes]:
    """The method that takes the fewest bytes for components, and the bytes."""
    small = samples.shape[0] * samples.shape[1] <= SMALL
    methods = _FAST
    if effort > 0 and (small or effort >= THOROUGH or Sketch.of(samples).drawn):
        methods = (*_ALL, *_PHOTOGRAPHS)
    elif effort > 0:
        methods = (_FAST[0], *_PHOTOGRAPHS)
    tried = ((method.number, method.encode(samples, effort)) for method in methods)
    found = [(number, data) for number, data in tried if data is not None]
    return min(found, key=lambda one: len(one[1]))
