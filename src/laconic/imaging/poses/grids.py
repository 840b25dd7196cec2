"""Grids of rotations and of shifts, and how to refine them.

Rotations lie on a spiral over all unit quaternions, of any number of points and of nearly even
density. Its finer levels are cubes of rotation vectors about the points that are kept.

Source: the spiral is that of Alexa, "Super-Fibonacci spirals" (CVPR 2022).
"""

import itertools
import math

import torch
from torch import Tensor

from laconic.errors import InputError
from laconic.imaging.rotations import from_quaternions, from_vectors

TOTAL_ANGLE = 8 * math.pi**2
"""Volume of all rotations, measured by rotation vectors of small angle, in radians^3."""
FIRST, SECOND = math.sqrt(2), 1.533751168755204288118041
"""The spiral's constants: the second solves x^4 = x + 4."""


def spiral(number: int) -> Tensor:
    """Rotations of nearly even density over all: (number, 3, 3), float64.

    Args:
        number: of rotations; they are `spacing` apart.
    """
    place = torch.arange(number, dtype=torch.float64) + 0.5
    share, turn = place / number, 2 * math.pi * place
    inner, outer = share.sqrt(), (1 - share).sqrt()
    first, second = turn / FIRST, turn / SECOND
    columns = [
        outer * torch.cos(second),
        inner * torch.sin(first),
        inner * torch.cos(first),
        outer * torch.sin(second),
    ]
    return from_quaternions(torch.stack(columns, -1))


def rotation_grid(spacing: float, group: Tensor) -> Tensor:
    """Rotations of a given spacing that show a symmetric volume from all sides, once each.

    Of the rotations R S that give the same image, with S in the group, the grid has the one of
    least angle: it keeps about one part in the order of the group.

    Args:
        spacing: of the grid, in degrees: the edge of a cube of each rotation's own volume.
        group: (order, 3, 3) of `rotations.symmetry`.

    Returns:
        (rotations, 3, 3), float64.

    Raises:
        InputError: the spacing is not in (0, 60].
    """
    if not 0 < spacing <= 60:
        raise InputError(f"spacing: {spacing:g} is not in (0, 60] degrees")
    grid = spiral(math.ceil(TOTAL_ANGLE / math.radians(spacing) ** 3))
    # The larger the trace, the smaller the angle.
    traces = torch.einsum("nij,gji->ng", grid, group.to(grid))
    own = torch.einsum("nii->n", grid)
    return grid[own >= traces.amax(1) - 1e-9]


def turned(rotations: Tensor, spacing: float) -> Tensor:
    """Each rotation with its 26 neighbours on a cube of rotation vectors, at half the spacing.

    Args:
        rotations: (..., 3, 3).
        spacing: of the grid that they belong to, in degrees.

    Returns:
        (..., 27, 3, 3); the first is the rotation itself.
    """
    steps = sorted(itertools.product((-1, 0, 1), repeat=3), key=lambda step: sum(map(abs, step)))
    vectors = math.radians(spacing) / 2 * torch.tensor(steps, dtype=torch.float64)
    return from_vectors(vectors) @ rotations.unsqueeze(-3)


def shift_grid(reach: float, spacing: float) -> Tensor:
    """Shifts within a disc: (shifts, 2): x, y in pixels, float64, no shift among them.

    Args:
        reach: radius of the disc in pixels.
        spacing: of the square grid in pixels.
    """
    steps = int(reach / spacing)
    axis = spacing * torch.arange(-steps, steps + 1, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    grid = torch.stack([x, y], -1).flatten(0, 1)
    return grid[grid.norm(dim=1) <= reach + 1e-9]
