"""Samples of 8 bits by least squares and context mixing: photographs.

Data: for each channel in coding order two integers, its sample at the top left and its largest
sample. An integer: bit k is set if differences from the channel coded before help the k-th. For
each channel an integer, the number of its bytes; then these bytes. Of three and four channels the
second comes first (`coding.least_squares`). A channel without bytes has one value.
"""

from typing import ClassVar, Final, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from laconic.codecs.image.tiles import MAX_TILE_PIXELS
from laconic.codecs.lossless.core import Samples
from laconic.codecs.lossless.direct.base import ORDERS, DirectMethod
from laconic.container import FieldReader, FieldWriter
from laconic.errors import CorruptFileError

Number = TypeVar("Number", bound=np.generic)
LARGEST: Final = 255
COLOURS: Final = 3
"""Channels in coding order that are predicted from each other, of three or four."""


@final
class Squares(DirectMethod):
    """8 bits, up to `MAX_TILE_PIXELS`."""

    number: ClassVar[int] = 7
    name: ClassVar[str] = "least squares"

    def encode(self, samples: Samples, effort: int) -> bytes | None:
        """Write samples; None where they have another depth, or take more bytes than in memory."""
        from laconic.coding.least_squares.samples import encode_planes

        height, width, channels = samples.shape
        if samples.dtype != np.uint8 or height * width > MAX_TILE_PIXELS:
            return None
        planes = np.stack([samples[..., k] for k in ORDERS[channels]]).astype(np.uint8)
        differences = _differences_help(planes)
        parts = encode_planes(planes, differences)
        writer = FieldWriter()
        for plane in planes:
            writer.integer(int(plane[0, 0]))
            writer.integer(int(plane.max()))
        writer.integer(sum(1 << k for k, help_ in enumerate(differences) if help_))
        for part in parts:
            writer.integer(len(part))
        data = writer.finish() + b"".join(parts)
        return data if len(data) <= samples.nbytes else None

    def decode(self, data: bytes, height: int, width: int, channels: int, bits: int) -> Samples:
        """Read them back."""
        if bits != 8:
            raise CorruptFileError(f"samples of {bits} bits are not coded by least squares")
        return _read(data, (channels, height, width))[0]

    def bits(self, data: bytes, height: int, width: int, channels: int) -> NDArray[np.float64]:
        """Bits of each sample; those of the first one are not counted."""
        return _read(data, (channels, height, width), measured=True)[1]


def _read(
    data: bytes, shape: tuple[int, int, int], measured: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Samples `(height, width, channels)`, and their bits if they are measured."""
    from laconic.coding.least_squares.samples import NOTHING, decode_planes

    channels, height, width = shape
    if height * width > MAX_TILE_PIXELS:
        raise CorruptFileError(f"{width} x {height} samples are too many for least squares")
    reader = FieldReader(data, "the picture")
    first, largest = [], []
    for _ in range(channels):
        first.append(reader.integer(LARGEST, "a first sample"))
        largest.append(reader.integer(LARGEST, "a largest sample"))
        if first[-1] > largest[-1]:
            raise CorruptFileError("the first sample is larger than the largest")
    flags = reader.integer((1 << channels) - 1, "which channels are differences")
    differences = [bool(flags >> k & 1) for k in range(channels)]
    if any(help_ and not 0 < k < _related(channels) for k, help_ in enumerate(differences)):
        raise CorruptFileError("a channel is a difference from none")
    sizes = [reader.integer(reader.left, "the bytes of a channel") for _ in range(channels)]
    parts = [reader.raw(size) for size in sizes]
    spent = np.zeros(shape) if measured else NOTHING
    planes = decode_planes(parts, shape, first, largest, differences, spent)
    return _in_order(planes), _in_order(spent) if measured else spent


def _in_order(planes: NDArray[Number]) -> NDArray[Number]:
    """Planes in coding order to `(height, width, channels)`."""
    found = np.empty((*planes.shape[1:], len(planes)), planes.dtype)
    for plane, channel in zip(planes, ORDERS[len(planes)], strict=True):
        found[..., channel] = plane
    return found


def _related(channels: int) -> int:
    """Channels in coding order that are predicted from each other."""
    return COLOURS if channels >= COLOURS else 1


def _differences_help(planes: NDArray[np.uint8]) -> list[bool]:
    """Of each plane, whether its differences from the one before are flatter than its samples."""
    found = [False] * len(planes)
    for k in range(1, _related(len(planes))):
        plane = planes[k].astype(np.int16)
        difference = plane - planes[k - 1]
        found[k] = _roughness(difference) < _roughness(plane)
    return found


def _roughness(plane: NDArray[np.int16]) -> int:
    """Sum of absolute differences of neighbours."""
    return sum(int(np.abs(np.diff(plane, axis=axis)).sum(dtype=np.int64)) for axis in (0, 1))
