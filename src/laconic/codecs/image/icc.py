"""Colour profiles from numbers: primaries and a tone curve, as an ICC profile of half a kilobyte.

Source: ISO 15076-1 (ICC.1:2010), chapters 7 to 10.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

XY = tuple[float, float]
D50: Final = (0.9642, 1.0, 0.8249)
"""The white of all profiles. Source: ICC.1:2010, 7.2.16."""
BRADFORD: Final = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
"""From XYZ to the cones in which whites are exchanged. Source: ICC.1:2010, annex E."""
HEADER_BYTES: Final = 128
VERSION: Final = 0x04300000
TONE_TAGS: Final = ("rTRC", "gTRC", "bTRC")
COLOUR_TAGS: Final = ("rXYZ", "gXYZ", "bXYZ")


@dataclass(frozen=True)
class Primaries:
    """Chromaticities of white, red, green and blue."""

    white: XY
    red: XY
    green: XY
    blue: XY


D65: Final = (0.3127, 0.3290)
BT_709: Final = Primaries(D65, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
"""Those of sRGB too."""


@dataclass(frozen=True)
class Curve:
    """From a sample v in [0, 1] to light.

    Formula: v^gamma where `linear` is None; else ((v + a) / (1 + a))^gamma from v = `knee` on, and
    v / `linear` below.

    Attributes:
        gamma: the exponent.
        offset: a.
        linear: how many times steeper the other way round the lowest part is.
        knee: where it ends.
    """

    gamma: float
    offset: float = 0.0
    linear: float | None = None
    knee: float = 0.0


SRGB: Final = Curve(2.4, 0.055, 12.92, 0.04045)
"""Source: IEC 61966-2-1."""


def make_profile(curve: Curve, primaries: Primaries | None) -> bytes:
    """An ICC profile.

    Args:
        curve: of all channels.
        primaries: None for grey.

    Raises:
        ValueError: the primaries lie on a line, or a number is no positive one.
    """
    white = D65 if primaries is None else primaries.white
    tags = {
        "desc": _text("from the file's colour chunks"),
        "cprt": _text("no copyright"),
        "wtpt": _xyz(D50),
        "chad": _matrix(_adaptation(white)),
    }
    tone = _curve(curve)
    if primaries is None:
        tags["kTRC"] = tone
    else:
        columns = _colorants(primaries).T
        tags |= {tag: _xyz(tuple(column)) for tag, column in zip(COLOUR_TAGS, columns, strict=True)}
        tags |= dict.fromkeys(TONE_TAGS, tone)
    return _assemble(tags, b"GRAY" if primaries is None else b"RGB ")


def _assemble(tags: Mapping[str, bytes], space: bytes) -> bytes:
    """Header, table of tags, data; equal data are stored once."""
    start, body, places = HEADER_BYTES + 4 + 12 * len(tags), b"", dict[bytes, int]()
    for data in tags.values():
        if data not in places:
            places[data] = start + len(body)
            body += data + bytes(-len(data) % 4)
    table = struct.pack(">I", len(tags)) + b"".join(
        struct.pack(">4sII", tag.encode(), places[data], len(data)) for tag, data in tags.items()
    )
    date = struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
    header = struct.pack(">I4xI4s4s4s", start + len(body), VERSION, b"mntr", space, b"XYZ ")
    header += date + b"acsp" + bytes(28) + b"".join(map(_fixed, D50))
    return header.ljust(HEADER_BYTES, b"\0") + table + body


def _adaptation(white: XY) -> NDArray[np.float64]:
    """From XYZ under a white to XYZ under D50."""
    scale = (BRADFORD @ np.array(D50)) / (BRADFORD @ _white_xyz(white))
    found: NDArray[np.float64] = np.linalg.inv(BRADFORD) @ np.diag(scale) @ BRADFORD
    return found


def _colorants(primaries: Primaries) -> NDArray[np.float64]:
    """XYZ of full red, green and blue under D50, in columns."""
    corners = (primaries.red, primaries.green, primaries.blue)
    directions = np.array([[x, y, 1 - x - y] for x, y in corners]).T
    if abs(np.linalg.det(directions)) < 1e-6:
        raise ValueError("red, green and blue lie on a line")
    strengths = np.linalg.solve(directions, _white_xyz(primaries.white))
    found: NDArray[np.float64] = _adaptation(primaries.white) @ (directions * strengths)
    return found


def _white_xyz(white: XY) -> NDArray[np.float64]:
    x, y = white
    if not (0 < x < 1 and 0 < y < 1):
        raise ValueError(f"white is at {white}")
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _curve(curve: Curve) -> bytes:
    """A parametric curve, types 0 and 3."""
    if curve.linear is None:
        return b"para" + struct.pack(">4xHxx", 0) + _fixed(curve.gamma)
    scale = 1 + curve.offset
    numbers = (curve.gamma, 1 / scale, curve.offset / scale, 1 / curve.linear, curve.knee)
    return b"para" + struct.pack(">4xHxx", 3) + b"".join(map(_fixed, numbers))


def _text(text: str) -> bytes:
    """A text in one language."""
    data = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">4xII2s2sII", 1, 12, b"en", b"US", len(data), 28) + data


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(map(_fixed, values))


def _matrix(matrix: NDArray[np.float64]) -> bytes:
    return b"sf32" + bytes(4) + b"".join(map(_fixed, matrix.ravel()))


def _fixed(value: float) -> bytes:
    """s15Fixed16: a number in units of 2^-16."""
    if not abs(value) < 2**15:
        raise ValueError(f"{value} is too large for a colour profile")
    return struct.pack(">i", round(float(value) * 65536))
