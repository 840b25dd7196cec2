"""A map of densities with the header of its MRC file, which readers and codecs share."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from laconic.errors import CorruptFileError

Array = NDArray[np.float32]

HEADER_BYTES: Final = 1024
TYPES: Final = {0: "<i1", 1: "<i2", 2: "<f4", 6: "<u2", 12: "<f2"}
"""Types of the numbers of a map by mode; those of complex numbers are left out."""


@dataclass(frozen=True)
class MapFile:
    """A map with all that its file holds besides.

    Attributes:
        density: (size, size, size), axes (z, y, x).
        header: 1024 bytes of MRC 2014, little-endian.
        extended: what follows the header.
    """

    density: Array
    header: bytes
    extended: bytes = b""

    def __post_init__(self) -> None:
        if len(self.header) != HEADER_BYTES or self.mode not in TYPES:
            raise CorruptFileError("the header of the map is none of an MRC file of real numbers")

    @classmethod
    def of(cls, numbers: NDArray[Any], header: bytes, extended: bytes = b"") -> Self:
        """A map whose axes lie as the header says.

        Args:
            numbers: (size, size, size), sections, rows and columns.
            header: 1024 bytes of MRC 2014, little-endian.
            extended: what follows it.
        """
        axes = np.frombuffer(header, _FIELDS)[0]["axes"]
        density = np.ascontiguousarray(np.transpose(numbers, _places(axes)), np.float32)
        return cls(density, header, extended)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.density, dtype, copy=copy)

    @property
    def mode(self) -> int:
        """The type of the numbers in the file, as MRC counts them."""
        return int(self._fields()["mode"])

    @property
    def pixel_size(self) -> float | None:
        """In angstroms; None where the header names none."""
        header = self._fields()
        found = float(header["width"]) / max(int(header["mx"]), 1)
        return found if 0 < found < float("inf") else None

    def to_bytes(self) -> bytes:
        """The MRC file: little-endian, with numbers and axes as in the file that was read."""
        raw = bytearray(self.header)
        header, kind = np.frombuffer(raw, _FIELDS)[0], np.dtype(TYPES[self.mode])
        numbers = np.transpose(self.density, np.argsort(_places(header["axes"])))
        limits = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
        if kind.kind != "f":
            numbers = np.rint(numbers)
        data = np.clip(numbers, float(limits.min), float(limits.max)).astype(kind)
        header["shape"], header["extended"] = len(data), len(self.extended)
        header["name"], header["stamp"] = b"MAP ", (0x44, 0x44, 0, 0)
        header["range"] = data.min(), data.max(), data.mean(dtype=np.float64)
        header["rms"] = data.std(dtype=np.float64)
        return b"".join([raw, self.extended, data.tobytes()])

    def _fields(self) -> NDArray[np.void]:
        fields: NDArray[np.void] = np.frombuffer(self.header, _FIELDS)[0]
        return fields


_LAYOUT: Final = {
    "shape": ("(3,)<i4", 0),
    "mode": ("<i4", 12),
    "mx": ("<i4", 28),
    "width": ("<f4", 40),
    "axes": ("(3,)<i4", 64),
    "range": ("(3,)<f4", 76),
    "extended": ("<i4", 92),
    "name": ("S4", 208),
    "stamp": ("(4,)u1", 212),
    "rms": ("<f4", 216),
}
_FIELDS: Final = np.dtype(
    {
        "names": list(_LAYOUT),
        "formats": [kind for kind, _ in _LAYOUT.values()],
        "offsets": [offset for _, offset in _LAYOUT.values()],
        "itemsize": HEADER_BYTES,
    }
)
"""The fields of a header that are used or set here: mapc, mapr, maps are `axes`, dmin, dmax, dmean
are `range`, the first of cella is `width`."""


def _places(axes: NDArray[np.int32]) -> list[int]:
    """Where the axes z, y, x lie in an array of the file, from mapc, mapr, maps.

    Axis number 3 is z, 2 is y, 1 is x; some programs store columns along another axis. Axes keep
    their order where the header does not name them.
    """
    order = [int(axis) for axis in axes[::-1]]
    return [order.index(axis) for axis in (3, 2, 1)] if sorted(order) == [1, 2, 3] else [0, 1, 2]
