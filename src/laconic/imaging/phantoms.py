"""Sums of Gaussian blobs: the volumes whose projections are known in closed form.

A blob of mass m, centre c and width s has density m (2 pi s^2)^(-3/2) exp(-|x - c|^2 / (2 s^2)).
Its projection along any direction is a two-dimensional Gaussian of the same mass and width, at the
projected centre. Operators are tested against it, and atoms are drawn with it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Blobs:
    """Gaussian blobs.

    Attributes:
        centres: (blobs, 3): x, y, z in voxels, from the volume's origin.
        widths: (blobs,): standard deviations in voxels.
        masses: (blobs,).
    """

    centres: Tensor
    widths: Tensor
    masses: Tensor

    def volume(self, size: int) -> Tensor:
        """Density at the voxels' centres: (size, size, size), axes (z, y, x)."""
        along = [self._profiles(self.centres[:, axis], size) for axis in range(3)]
        return torch.einsum("bz,by,bx->zyx", along[2], along[1], along[0] * self.masses[:, None])

    def images(self, size: int, rotations: Tensor, shifts: Tensor | None = None) -> Tensor:
        """Projections at the pixels' centres, exactly.

        Args:
            size: of the images.
            rotations: (images, 3, 3), of the volume's coordinates to the image's.
            shifts: (images, 2): x, y of the particle's origin, in pixels.

        Returns:
            (images, size, size).
        """
        drawn = []
        for number, rotation in enumerate(rotations.to(self.centres)):
            places = self.centres @ rotation.mT
            if shifts is not None:
                places = places[:, :2] + shifts[number].to(places)
            x = self._profiles(places[:, 0], size) * self.masses[:, None]
            drawn.append(self._profiles(places[:, 1], size).mT @ x)
        return torch.stack(drawn)

    def _profiles(self, centres: Tensor, size: int) -> Tensor:
        """One-dimensional densities at the voxels: (blobs, size)."""
        places = torch.arange(size, dtype=centres.dtype, device=centres.device) - size // 2
        scaled = (places - centres[:, None]) / self.widths[:, None]
        norm = self.widths[:, None] * (2 * torch.pi) ** 0.5
        densities: Tensor = torch.exp(-0.5 * scaled.square()) / norm
        return densities


def random_blobs(
    number: int, radius: float, width: float, generator: torch.Generator | None = None
) -> Blobs:
    """Blobs of one width, uniform in a ball, of masses in [0.5, 1.5].

    Args:
        number: of blobs.
        radius: of the ball, in voxels.
        width: of each blob, in voxels.
        generator: of random numbers.
    """
    directions = torch.randn(number, 3, generator=generator, dtype=torch.float64)
    directions = torch.nn.functional.normalize(directions, dim=-1)
    draws = torch.rand(number, 2, generator=generator, dtype=torch.float64)
    centres = radius * draws[:, :1] ** (1 / 3) * directions
    widths = torch.full((number,), width, dtype=torch.float64)
    return Blobs(centres, widths, 0.5 + draws[:, 1])
