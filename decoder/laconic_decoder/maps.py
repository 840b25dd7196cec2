"""Maps: densities on a cubic grid (docs/format.md, "Maps")."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .coding import Range
from .container import Array, Fields, Lac, inflate, need
from .network import Contexts, read_matrix, undo_dependence

MRC_BYTES = 1024
MODES = {0: "<i1", 1: "<i2", 2: "<f4", 6: "<u2", 12: "<f2"}


class Map(NamedTuple):
    """A density with axes z, y, x, and the header of its MRC file."""

    density: Array
    header: bytes
    extended: bytes

    def mrc(self) -> bytes:
        """The MRC file."""
        kind = np.dtype(MODES[int(np.frombuffer(self.header, "<i4", 1, 12)[0])])
        axes = np.frombuffer(self.header, "<i4", 3, 64)[::-1].tolist()
        places = [axes.index(k) for k in (3, 2, 1)] if sorted(axes) == [1, 2, 3] else [0, 1, 2]
        numbers = np.transpose(self.density, np.argsort(places))
        if kind.kind == "f":
            limit = float(np.finfo(kind).max)
            numbers = np.clip(numbers, -limit, limit).astype(kind)
        else:
            bounds = np.iinfo(kind)
            numbers = np.clip(np.rint(numbers), bounds.min, bounds.max).astype(kind)
        header = bytearray(self.header)
        header[:12] = np.array([len(numbers)] * 3, "<i4").tobytes()
        mean, spread = (f(numbers, dtype=np.float64) for f in (np.mean, np.std))
        header[76:88] = np.array([numbers.min(), numbers.max(), mean], "<f4").tobytes()
        header[92:96] = len(self.extended).to_bytes(4, "little")
        header[208:216] = b"MAP \x44\x44\0\0"
        header[216:220] = np.array([spread], "<f4").tobytes()
        return b"".join([header, self.extended, numbers.tobytes()])


def read_header(fields: Fields) -> tuple[int, int, Array]:
    """Voxels along the edge of the map and of a block; the steps of the shells."""
    need(fields.integer() == 1, "a map of a newer revision: use a newer decoder")
    size, block = fields.integer(1290, 2), (8, 16)[fields.integer(1)]
    fields.integer(10**6)
    fields.integer()
    steps = np.cumsum([max(-961, min(961, fields.signed())) for _ in range(size // 2 + 1)])
    need(np.abs(steps).max() <= 480, "a step of a map is out of range")
    need(fields.place == len(fields.data), "the header of a map is too long")
    return size, block, steps


def decode_map(lac: Lac) -> Map:
    """Decode a map file."""
    size, block, steps = read_header(lac.header)
    data, count = lac.one("blocks"), -(-size // block)
    need((count * block) ** 3 <= len(data) << 15, "a map has too few bytes")
    mrc = inflate(lac.one("mrc"), 1 << 24)
    need(len(mrc) >= MRC_BYTES, "the MRC header of a map is cut short")
    need(int.from_bytes(mrc[12:16], "little") in MODES, "a map of numbers of an unknown type")
    q = read_matrix(Range(data), (count**3, block**3), Contexts(), signed=True)
    values = undo_dependence(q, 0)[0].astype(np.float64)
    cubes = values.reshape((count,) * 3 + (block,) * 3).transpose(0, 3, 1, 4, 2, 5)
    basis = cosines(block)
    for axis in (1, 3, 5):
        cubes = np.moveaxis(np.tensordot(basis, cubes, (0, axis)), 0, axis)
    whole = cubes.reshape((count * block,) * 3)[:size, :size, :size]
    spectrum = np.fft.rfftn(whole) * 2.0 ** (steps[shells(size)] / 8)
    with np.errstate(over="ignore"):
        density = np.fft.irfftn(spectrum, s=(size,) * 3, axes=(0, 1, 2)).astype(np.float32)
    need(np.isfinite(density).all(), "a map holds numbers that are not finite")
    return Map(density, mrc[:MRC_BYTES], mrc[MRC_BYTES:])


def cosines(block: int) -> Array:
    """The orthonormal cosine transform: frequencies, voxels."""
    k, j = np.arange(block)[:, None], np.arange(block)
    basis = np.cos(np.pi * k * (2 * j + 1) / (2 * block)) * np.sqrt(2 / block)
    basis[0] = np.sqrt(1 / block)
    return basis


def shells(size: int) -> Array:
    """The shell of each place of a half spectrum."""
    whole, half = np.fft.fftfreq(size, 1 / size) ** 2, np.fft.rfftfreq(size, 1 / size) ** 2
    radius = np.sqrt(whole[:, None, None] + whole[:, None] + half)
    return np.minimum(np.rint(radius).astype(np.int64), size // 2)
