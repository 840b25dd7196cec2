"""Images at the samples of a band, as flat lists, whitened: what a search compares.

A list holds one of each pair of mirrored samples, without frequency 0, in the order of their
radius: a narrower band is the beginning of a wider one's list. With orthonormal spectra x and noise
of variance s^2, the log-likelihood of a slice P with transfer function c is, up to a constant,
sum 2 Re(conj(x) c P) / s^2 - sum c^2 |P|^2 / s^2 over one half of the plane.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from laconic.imaging import slices
from laconic.imaging.poses import kernels


@dataclass(frozen=True)
class Middle:
    """The low frequencies of a spectrum: few enough that reading them is quick.

    Attributes:
        array: (places, places, places // 2 + 1), complex64, unshifted.
        grid: places along an axis of the whole spectrum.
    """

    array: kernels.Array
    grid: int

    @classmethod
    def of(cls, spectrum: Tensor, size: int, band: float) -> "Middle":
        """What slices within a band read.

        Args:
            spectrum: (grid, grid, grid // 2 + 1) of `slices.to_spectrum`.
            size: of the images.
            band: in frequencies of the images.
        """
        grid = len(spectrum)
        reach = math.ceil(band * grid / size) + 1
        if 2 * reach + 1 >= grid:
            return cls(spectrum.to(torch.complex64).resolve_conj().numpy(), grid)
        kept = torch.arange(-reach, reach + 1).roll(-reach)
        cut = spectrum[kept][:, kept][:, :, : reach + 1]
        return cls(cut.to(torch.complex64).contiguous().numpy(), grid)

    def scale(self, size: int) -> float:
        """Places per frequency of images of this size."""
        return self.grid / size


@dataclass(frozen=True)
class Plane:
    """The samples of images of one size.

    Attributes:
        size: of the images.
        y: (samples,), int64: frequencies, in order of radius.
        x: the same, not negative.
        radius: (samples,), float64.
    """

    size: int
    y: Tensor
    x: Tensor
    radius: Tensor

    @classmethod
    def within(cls, size: int, band: float) -> "Plane":
        """All samples within a band, but for frequency 0.

        Args:
            size: of the images.
            band: largest radius, in frequencies of the image.
        """
        reach = int(band)
        y, x = torch.meshgrid(
            torch.arange(-reach, reach + 1), torch.arange(reach + 1), indexing="ij"
        )
        y, x = y.flatten(), x.flatten()
        radius = (y.double().square() + x.double().square()).sqrt()
        kept = (radius <= band) & ((x > 0) | (y > 0))
        y, x, radius = y[kept], x[kept], radius[kept]
        order = radius.argsort(stable=True)
        return cls(size, y[order], x[order], radius[order])

    def __len__(self) -> int:
        return len(self.y)

    def narrowed(self, band: float) -> "Plane":
        """The samples within a narrower band."""
        count = int((self.radius <= band).sum())
        return Plane(self.size, self.y[:count], self.x[:count], self.radius[:count])

    def gather(self, half: Tensor) -> Tensor:
        """Half planes (..., size, size // 2 + 1) -> lists (..., samples)."""
        return half[..., self.y % self.size, self.x]

    def over_shells(self, values: Tensor) -> Tensor:
        """Numbers of shells (size // 2 + 1,) at every sample, interpolated: (samples,)."""
        low = self.radius.long().clamp(max=self.size // 2 - 1)
        part = (self.radius - low).to(values)
        return torch.lerp(values[low], values[low + 1], part.clamp(max=1))

    def read(self, middle: "Middle", rotations: Tensor) -> Tensor:
        """Slices, orthonormal: (rotations, samples), complex64."""
        out = torch.empty(len(rotations), len(self), dtype=torch.complex64)
        y, x, scale, size = self.places(middle)
        kernels.read(middle.array, axes_of(rotations), y, x, scale, size, out.numpy())
        return out

    def tangents(self, middle: "Middle", rotations: Tensor) -> Tensor:
        """Slices and their derivatives by rotations about the image's axes.

        Returns:
            (rotations, 4, samples): P, then d P / d w of exp([w]) R along x, y and z, in radians.
        """
        out = torch.empty(len(rotations), 4, len(self), dtype=torch.complex64)
        y, x, scale, size = self.places(middle)
        kernels.tangents(middle.array, axes_of(rotations), y, x, scale, size, out.numpy())
        return out

    def places(self, middle: "Middle") -> tuple[Any, ...]:
        """What the kernels take: frequencies y and x, places per frequency, the images' size."""
        return self.y.numpy(), self.x.numpy(), middle.scale(self.size), self.size

    def phases(self, shifts: Tensor) -> Tensor:
        """What moves lists: exp(-2 pi i t . k): shifts (..., 2) -> (..., samples), complex64."""
        moves = shifts.float()
        turns = moves[..., :1] * self.x + moves[..., 1:] * self.y
        return torch.polar(torch.ones_like(turns), -2 * torch.pi / self.size * turns)


@dataclass(frozen=True)
class Observed:
    """Images as lists.

    Attributes:
        plane: their samples.
        data: (images, samples), complex64: c x / s^2.
        power: (images or 1, samples), float32: c^2 / s^2.
    """

    plane: Plane
    data: Tensor
    power: Tensor

    @classmethod
    def of(cls, plane: Plane, images: Tensor, transfer: Tensor | None, noise: Tensor) -> "Observed":
        """The lists of images.

        Args:
            plane: the samples.
            images: (images, size, size).
            transfer: (images or 1, size, size // 2 + 1), real; None: 1.
            noise: (size // 2 + 1,): variances of shells.
        """
        data = plane.gather(slices.to_slices(images.float())) / plane.size
        inverse = 1 / plane.over_shells(noise.float())
        if transfer is None:
            return cls(plane, data * inverse, inverse[None])
        factor = plane.gather(transfer.float())
        return cls(plane, data * factor * inverse, factor.square() * inverse)

    def narrowed(self, band: float) -> "Observed":
        """The same within a narrower band."""
        plane = self.plane.narrowed(band)
        return Observed(plane, self.data[:, : len(plane)], self.power[:, : len(plane)])

    def __len__(self) -> int:
        return len(self.data)

    def power_of(self, images: Tensor) -> Tensor:
        """`power` of some images: (images or 1, samples)."""
        return self.power if len(self.power) == 1 else self.power[images]


def axes_of(rotations: Tensor) -> "kernels.Array":
    """The first two rows of rotations, as the kernels take them."""
    return rotations[:, :2].double().contiguous().numpy()
