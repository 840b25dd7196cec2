"""Tiles without overlap: they cover every pixel once, and have at most four sizes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laconic.codecs.lossless.grid import TILE_SIDE, Grid, plan_grid
from laconic.errors import CorruptFileError


@pytest.mark.slow
@given(st.integers(1, 700), st.integers(1, 700), st.integers(1, 9), st.integers(1, 9))
def test_tiles_cover_every_pixel_once(height: int, width: int, rows: int, columns: int) -> None:
    grid = Grid(height, width, min(rows, height), min(columns, width))
    sizes = grid.by_size()
    covered = np.zeros((height, width), np.uint8)
    for (tall, wide), tiles in sizes.items():
        for tile in tiles:
            assert (tile.height, tile.width) == (tall, wide)
            covered[tile.top : tile.bottom, tile.left : tile.right] += 1
    assert (covered == 1).all()
    assert len(sizes) <= 4
    assert sum(map(len, sizes.values())) == grid.count
    assert grid.even == (len(sizes) == 1)
    for side in (0, 1):
        lengths = [size[side] for size in sizes]
        assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("size", [(1, 1), (512, 512), (513, 512), (65536, 4096), (3, 65536)])
def test_planned_tiles_are_few_and_small(size: tuple[int, int]) -> None:
    grid = plan_grid(*size)
    assert max(max(tile) for tile in grid.by_size()) <= TILE_SIDE
    assert grid.count == -(-size[0] // TILE_SIDE) * -(-size[1] // TILE_SIDE)


@pytest.mark.parametrize(
    "numbers",
    [(0, 1, 1, 1), (65537, 1, 1, 1), (65536, 65536, 1, 1), (9, 9, 10, 1), (9, 9, 1, 0),
     (4096, 4096, 1, 1), (65536, 4, 65536, 4)],
)  # fmt: skip
def test_absurd_grids_are_refused(numbers: tuple[int, int, int, int]) -> None:
    with pytest.raises(CorruptFileError, match="impossible"):
        Grid(*numbers)
