"""Where the bits of a lossy file went: the KL of every place of every level, from the file alone.

The sender paid KL(q || p) for each number, and only it knows q. But the prior's scale s is given in
units of the posterior's usual width, and the draw u, standardised by the prior, is in the file. For
a posterior of variance s² / (1 + s²) around the draw the KL is

    e + (u² - 1) / 2 nats on average, e = ½ ln(1 + s²), the prior's expected rate.

The first term is multiplied by one factor for each level, so that the level has the KL which the
header records; where it records only the sum of all levels, each has a share of it in proportion to
its bytes. Priors without expected rates have e = 1 everywhere.
"""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Normal

from laconic.codecs.image.decoder import Runtime, TileReader
from laconic.codecs.image.file import ImageFile
from laconic.codecs.image.tiles import Tile
from laconic.distributions.rated import RatedNormal
from laconic.progress import Progress, silent
from laconic.threads import each, using

RATE_UNITS = 256
"""`RatedNormal.rates` counts in parts of a bit."""


@dataclass(frozen=True)
class LevelBits:
    """Where the bits of one level went.

    Attributes:
        bits: estimated KL of each place in bits, all channels together, float32, shape `(rows,
            columns)`; the sum over levels is the KL in the header. Places may lie past the right
            and lower edge, where the codec pads the picture.
        cell: rows and columns of pixels that one place stands for.
    """

    bits: NDArray[np.float32]
    cell: tuple[int, int]

    def per_pixel(self, height: int, width: int) -> NDArray[np.float32]:
        """Bits per pixel at every pixel, `(height, width)`."""
        rows, columns = self.cell
        density = self.bits / np.float32(rows * columns)
        return np.repeat(np.repeat(density, rows, 0), columns, 1)[:height, :width]


def join_levels(levels: Sequence[LevelBits]) -> LevelBits:
    """The sum of all levels, on the finest grid that has every place of each."""
    rows, columns = (math.gcd(*(level.cell[axis] for level in levels)) for axis in range(2))
    finer = []
    for level in levels:
        down, across = level.cell[0] // rows, level.cell[1] // columns
        spread = np.repeat(np.repeat(level.bits / (down * across), down, 0), across, 1)
        finer.append(spread)
    size = [max(one.shape[axis] for one in finer) for axis in range(2)]
    total = np.zeros(size, np.float32)
    for one in finer:
        total[: one.shape[0], : one.shape[1]] += one
    return LevelBits(total, (rows, columns))


def bits_map(
    file: ImageFile, runtime: Runtime, progress: Progress = silent
) -> tuple[LevelBits, ...]:
    """The estimated KL of every place of a lossy file; only its latents are decoded.

    Args:
        file: a lossy file.
        runtime: the model that wrote it.
        progress: called with tiles done and tiles in all.

    Returns:
        One map for each level, top first.

    Raises:
        CorruptFileError: the file is damaged.
        UnsupportedFileError: it needs another coder.
    """
    maps = _Maps(file, runtime.model.stride)
    reader = TileReader(file.header, file.latents(), runtime, watch=maps.add)
    tiles = list(enumerate(file.header.plan))

    def read(one: tuple[int, Tile]) -> None:
        with runtime.running(reader.alone):
            reader.latents(*one)

    done = 0

    def tick(_: object) -> None:
        nonlocal done
        done += 1
        progress(done, len(tiles))

    with using(runtime.threads, reader.alone):
        each(read, tiles, done=tick)
    return maps.finish()


def _ideal_bits(file: ImageFile) -> list[float]:
    """The KL of each level, or its share of the whole."""
    info = file.describe()
    if all(level.ideal_bits is not None for level in info.levels):
        return [float(level.ideal_bits or 0) for level in info.levels]
    written = max(1, sum(level.bits for level in info.levels))
    return [info.ideal_bits * level.bits / written for level in info.levels]


class _Maps:
    """Sums over channels of both terms, placed in the whole picture.

    Args:
        file: gives the size, and the KL of every level.
        stride: of the model; tiles are padded to multiples of it.
    """

    def __init__(self, file: ImageFile, stride: int) -> None:
        self._plan, self._stride = file.header.plan, stride
        self._ideal = _ideal_bits(file)
        self._cells: dict[int, tuple[int, int]] = {}
        self._sums: dict[int, NDArray[np.float64]] = {}
        self._lock = threading.Lock()

    def add(self, tile: Tile, level: int, prior: Normal, latent: Tensor) -> None:
        """Add the latents of a level of a tile, `(1, channels, rows, columns)`."""
        u = (latent.double() - prior.loc.double()) / prior.scale.double().clamp_min(1e-30)
        expected = torch.ones_like(u)
        if isinstance(prior, RatedNormal):
            expected = prior.rates.double() / RATE_UNITS
        excess = (u.square() - 1) / (2 * math.log(2))
        terms = torch.stack([expected, excess]).sum((1, 2)).cpu().numpy()
        with self._lock:
            self._place(tile, level, terms)

    def _place(self, tile: Tile, level: int, terms: NDArray[np.float64]) -> None:
        """Add `(2, rows, columns)` at the place of a tile."""
        sides, stride = (tile.height, tile.width), self._stride
        padded = [-(-side // stride) * stride for side in sides]
        rows, columns = (p // n for p, n in zip(padded, terms.shape[1:], strict=True))
        if level not in self._cells:
            size = [-(-side // stride) * stride for side in (self._plan.height, self._plan.width)]
            places = -(-size[0] // rows), -(-size[1] // columns)
            self._cells[level], self._sums[level] = (rows, columns), np.zeros((2, *places))
        top, left = tile.top // rows, tile.left // columns
        here = self._sums[level][:, top : top + terms.shape[1], left : left + terms.shape[2]]
        here += terms[:, : here.shape[1], : here.shape[2]]

    def finish(self) -> tuple[LevelBits, ...]:
        """The maps."""
        found = []
        for level, ideal in enumerate(self._ideal):
            expected, excess = self._sums[level]
            bits = _scale(expected, excess, ideal)
            found.append(LevelBits(bits.astype(np.float32), self._cells[level]))
        return tuple(found)


def _scale(
    expected: NDArray[np.float64], excess: NDArray[np.float64], ideal_bits: float
) -> NDArray[np.float64]:
    """Both terms joined so that the sum is the level's KL; no place has less than 0 bits."""
    factor = (ideal_bits - excess.sum()) / max(float(expected.sum()), 1e-30)
    bits = np.maximum(factor * expected + excess, 0)
    total = float(bits.sum())
    return bits * (ideal_bits / total) if total else np.full_like(bits, ideal_bits / bits.size)
