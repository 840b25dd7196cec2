"""Grids of rotations: even density, no gaps, one of each set of symmetric poses."""

import math

import pytest
import torch

from laconic.errors import InputError
from laconic.imaging.poses import grids
from laconic.imaging.rotations import distance, symmetry, uniform


@pytest.mark.parametrize("spacing", [15.0, 30.0])
def test_no_rotation_is_far_from_the_grid(spacing: float) -> None:
    """A cube's corner is 0.87 edges from its middle; of 300 rotations none is farther."""
    turns = uniform(300, torch.Generator().manual_seed(0))
    grid = grids.rotation_grid(spacing, symmetry("C1"))
    traces = torch.einsum("aij,bij->ab", turns, grid).amax(1)
    angles = torch.rad2deg(torch.arccos(((traces - 1) / 2).clamp(-1, 1)))
    assert float(angles.max()) < 0.9 * spacing


@pytest.mark.parametrize(
    ("name", "order", "spacing"), [("C4", 4, 20), ("D7", 14, 20), ("O", 24, 12), ("I1", 60, 8)]
)
def test_a_symmetric_grid_has_each_image_once(name: str, order: int, spacing: float) -> None:
    group = symmetry(name)
    whole, part = (grids.rotation_grid(spacing, g) for g in (symmetry("C1"), group))
    assert len(whole) / len(part) == pytest.approx(order, rel=0.06)
    turns = uniform(40, torch.Generator().manual_seed(1))
    pairs = turns[:, None].expand(-1, len(part), -1, -1)
    nearest = distance(pairs, part.expand_as(pairs), group).amin(1)
    assert float(nearest.max()) < 0.95 * spacing


def test_neighbours_lie_on_a_cube_of_half_the_spacing() -> None:
    turn = uniform(1, torch.Generator().manual_seed(2))
    cube = grids.turned(turn, 8.0)[0]
    angles = distance(cube, turn.expand_as(cube))
    assert torch.allclose(cube[0], turn[0])
    assert angles.sort().values[1:7].tolist() == pytest.approx([4.0] * 6)
    assert float(angles.max()) == pytest.approx(4 * math.sqrt(3))


def test_shifts_fill_a_disc() -> None:
    grid = grids.shift_grid(2.0, 1.0)
    assert len(grid) == 13
    assert grids.shift_grid(0.0, 1.0).tolist() == [[0.0, 0.0]]


def test_a_spacing_of_zero_is_refused() -> None:
    with pytest.raises(InputError, match="spacing: 0"):
        grids.rotation_grid(0.0, symmetry("C1"))
