"""Large images as overlapping tiles, from integers alone.

Along an axis of n pixels, tiles of t pixels start every t - v pixels, v being the overlap; the
last one ends with the image. Their number is ceil((n - v) / (t - v)), so the last tile is always
longer than the overlap.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from laconic.errors import CorruptFileError

MAX_SIDE: Final = 1 << 16
MAX_PIXELS: Final = 1 << 28
MAX_TILE_PIXELS: Final = 1 << 22
"""Images up to this size are one tile, and no tile is larger."""
TILE_SIDE: Final = 2048
OVERLAP: Final = 32


@dataclass(frozen=True)
class Tile:
    """Rows `top:bottom` and columns `left:right` of the image."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left


@dataclass(frozen=True)
class TilePlan:
    """How an image is cut: all that the header says about it.

    Attributes:
        height: rows of the image.
        width: columns of the image.
        tile_height: rows of a tile, but for the last row of tiles.
        tile_width: columns of a tile, but for the last column of tiles.
        overlap: rows and columns that neighbours share.
    """

    height: int
    width: int
    tile_height: int
    tile_width: int
    overlap: int

    def __post_init__(self) -> None:
        """Raise `CorruptFileError` on absurd integers."""
        if not (0 < self.height <= MAX_SIDE and 0 < self.width <= MAX_SIDE):
            raise CorruptFileError(
                f"{self.width} x {self.height} pixels are impossible: sides go from 1 to {MAX_SIDE}"
            )
        if self.height * self.width > MAX_PIXELS:
            raise CorruptFileError(
                f"{self.width} x {self.height} pixels are more than {MAX_PIXELS}"
            )
        sides = (self.tile_height, self.tile_width)
        if min(sides) <= 0 or self.tile_height * self.tile_width > MAX_TILE_PIXELS:
            raise CorruptFileError(f"tiles of {sides[1]} x {sides[0]} pixels are impossible")
        for length, tile in zip((self.height, self.width), sides, strict=True):
            if tile > length or (tile < length and self.overlap >= tile):
                raise CorruptFileError(
                    f"tiles of {tile} with an overlap of {self.overlap} do not fit {length} pixels"
                )

    @property
    def rows(self) -> list[tuple[int, int]]:
        """First row and row past the last, for each row of tiles."""
        return _spans(self.height, self.tile_height, self.overlap)

    @property
    def columns(self) -> list[tuple[int, int]]:
        """First column and column past the last, for each column of tiles."""
        return _spans(self.width, self.tile_width, self.overlap)

    @property
    def count(self) -> int:
        """Number of tiles."""
        return _count(self.height, self.tile_height, self.overlap) * _count(
            self.width, self.tile_width, self.overlap
        )

    def __iter__(self) -> Iterator[Tile]:
        """Tiles row by row, as they follow each other in the file."""
        for top, bottom in self.rows:
            for left, right in self.columns:
                yield Tile(top, bottom, left, right)


def plan_tiles(height: int, width: int, stride: int) -> TilePlan:
    """Cut an image into tiles of about equal size, their sides multiples of `stride`."""
    if height * width <= MAX_TILE_PIXELS:
        return TilePlan(height, width, height, width, 0)
    return TilePlan(height, width, _side(height, stride), _side(width, stride), OVERLAP)


def _side(length: int, stride: int) -> int:
    count = _count(length, min(length, TILE_SIDE), OVERLAP)
    if count == 1:
        return length
    even = -(-(length + (count - 1) * OVERLAP) // count)
    return min(-(-even // stride) * stride, TILE_SIDE)


def _count(length: int, tile: int, overlap: int) -> int:
    return 1 if tile >= length else -(-(length - overlap) // (tile - overlap))


def _spans(length: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    step = tile - overlap
    return [(k * step, min(k * step + tile, length)) for k in range(_count(length, tile, overlap))]


class Canvas:
    """Puts decoded tiles together, blending linearly where they overlap.

    Give the tiles in the plan's order: only one row of tiles is held in floats.
    """

    def __init__(self, plan: TilePlan) -> None:
        self.plan = plan
        self.pixels: NDArray[np.uint8] = np.zeros((plan.height, plan.width, 3), np.uint8)
        self._band = np.zeros((plan.tile_height, plan.width, 3), np.float32)
        self._top = 0

    def add(self, tile: Tile, values: NDArray[np.float32]) -> None:
        """Add a tile of shape `(height, width, 3)` with values in [0, 1]."""
        if tile.top != self._top:
            self._next_band(tile.top)
        plan = self.plan
        down = ramp(tile.height, plan.overlap, tile.top > 0, tile.bottom < plan.height)
        across = ramp(tile.width, plan.overlap, tile.left > 0, tile.right < plan.width)
        weight = down[:, None, None] * across[None, :, None]
        self._band[: tile.height, tile.left : tile.right] += weight * values
        if tile.bottom == plan.height and tile.right == plan.width:
            self._write(tile.bottom)

    def _next_band(self, top: int) -> None:
        """Rows above `top` are complete: round them, keep those that the next tiles share."""
        kept = self._band[top - self._top :].copy()
        self._write(top)
        self._band[: len(kept)] = kept
        self._band[len(kept) :] = 0
        self._top = top

    def _write(self, bottom: int) -> None:
        rows = bottom - self._top
        samples = np.rint(np.clip(self._band[:rows], 0, 1) * np.float32(255))
        self.pixels[self._top : bottom] = samples.astype(np.uint8)


def ramp(length: int, overlap: int, before: bool, after: bool) -> NDArray[np.float32]:
    """Weights along one side of a tile; those of two neighbours add up to one."""
    weights = np.ones(length, np.float32)
    rise = (np.arange(overlap, dtype=np.float32) + 1) / np.float32(overlap + 1)
    if before:
        weights[:overlap] = rise
    if after:
        weights[length - overlap :] = 1 - rise
    return weights
