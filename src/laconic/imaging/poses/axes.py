"""The axes of a symmetric volume: the rotation that lays them where the group's name says.

A volume is symmetric if slices at R A and at R A S are equal, for all S of the group. The rotation
A of the largest correlation is searched on a grid, then with steps that halve.
"""

import torch
from torch import Tensor
from torch.nn import functional

from laconic.imaging.poses.grids import rotation_grid, turned
from laconic.imaging.poses.samples import Middle, Plane
from laconic.imaging.rotations import uniform
from laconic.imaging.slices import to_spectrum

SPACING = 8.0
HALVINGS = 6
KEPT = 6
VIEWS = 3
"""Slices that are compared."""
PROBES = 200
"""Slices whose mean and spread are what all have."""
ALIGNED = 0.98
"""Of the best correlation; with more, the volume is left as it is."""


def laid_on_axes(volume: Tensor, group: Tensor, band: float) -> tuple[Tensor, Tensor]:
    """Turn a volume so that its symmetry axes are those of a group.

    Args:
        volume: (size, size, size), its axes through the origin.
        group: (order, 3, 3) of `rotations.symmetry`: the main axis is z, the second one x.
        band: largest radius of frequencies that are compared.

    Returns:
        The volume; the rotation A, (3, 3): a pose R of the new volume is R A of the given one. The
        identity if the volume lies on its axes already.
    """
    identity = torch.eye(3, dtype=torch.float64)
    if len(group) == 1:
        return volume, identity
    symmetric = _Correlation(volume, group, band)
    found = rotation_grid(SPACING, group)
    scores = symmetric(found)
    for halving in range(HALVINGS):
        found = turned(found[scores.topk(KEPT).indices], SPACING / 2**halving).flatten(0, 1)
        scores = symmetric(found)
    best = found[scores.argmax()]
    if float(symmetric(identity[None])) >= ALIGNED * float(scores.max()):
        return volume, identity
    return rotated(volume, best), best


def rotated(volume: Tensor, rotation: Tensor) -> Tensor:
    """A volume turned about its origin: the value at A r is that of the given one at r.

    Args:
        volume: (size, size, size), smooth: it is interpolated linearly.
        rotation: (3, 3): A.
    """
    size = len(volume)
    axis = torch.arange(size, dtype=torch.float64) - size // 2
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")[::-1], -1)
    # A row vector times A is A^T times the column.
    scaled = 2 * (grid @ rotation + size // 2) / (size - 1) - 1
    moved = functional.grid_sample(
        volume[None, None].double(), scaled[None], padding_mode="zeros", align_corners=True
    )
    return moved[0, 0].to(volume)


class _Correlation:
    """Mean correlation of slices with those that symmetry makes equal.

    What all slices share is left out, and all frequencies count alike: else any volume that is
    nearly a ball would seem symmetric.
    """

    def __init__(self, volume: Tensor, group: Tensor, band: float) -> None:
        size = len(volume)
        self._group, self._plane = group, Plane.within(size, band)
        self._middle = Middle.of(to_spectrum(volume.float()), size, band)
        some = self._plane.read(self._middle, uniform(PROBES, torch.Generator().manual_seed(1)))
        self._mean, self._scale = some.mean(0), some.std(0).clamp(min=1e-12)

    def __call__(self, turns: Tensor) -> Tensor:
        """Of each rotation (turns, 3, 3): (turns,)."""
        total = torch.zeros(len(turns))
        for view in uniform(VIEWS, torch.Generator().manual_seed(0)):
            here = self._whitened(view @ turns)
            norm = here.abs().square().sum(1)
            for turn in self._group:
                there = self._whitened(view @ turns @ turn)
                scale = (norm * there.abs().square().sum(1)).sqrt()
                total += (here.conj() * there).real.sum(1) / scale
        return total / (VIEWS * len(self._group))

    def _whitened(self, turns: Tensor) -> Tensor:
        return (self._plane.read(self._middle, turns) - self._mean) / self._scale
