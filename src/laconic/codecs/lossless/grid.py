"""Large pictures as tiles without overlap, about equal: at most two heights and two widths.

Tile row k of r covers rows floor(k h / r) up to floor((k + 1) h / r) of h; columns likewise.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from laconic.codecs.image.tiles import MAX_SIDE, MAX_TILE_PIXELS, Tile
from laconic.errors import CorruptFileError
from laconic.limits import MAX_PIXELS

TILE_SIDE: Final = 512
"""No tile is higher or wider; a choice of the writer, not of the format."""
DIRECT_TILE_SIDE: Final = 1024
"""The same of tiles that are coded without the model."""
MAX_TILES: Final = 1 << 16


@dataclass(frozen=True)
class Grid:
    """How pictures of one size are cut.

    Attributes:
        height: rows of a picture.
        width: columns of a picture.
        rows: of tiles.
        columns: of tiles.
        most: pixels of a tile, at most.
    """

    height: int
    width: int
    rows: int = 1
    columns: int = 1
    most: int = MAX_TILE_PIXELS

    def __post_init__(self) -> None:
        """Raise `CorruptFileError` on absurd integers."""
        height, width = self.height, self.width
        if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE and height * width <= MAX_PIXELS):
            raise CorruptFileError(
                f"{width} x {height} pixels are impossible: sides go from 1 to {MAX_SIDE}, their "
                f"product to {MAX_PIXELS}"
            )
        fits = 0 < self.rows <= height and 0 < self.columns <= width and self.count <= MAX_TILES
        if not fits or -(-height // self.rows) * -(-width // self.columns) > self.most:
            raise CorruptFileError(
                f"{self.columns} x {self.rows} tiles are impossible for {width} x {height} pixels"
            )

    @property
    def count(self) -> int:
        """Tiles of a picture."""
        return self.rows * self.columns

    @property
    def even(self) -> bool:
        """Whether all tiles have the same size."""
        return self.height % self.rows == 0 and self.width % self.columns == 0

    def __iter__(self) -> Iterator[Tile]:
        """Tiles row by row."""
        for top, bottom in _spans(self.height, self.rows):
            for left, right in _spans(self.width, self.columns):
                yield Tile(top, bottom, left, right)

    def by_size(self) -> dict[tuple[int, int], list[Tile]]:
        """Tiles row by row under their height and width; sizes in order of appearance."""
        sizes: dict[tuple[int, int], list[Tile]] = {}
        for tile in self:
            sizes.setdefault((tile.height, tile.width), []).append(tile)
        return sizes


def plan_grid(height: int, width: int) -> Grid:
    """As few tiles as `TILE_SIDE` allows."""
    return Grid(height, width, -(-height // TILE_SIDE), -(-width // TILE_SIDE))


def plan_direct(height: int, width: int) -> Grid:
    """One tile, or where a picture is large as few as `DIRECT_TILE_SIDE` allows."""
    if height * width <= MAX_TILE_PIXELS:
        return Grid(height, width, most=MAX_PIXELS)
    sides = -(-height // DIRECT_TILE_SIDE), -(-width // DIRECT_TILE_SIDE)
    return Grid(height, width, *sides, most=MAX_PIXELS)


def _spans(length: int, count: int) -> list[tuple[int, int]]:
    return [(k * length // count, (k + 1) * length // count) for k in range(count)]
