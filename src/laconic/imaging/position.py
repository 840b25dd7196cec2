"""The projection in position space: rotate the volume, move it, sum along the beam.

It costs size^3 for an image of size^2 pixels. It is the reference of the Fourier slices, and it is
differentiable in the volume and in the pose.

Source: Ullrich 5.3 and 5.4, equations (5.1), (5.4), (5.5), (5.8); a voxel is interpolated from 8
neighbours (ERRATA 11).
"""

import torch
from torch import Tensor
from torch.nn import functional


def project(volume: Tensor, rotations: Tensor, shifts: Tensor | None = None) -> Tensor:
    """Images of a volume.

    Args:
        volume: (size, size, size), axes (z, y, x).
        rotations: (images, 3, 3), of the volume's coordinates (x, y, z) to the image's.
        shifts: (images, 2): x, y of the particle's origin in the image, in pixels; None: no shift.

    Returns:
        (images, size, size): sums along the beam; what leaves the box is lost.
    """
    size = len(volume)
    axis = torch.arange(size, dtype=volume.dtype, device=volume.device) - size // 2
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")[::-1], -1)
    rotations = rotations.to(volume)
    places = grid.expand(len(rotations), -1, -1, -1, -1)
    if shifts is not None:
        offset = functional.pad(shifts.to(volume), (0, 1))
        places = places - offset[:, None, None, None, :]
    # A row vector times R is R^T times the column: from the image's coordinates to the volume's.
    sources = places.flatten(1, 3) @ rotations
    scaled = 2 * (sources + size // 2) / (size - 1) - 1
    turned = functional.grid_sample(
        volume.expand(len(rotations), 1, -1, -1, -1),
        scaled.reshape(-1, size, size, size, 3),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=True,
    )
    return turned[:, 0].sum(1)
