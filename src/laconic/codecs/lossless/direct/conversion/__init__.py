"""Colours converted from integer luma and chroma, found and coded as luma and chroma."""

from laconic.codecs.lossless.direct.conversion.detection import find_conversion
from laconic.codecs.lossless.direct.conversion.known import Known
from laconic.codecs.lossless.direct.conversion.method import Conversion

__all__ = ["Conversion", "Known", "find_conversion"]
