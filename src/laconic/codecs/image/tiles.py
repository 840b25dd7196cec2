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
from laconic.limits import MAX_PIXELS

MAX_SIDE: Final = 1 << 16
MAX_TILE_PIXELS: Final = 1 << 22
"""Images up to this size are one tile, and no tile is larger."""
TILE_SIDE: Final = 2048
OVERLAP: Final = 32
ROUNDED_ROWS: Final = 256
"""Rows that are rounded at once, so that little memory is needed for it."""


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

    def common(self, other: "Tile") -> "Tile | None":
        """The part that two tiles share, or None."""
        top, bottom = max(self.top, other.top), min(self.bottom, other.bottom)
        left, right = max(self.left, other.left), min(self.right, other.right)
        return Tile(top, bottom, left, right) if top < bottom and left < right else None

    def within(self, other: "Tile") -> tuple[slice, slice]:
        """Its rows and columns in an array of the pixels of `other`."""
        rows = slice(self.top - other.top, self.bottom - other.top)
        return rows, slice(self.left - other.left, self.right - other.left)


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

    @property
    def whole(self) -> Tile:
        """All of the image."""
        return Tile(0, self.height, 0, self.width)

    def touching(self, area: Tile) -> list[tuple[int, Tile]]:
        """The tiles that share pixels with an area, each with its number, in order."""
        return [(k, tile) for k, tile in enumerate(self) if tile.common(area)]


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

    Args:
        plan: of the image.
        area: the part of the image that is wanted; give all tiles that share pixels with it. None:
            all of the image.

    Attributes:
        pixels: of the area, `(height, width, 3)`, once `finish` was called.
    """

    def __init__(self, plan: TilePlan, area: Tile | None = None) -> None:
        self.plan, self.area = plan, area or plan.whole
        self.pixels: NDArray[np.uint8] = np.zeros((self.area.height, self.area.width, 3), np.uint8)
        self._band = np.zeros((plan.tile_height, self.area.width, 3), np.float32)
        self._top = 0

    def add(self, tile: Tile, values: NDArray[np.float32]) -> None:
        """Add a tile of shape `(height, width, 3)` with values in [0, 1]."""
        if tile.top != self._top:
            self._next_band(tile.top)
        plan, area = self.plan, self.area
        down = ramp(tile.height, plan.overlap, tile.top > 0, tile.bottom < plan.height)
        across = ramp(tile.width, plan.overlap, tile.left > 0, tile.right < plan.width)
        wanted = tile.common(Tile(tile.top, tile.bottom, area.left, area.right))
        if wanted is None:
            return
        rows, columns = wanted.within(tile)
        weight = down[:, None, None] * across[None, columns, None]
        place = slice(wanted.left - area.left, wanted.right - area.left)
        self._band[: tile.height, place] += weight * values[rows, columns]

    def finish(self) -> NDArray[np.uint8]:
        """The pixels of the area, once all of its tiles are added."""
        self._write(self.area.bottom)
        return self.pixels

    def _next_band(self, top: int) -> None:
        """Rows above `top` are complete: round them, keep those that the next tiles share."""
        kept = self._band[top - self._top :].copy()
        self._write(top)
        self._band[: len(kept)] = kept
        self._band[len(kept) :] = 0
        self._top = top

    def _write(self, bottom: int) -> None:
        """Round the rows of the area above `bottom` that the band holds."""
        first, last = max(self._top, self.area.top), min(bottom, self.area.bottom)
        for row in range(first, last, ROUNDED_ROWS):
            end = min(row + ROUNDED_ROWS, last)
            values = self._band[row - self._top : end - self._top]
            samples = np.rint(np.clip(values, 0, 1) * np.float32(255))
            self.pixels[row - self.area.top : end - self.area.top] = samples.astype(np.uint8)


def ramp(length: int, overlap: int, before: bool, after: bool) -> NDArray[np.float32]:
    """Weights along one side of a tile; those of two neighbours add up to one."""
    weights = np.ones(length, np.float32)
    rise = (np.arange(overlap, dtype=np.float32) + 1) / np.float32(overlap + 1)
    if before:
        weights[:overlap] = rise
    if after:
        weights[length - overlap :] = 1 - rise
    return weights
