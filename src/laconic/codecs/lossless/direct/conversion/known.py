"""Conversions that cameras, scanners and decoders do.

Components are in the order that they take in the place of red, green and blue: the second chroma V
(of red), luma Y, the first chroma U (of blue), each 0 to 255.

Formulas, with u = U - 128 and v = V - 128 unless said otherwise:

- JPEG, as libjpeg computes it (jdcolor.c, 16 fractional bits; ITU-T T.871):
  R = Y + 1.402 v, G = Y - 0.344136 u - 0.714136 v, B = Y + 1.772 u.
- WebP, as libwebp computes it (dsp/yuv.h): products >> 8, sums >> 6, luma of 16 to 235.
- Photo CD (Kodak), u = U - 156, v = V - 137: c = floor(2.2179 u), d = floor(1.8215 v),
  R = floor(1.3584 Y + 1.8215 v), G = floor(1.3584 Y - 0.194 c - 0.509 d),
  B = floor(1.3584 Y + 2.2179 u). The constants are Kodak's; where it rounds, and that G is less by
  less than 10^-4, is measured on its pictures.
- AVIF, as libyuv computes it (products and sums >> 6), and HEIF, as libheif computes 4:2:0
  (products >> 8, rounded): measured on what they decode.
- ITU-R BT.601 and BT.709, rounded to nearest, of full range, or of luma 16 to 235 and chroma 16 to
  240: R = y + 2 (1 - k) v, B = y + 2 (1 - l) u, G = (y - k R - l B) / (1 - k - l) with k, l =
  0.299, 0.114 (601) or 0.2126, 0.0722 (709).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from laconic.codecs.lossless.direct.conversion.program import Affine, Bytes, Program, Term

Real = NDArray[np.float32]
Flags = NDArray[np.bool_]
BITS: Final = 20
"""Fractional bits of coefficients that are real numbers."""


@dataclass(frozen=True)
class Known:
    """A known conversion.

    Attributes:
        name: for people.
        program: components to colours.
    """

    name: str
    program: Program

    @cached_property
    def affine(self) -> Affine:
        """The program with real numbers."""
        return self.program.affine

    @cached_property
    def inverse(self) -> Affine:
        """The other way: components = matrix @ colours + offset."""
        matrix = np.linalg.inv(self.affine.matrix).astype(np.float64)
        return Affine(matrix, -matrix @ self.affine.offset)

    def nearest(self, colours: Bytes | Real) -> Bytes:
        """The real components of colours `(pixels, 3)`, rounded to 0 to 255."""
        matrix, offset = (part.astype(np.float32) for part in self.inverse)
        real: Real = colours.astype(np.float32) @ matrix.T + offset
        return np.clip(np.rint(real), 0, 255).astype(np.uint8)

    def gives(self, components: Bytes, colours: Bytes) -> Flags:
        """Which components convert to their colours `(pixels, 3)` exactly."""
        same = self.program.run(components) == colours
        every: Flags = same[:, 0] & same[:, 1] & same[:, 2]
        return every


def _row(real: NDArray[np.float64], neutral: tuple[int, int, int], rounding: float) -> Term:
    """floor(real @ (components - neutral) + rounding) as a term, and nothing of terms before."""
    fixed = np.rint(real * 2**BITS).astype(np.int64)
    offset = round(rounding * 2**BITS) - int(fixed @ np.array(neutral))
    return Term(BITS, offset, tuple(fixed.tolist()))


def _padded(*terms: Term) -> Program:
    """Terms with a coefficient of 0 for the terms before that they do not use."""
    return Program(
        tuple(
            Term(shift, offset, (*row, *(0,) * (3 + count - len(row))))
            for count, (shift, offset, row) in enumerate(terms)
        )
    )


def _standard(red: float, blue: float, *, full: bool) -> Program:
    """Of the shares of red and blue in luma, rounded to nearest."""
    green = 1 - red - blue
    luma, chroma = (1.0, 1.0) if full else (255 / 219, 255 / 224)
    v, u = 2 * (1 - red) * chroma, 2 * (1 - blue) * chroma
    rows = (v, luma, 0), (-v * red / green, luma, -u * blue / green), (0, luma, u)
    neutral = 128, 0 if full else 16, 128
    return _padded(*(_row(np.array(row), neutral, 0.5) for row in rows))


def _libyuv(luma: int, add: int, blue: int, greens: tuple[int, int], red: int) -> Program:
    """Luma times 257 * `luma` >> 16, then sums with u and v >> 6; `greens` of u and v."""
    u, v = greens
    return _padded(
        Term(16, 0, (0, 257 * luma, 0)),
        Term(6, add - 128 * red, (red, 0, 0, 1)),
        Term(6, add + 128 * (u + v), (-v, 0, -u, 1)),
        Term(6, add - 128 * blue, (0, 0, blue, 1)),
    )


_JPEG: Final = _padded(
    Term(16, 32768 - 128 * 91881, (91881, 65536, 0)),
    Term(16, 32768 + 128 * (22554 + 46802), (-46802, 65536, -22554)),
    Term(16, 32768 - 128 * 116130, (0, 65536, 116130)),
)
_WEBP: Final = _padded(
    Term(8, 0, (0, 19077, 0)),
    Term(8, 0, (26149, 0, 0)),
    Term(8, 0, (0, 0, 6419)),
    Term(8, 0, (13320, 0, 0)),
    Term(8, 0, (0, 0, 33050)),
    Term(6, -14234, (0, 0, 0, 1, 1)),
    Term(6, 8708, (0, 0, 0, 1, 0, -1, -1)),
    Term(6, -17685, (0, 0, 0, 1, 0, 0, 0, 1)),
)
_HEIF: Final = _padded(
    Term(8, 128 - 128 * 359, (359, 256, 0)),
    Term(8, 128 + 128 * (88 + 183), (-183, 256, -88)),
    Term(8, 128 - 128 * 454, (0, 256, 454)),
)
_GAIN, _U_GAIN, _V_GAIN = (round(one * 2**BITS) for one in (1.3584, 2.2179, 1.8215))
_PHOTO_CD: Final = _padded(
    Term(BITS, -156 * _U_GAIN, (0, 0, _U_GAIN)),
    Term(BITS, -137 * _V_GAIN, (_V_GAIN, 0, 0)),
    Term(BITS, -137 * _V_GAIN, (_V_GAIN, _GAIN, 0)),
    Term(BITS, -50, (0, _GAIN, 0, -round(0.194 * 2**BITS), -round(0.509 * 2**BITS))),
    Term(BITS, -156 * _U_GAIN, (0, _GAIN, _U_GAIN)),
)

KNOWN: Final = (
    Known("JPEG", _JPEG),
    Known("WebP", _WEBP),
    Known("Photo CD", _PHOTO_CD),
    Known("AVIF, full range", _libyuv(16320, 32, 113, (22, 46), 90)),
    Known("AVIF, limited range", _libyuv(18997, -1160, 128, (25, 52), 102)),
    Known("HEIF", _HEIF),
    Known("BT.601, full range", _standard(0.299, 0.114, full=True)),
    Known("BT.601, limited range", _standard(0.299, 0.114, full=False)),
    Known("BT.709, full range", _standard(0.2126, 0.0722, full=True)),
    Known("BT.709, limited range", _standard(0.2126, 0.0722, full=False)),
)
"""The first of those that fit equally well is taken."""
