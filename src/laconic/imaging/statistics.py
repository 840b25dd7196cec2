"""What images of known pose say of a volume, in two sums that do not grow with their number.

Given poses, images are linear in the volume, with Gaussian noise: the posterior depends on them by
the sum of inserted images and the sum of inserted weights alone. Sums of parts of the data add up,
so that the work spreads over processes. The noise is left out here: it is the same in all images
and depends on the shell only, so that the posterior divides by it.

Source: Ullrich 5.4 and 5.5; the sums are the sufficient statistics of (5.14) for a Gaussian q.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from laconic.errors import InputError
from laconic.imaging import slices
from laconic.metrics.fourier_shells import shell_sums
from laconic.threads import each


@dataclass(frozen=True)
class Views:
    """Images and how they were taken.

    Attributes:
        images: (images, size, size), real.
        rotations: (images, 3, 3).
        shifts: (images, 2): x, y in pixels; None: none.
        transfer: (images or 1, size, size // 2 + 1), real: the microscope's; None: 1.
    """

    images: Tensor
    rotations: Tensor
    shifts: Tensor | None = None
    transfer: Tensor | None = None


@dataclass
class Statistics:
    """Sums over images, of noise 1.

    Attributes:
        data: (grid, grid, grid // 2 + 1), complex: inserted orthonormal spectra, without mirrors.
        weight: of the same shape, real: inserted squares of transfer functions, without mirrors.
        power: (size // 2 + 1,), float64: sums over images and shells of squared spectra.
        number: of images.
        size: of their boxes.
    """

    data: Tensor
    weight: Tensor
    power: Tensor
    number: int
    size: int

    @classmethod
    def empty(cls, size: int, padding: int = slices.PADDING) -> "Statistics":
        """Those of no image.

        Args:
            size: of the images' boxes.
            padding: times the size: the grid that images are inserted into.
        """
        grid = padding * size
        shape = (grid, grid, grid // 2 + 1)
        power = torch.zeros(size // 2 + 1, dtype=torch.float64)
        return cls(torch.zeros(shape, dtype=torch.complex64), torch.zeros(shape), power, 0, size)

    def insert(self, views: Views, band: float | None = None) -> None:
        """Add images; memory does not grow with their number.

        Args:
            views: of boxes of this size.
            band: largest radius of frequencies; None: all that the box has.

        Raises:
            InputError: images of another size, or numbers that are not finite.
        """
        size = self.size
        if views.images.shape[1:] != (size, size):
            raise InputError(
                f"images: {tuple(views.images.shape[1:])} pixels, where others have {size} x {size}"
            )
        spectra = slices.to_slices(views.images.float()) / size
        if not torch.isfinite(spectra.real).all():
            raise InputError("images: numbers that are not finite")
        self.power += shell_sums(spectra.abs().square().sum(0), size)
        if views.shifts is not None:
            spectra = spectra * slices.phases(-views.shifts, size, spectra)
        weights = torch.ones_like(spectra.real)
        if views.transfer is not None:
            spectra, weights = spectra * views.transfer, weights * views.transfer.square()
        each(
            lambda part, total: slices.add_slices(part, views.rotations, total, band),
            [spectra, weights],
            [self.data, self.weight],
        )
        self.number += len(views.images)

    def __add__(self, other: "Statistics") -> "Statistics":
        """The statistics of both sets of images.

        Raises:
            InputError: boxes or grids differ.
        """
        if (self.size, len(self.data)) != (other.size, len(other.data)):
            raise InputError("statistics: those of other boxes or grids cannot be added")
        return Statistics(
            self.data + other.data,
            self.weight + other.weight,
            self.power + other.power,
            self.number + other.number,
            self.size,
        )
