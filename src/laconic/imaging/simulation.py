"""Images of atomic models: a density of Gaussian atoms, its projections, noise.

Source: Ullrich 5.6, whose data are 40,000 such images of a complex of proteins.
"""

import torch
from torch import Tensor

from laconic.errors import InputError
from laconic.imaging import kernels, slices


def density(places: Tensor, weights: Tensor, size: int, pixel_size: float, width: float) -> Tensor:
    """A volume of atoms, each a Gaussian.

    Args:
        places: (atoms, 3): x, y, z in angstroms, from the volume's origin.
        weights: (atoms,): masses.
        size: of the volume's box, in voxels.
        pixel_size: in angstroms.
        width: standard deviation of an atom, in angstroms.

    Returns:
        (size, size, size), float32, axes (z, y, x); the sum over voxels is that of the weights.

    Raises:
        InputError: an atom lies outside of the box.
    """
    scaled = places.double() / pixel_size + size // 2
    reach = float((places.double() / pixel_size).norm(dim=-1).max())
    if reach > size / 2:
        raise InputError(
            f"box: atoms lie up to {reach * pixel_size:.0f} angstroms from the centre; it takes "
            f"{2 * int(reach + 2)} pixels of {pixel_size:g} angstroms"
        )
    volume = torch.zeros(size, size, size)
    kernels.draw_blobs(scaled.numpy(), weights.double().numpy(), width / pixel_size, volume.numpy())
    return volume


def simulate(
    spectrum: Tensor,
    rotations: Tensor,
    shifts: Tensor | None,
    transfer: Tensor | None,
    noise: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Images of a volume with white Gaussian noise, equation (5.2).

    Args:
        spectrum: of the volume, by `slices.to_spectrum`.
        rotations: (images, 3, 3).
        shifts: (images, 2), in pixels.
        transfer: of the microscope, for images of the padded box.
        noise: standard deviation.
        generator: of random numbers.

    Returns:
        (images, size, size), float32.
    """
    images = slices.images_of(spectrum, rotations, shifts, transfer=transfer)
    if noise:
        images = images + noise * torch.randn(images.shape, generator=generator)
    return images.float()
