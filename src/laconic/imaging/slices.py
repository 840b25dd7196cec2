"""The projection in Fourier space: an image's transform is a central slice of the volume's.

The volume is padded and divided by the transform of linear interpolation (sinc^2 along each axis),
then transformed once; an image costs size^2, or band^2 where only low frequencies are kept.
Everything is differentiable in the volume and in the pose; adding slices to a volume is the exact
adjoint of reading them.

On a CPU the loops are compiled. On other devices the same sums are made of torch's operations,
which are the tests' reference, too.

Source: Ullrich 5.4, equations (5.9) to (5.13); ERRATA 11.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from laconic.errors import InputError
from laconic.imaging import kernels
from laconic.threads import each, thread_count

Array = NDArray[Any]

PADDING = 2
"""Times the size to which a volume is padded: the error is 0.6 % at 2, 0.2 % at 3."""


def largest_band(size: int) -> int:
    """The largest radius of frequencies that a box has in all directions, without Nyquist's."""
    return (size - 1) // 2


def to_spectrum(volume: Tensor, padding: int = PADDING) -> Tensor:
    """A volume's half spectrum, padded and corrected, ready to be sliced.

    Args:
        volume: (size, size, size), axes (z, y, x).
        padding: times the size.

    Returns:
        (grid, grid, grid // 2 + 1), complex, with grid = padding * size; unshifted.

    Raises:
        InputError: the volume is no cube, or padding is less than 1.
    """
    if volume.ndim != 3 or len(set(volume.shape)) != 1:
        raise InputError(f"volume: its shape {tuple(volume.shape)} is not that of a cube")
    if padding < 1:
        raise InputError(f"padding: {padding} is less than 1")
    size = len(volume)
    grid = padding * size
    corrected = volume / _correction(size, padding, volume)
    spectrum: Tensor = torch.fft.rfftn(pad(corrected, grid))
    return spectrum


def from_spectrum(spectrum: Tensor, size: int) -> Tensor:
    """The adjoint of `to_spectrum` over whole spectra, divided by the places of the grid.

    Args:
        spectrum: (grid, grid, grid // 2 + 1), the half of a Hermitian one.
        size: of the volume; divides the grid.

    Returns:
        (size, size, size), real.
    """
    grid = len(spectrum)
    padded = torch.fft.irfftn(spectrum, s=(grid, grid, grid))
    cropped = crop(padded, size)
    return cropped / _correction(size, grid // size, cropped)


def read_slices(
    spectrum: Tensor, rotations: Tensor, size: int, band: float | None = None
) -> Tensor:
    """Central slices of a spectrum.

    Args:
        spectrum: (grid, grid, grid // 2 + 1), complex, of `to_spectrum`.
        rotations: (images, 3, 3), of the volume's coordinates (x, y, z) to the image's.
        size: of the images; divides the grid.
        band: largest radius of a sample, in frequencies of the image; None: `largest_band`.

    Returns:
        (images, size, size // 2 + 1), complex: half spectra, unshifted, zero beyond the band.

    Raises:
        InputError: the size does not divide the grid, or the band is too large.
    """
    grid = len(spectrum)
    band = _check(grid, size, band)
    if spectrum.device.type != "cpu":
        return _read_by_torch(spectrum, rotations, size, band)
    turns = rotations[:, :2].to(torch.float64)
    sliced: Tensor = _Read.apply(spectrum, turns, size, band)  # type: ignore[no-untyped-call]
    return sliced


def add_slices(slices: Tensor, rotations: Tensor, total: Tensor, band: float | None = None) -> None:
    """Insert images into a volume, in place: the adjoint of reading slices.

    An image's half spectrum represents the whole one, so that each sample and its mirror are to be
    added. What is added here is one of them; `with_mirrors` adds the other at the end.

    Args:
        slices: (images, size, size // 2 + 1), complex or real (weights), unshifted.
        rotations: (images, 3, 3).
        total: (grid, grid, grid // 2 + 1), of the same type.
        band: largest radius of a sample; None: `largest_band`.
    """
    size, grid = slices.shape[-2], len(total)
    band = _check(grid, size, band)
    once = slices.detach().clone()
    # Column 0 holds each sample and its mirror.
    once[:, size // 2 + 1 :, 0] = 0
    once[:, 0, 0] /= 2
    turns = rotations[:, :2].to(torch.float64).contiguous().numpy()
    _add(once.numpy(), turns, band, total.numpy())


def with_mirrors(total: Tensor) -> Tensor:
    """What `add_slices` has gathered, as the half of a Hermitian spectrum."""
    plane = total[:, :, 0]
    mirrored = torch.roll(plane.flip(0, 1), (1, 1), (0, 1)).conj()
    return torch.cat([(plane + mirrored)[:, :, None], total[:, :, 1:]], -1)


def to_images(slices: Tensor, size: int) -> Tensor:
    """Half spectra to images: (..., size, size // 2 + 1) -> (..., size, size)."""
    images: Tensor = torch.fft.fftshift(torch.fft.irfft2(slices, s=(size, size)), dim=(-2, -1))
    return images


def to_slices(images: Tensor) -> Tensor:
    """Images to half spectra: (..., size, size) -> (..., size, size // 2 + 1), unshifted."""
    slices: Tensor = torch.fft.rfft2(torch.fft.ifftshift(images, dim=(-2, -1)))
    return slices


def frequencies(size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Frequencies of a half spectrum in cycles per pixel: y (size, 1), x (1, size // 2 + 1)."""
    real = like.real if like.is_complex() else like
    y = torch.fft.fftfreq(size, dtype=real.dtype, device=like.device)
    x = torch.fft.rfftfreq(size, dtype=real.dtype, device=like.device)
    return y[:, None], x[None, :]


def phases(shifts: Tensor, size: int, like: Tensor) -> Tensor:
    """What moves images in Fourier space: exp(-2 pi i t . k), equation (5.12) in two dimensions.

    Args:
        shifts: (images, 2): x, y in pixels.
        size: of the images.
        like: gives the precision and the device.

    Returns:
        (images, size, size // 2 + 1), complex.
    """
    y, x = frequencies(size, like)
    moves = shifts.to(x)
    turns = moves[:, 0, None, None] * x + moves[:, 1, None, None] * y
    return torch.polar(torch.ones_like(turns), -2 * torch.pi * turns)


def images_of(
    spectrum: Tensor,
    rotations: Tensor,
    shifts: Tensor | None = None,
    *,
    transfer: Tensor | None = None,
    padding: int = PADDING,
    band: float | None = None,
    wide: bool = True,
) -> Tensor:
    """Images of a volume whose spectrum is known.

    Interpolation repeats the volume faintly every `padding * size` voxels. Wide images are read in
    boxes of that size and cropped, which leaves most of this outside: the error is a third of that
    of images read in their own box, the cost four times as large.

    Args:
        spectrum: (grid, grid, grid // 2 + 1), of `to_spectrum` with the same padding.
        rotations: (images, 3, 3), of the volume's coordinates (x, y, z) to the image's.
        shifts: (images, 2): x, y of the particle's origin in the image, in pixels.
        transfer: (images or 1, box, box // 2 + 1): what each image's spectrum is multiplied by,
            with box = grid for wide images, else size.
        padding: times the size to which the volume was padded.
        band: largest radius of frequencies that are kept, of the image; None: `largest_band`.
        wide: read images of the padded box.

    Returns:
        (images, size, size), with size = grid / padding.
    """
    size = len(spectrum) // padding
    box = len(spectrum) if wide else size
    band = _check(len(spectrum), size, band)
    sliced = read_slices(spectrum, rotations, box, band * box / size)
    if shifts is not None:
        sliced = sliced * phases(shifts, box, sliced)
    if transfer is not None:
        sliced = sliced * transfer
    middle = _middle(box, size)
    return to_images(sliced, box)[:, middle, middle]


def project(
    volume: Tensor,
    rotations: Tensor,
    shifts: Tensor | None = None,
    *,
    transfer: Tensor | None = None,
    padding: int = PADDING,
    band: float | None = None,
    wide: bool = True,
) -> Tensor:
    """Images of a volume: the same as `position.project`, at a cost of size^2 each.

    Args:
        volume: (size, size, size), axes (z, y, x).
        rotations: (images, 3, 3), as for `images_of`.
        shifts: (images, 2), as for `images_of`.
        transfer: as for `images_of`.
        padding: times the size to which the volume is padded.
        band: as for `images_of`.
        wide: as for `images_of`.

    Returns:
        (images, size, size).
    """
    return images_of(
        to_spectrum(volume, padding),
        rotations,
        shifts,
        transfer=transfer,
        padding=padding,
        band=band,
        wide=wide,
    )


class _Read(torch.autograd.Function):
    """`kernels.read`, differentiable in the spectrum and in the axes."""

    @staticmethod
    def forward(ctx: Any, spectrum: Tensor, turns: Tensor, size: int, band: float) -> Tensor:
        ctx.save_for_backward(spectrum, turns)
        ctx.size, ctx.band = size, band
        volume, axes = spectrum.resolve_conj().detach().numpy(), turns.detach().numpy()
        grid = len(volume)
        out = np.zeros((len(axes), size, size // 2 + 1), volume.dtype)
        samples = kernels.rings(size, band)

        def fill(part: slice) -> None:
            kernels.read(volume, axes[part], samples, grid / size, out[part])

        each(fill, _parts(len(axes), min(kernels.BATCH, _share(len(axes)))))
        return torch.from_numpy(out)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        spectrum, turns = ctx.saved_tensors
        gradient = gradients[0].resolve_conj().contiguous().numpy()
        axes, size, band = turns.numpy(), ctx.size, ctx.band
        by_spectrum = by_turns = None
        if ctx.needs_input_grad[0]:
            by_spectrum = torch.from_numpy(_sum(gradient, axes, band, tuple(spectrum.shape)))
        if ctx.needs_input_grad[1]:
            volume, result = spectrum.resolve_conj().numpy(), np.zeros_like(axes)
            samples, scale = kernels.rings(size, band), len(volume) / size

            def fill(part: slice) -> None:
                kernels.turn_gradient(
                    volume, gradient[part], axes[part], samples, scale, result[part]
                )

            each(fill, _parts(len(axes), min(kernels.BATCH, _share(len(axes)))))
            by_turns = torch.from_numpy(result)
        return by_spectrum, by_turns, None, None


def _add(slices: Array, turns: Array, band: float, volume: Array) -> None:
    """`kernels.add` in place."""
    size = slices.shape[1]
    samples, scale = kernels.rings(size, band), len(volume) / size
    for part in _parts(len(turns), kernels.BATCH):
        kernels.add(slices[part], turns[part], samples, scale, volume)


def _sum(slices: Array, turns: Array, band: float, shape: tuple[int, ...]) -> Array:
    """What `_add` adds to zeros; on threads, each with a volume of its own."""

    def add(part: slice) -> Array:
        volume = np.zeros(shape, slices.dtype)
        _add(slices[part], turns[part], band, volume)
        return volume

    volumes = each(add, _parts(len(turns), _share(len(turns))))
    for volume in volumes[1:]:
        volumes[0] += volume
    return volumes[0] if volumes else np.zeros(shape, slices.dtype)


def _share(images: int) -> int:
    """Images for one thread, where all threads have about as many."""
    return max(1, math.ceil(images / thread_count()))


def _parts(images: int, most: int) -> list[slice]:
    """All images, in parts of at most so many."""
    return [slice(first, first + most) for first in range(0, images, most)]


def _read_by_torch(spectrum: Tensor, rotations: Tensor, size: int, band: float) -> Tensor:
    """`read_slices` of torch's operations, on any device, differentiable any number of times."""
    grid = len(spectrum)
    y, x = frequencies(size, rotations)
    y, x = torch.round(y * size), torch.round(x * size)
    inside = y.square() + x.square() <= band * band
    y, x = y.expand(inside.shape)[inside], x.expand(inside.shape)[inside]
    axes = rotations[:, :2] * (grid / size)
    places = x[:, None] * axes[:, None, 0] + y[:, None] * axes[:, None, 1]
    mirrored = places[..., 0] < 0
    places = torch.where(mirrored[..., None], -places, places)
    low = places.detach().floor()
    fractions = places - low
    corner = low.long()
    value = torch.zeros(places.shape[:-1], dtype=spectrum.dtype, device=spectrum.device)
    for bits in range(8):
        step = [bits >> axis & 1 for axis in range(3)]
        weight = torch.ones_like(fractions[..., 0])
        for axis in range(3):
            part = fractions[..., axis]
            weight = weight * (part if step[axis] else 1 - part)
        index = [(corner[..., axis] + step[axis]) % grid for axis in range(3)]
        value = value + weight.to(spectrum.real) * spectrum[index[2], index[1], index[0]]
    value = torch.where(mirrored, value.conj(), value)
    slices = torch.zeros(
        (len(rotations), *inside.shape), dtype=spectrum.dtype, device=spectrum.device
    )
    return slices.masked_scatter(inside.expand(slices.shape), value)


def _check(grid: int, size: int, band: float | None) -> float:
    """The band, or an error that says what does not fit."""
    if size < 1 or grid % size:
        raise InputError(f"size: {size} does not divide the spectrum's {grid} places")
    if band is None:
        return largest_band(size)
    if not 0 <= band <= largest_band(size):
        raise InputError(
            f"band: {band} is not in [0, {largest_band(size)}], what images of {size} pixels have"
        )
    return band


def _correction(size: int, padding: int, like: Tensor) -> Tensor:
    """The transform of linear interpolation on the padded grid: sinc^2 along each axis."""
    axis = torch.arange(size, dtype=like.dtype, device=like.device) - size // 2
    along = torch.sinc(axis / (padding * size)).square()
    return along[:, None, None] * along[:, None] * along


def pad(volume: Tensor, grid: int) -> Tensor:
    """A volume in a larger box, its origin at place 0: (size, ...) -> (grid, ...)."""
    size = len(volume)
    for axis in range(3):  # One axis after the other: the large array is written once.
        negative, positive = torch.split(volume, [size // 2, size - size // 2], axis)
        zeros = list(volume.shape)
        zeros[axis] = grid - size
        volume = torch.cat([positive, volume.new_zeros(zeros), negative], axis)
    return volume


def crop(volume: Tensor, size: int) -> Tensor:
    """The inverse of `pad`: the box about place 0, its origin in the middle."""
    for axis in range(3):
        negative = volume.narrow(axis, volume.shape[axis] - size // 2, size // 2)
        volume = torch.cat([negative, volume.narrow(axis, 0, size - size // 2)], axis)
    return volume


def _middle(grid: int, size: int) -> slice:
    """Where a box lies in a larger one: their origins agree."""
    start = grid // 2 - size // 2
    return slice(start, start + size)
