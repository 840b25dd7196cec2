"""Particles of files -> views, by the conventions of `laconic.imaging`."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from laconic.data.microscopy.particles import Particles
from laconic.errors import InputError
from laconic.imaging.rotations import from_angles
from laconic.imaging.statistics import Views
from laconic.imaging.transfer import contrast_transfer

FULL_TURN = 360.0
BATCH = 256
"""Images that are read and inserted at once."""


def rotations_of(particles: Particles) -> Tensor:
    """The particles' rotations: (particles, 3, 3), float64.

    Raises:
        InputError: the file names no angles, or some beyond a full turn.
    """
    if particles.angles is None:
        raise InputError("the STAR file names no poses (rlnAngleRot, rlnAngleTilt, rlnAnglePsi)")
    beyond = np.abs(particles.angles).max(1) > FULL_TURN
    if beyond.any():
        first = int(beyond.argmax())
        raise InputError(
            f"particle {first + 1} has the angles {particles.angles[first].tolist()}; rlnAngleRot, "
            "rlnAngleTilt and rlnAnglePsi are degrees from -360 to 360"
        )
    return from_angles(torch.from_numpy(particles.angles))


def shifts_of(particles: Particles) -> Tensor:
    """Where the particles' origins lie in the images: (particles, 2): x, y in pixels, float64.

    Raises:
        InputError: one lies outside of its image.
    """
    shifts = -particles.origins / particles.pixel_size
    outside = np.abs(shifts).max(1) > particles.size / 2
    if outside.any():
        first = int(outside.argmax())
        raise InputError(
            f"particle {first + 1}: its origin {particles.origins[first].tolist()} lies outside of "
            "the image; rlnOriginXAngst and rlnOriginYAngst are angstroms"
        )
    return torch.from_numpy(shifts)


def transfer_of(particles: Particles, chosen: NDArray[np.int64]) -> Tensor | None:
    """The contrast transfer functions of some particles; None if the file names no defocus."""
    optics = particles.optics
    if optics is None:
        return None

    def values(column: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(column[chosen]).float()

    return contrast_transfer(
        particles.size,
        particles.pixel_size,
        values(optics.defocus),
        values(optics.voltage),
        values(optics.aberration),
        values(optics.amplitude),
        values(optics.phase),
    )


def views_of(
    particles: Particles,
    chosen: NDArray[np.int64],
    *,
    invert: bool = False,
    correct_transfer: bool = True,
    batch: int = BATCH,
) -> Iterator[Views]:
    """Read particles, batch by batch.

    Args:
        particles: of a STAR file with poses.
        chosen: their numbers.
        invert: the files' particles are black.
        correct_transfer: use the contrast transfer function, where the file has its parameters.
        batch: particles at once.
    """
    rotations, shifts = rotations_of(particles), shifts_of(particles)
    for part in particles.batches(chosen, batch):
        images = torch.from_numpy(particles.images(part))
        yield Views(
            -images if invert else images,
            rotations[part],
            shifts[part],
            transfer_of(particles, part) if correct_transfer else None,
        )
