"""Volumes compared shell by shell in Fourier space: correlation, spectral signal-to-noise ratio.

Source: Ullrich 5.6, equations (5.18) and (5.19); of the numerator of (5.18) the real part is taken
(ERRATA 12).
"""

import torch
from torch import Tensor

from laconic.errors import InputError


def shell_numbers(size: int, dimensions: int = 3) -> Tensor:
    """The shell of each place of an unshifted half spectrum: its radius, rounded.

    Args:
        size: of the box.
        dimensions: 2 or 3.

    Returns:
        (size, ..., size // 2 + 1), int64.
    """
    whole = torch.fft.fftfreq(size, 1 / size, dtype=torch.float64).square()
    half = torch.fft.rfftfreq(size, 1 / size, dtype=torch.float64).square()
    squares = half
    for _ in range(dimensions - 1):
        squares = whole.reshape(-1, *[1] * squares.ndim) + squares
    shells: Tensor = squares.sqrt().round().long()
    return shells


def multiplicity(size: int) -> Tensor:
    """Places of a whole spectrum that each column of a half one represents: (size // 2 + 1,)."""
    counts = torch.full((size // 2 + 1,), 2.0, dtype=torch.float64)
    counts[0] = 1
    if size % 2 == 0:
        counts[-1] = 1
    return counts


def shell_sums(values: Tensor, size: int) -> Tensor:
    """Sums over the shells of whole spectra.

    Args:
        values: (..., size, size, size // 2 + 1) or images' (size, size // 2 + 1), real and even:
            halves.
        size: of the box.

    Returns:
        (size // 2 + 1,), float64: shells 0 to size // 2, what lies beyond is left out.
    """
    shells = shell_numbers(size, values.ndim)
    weighted = values.double() * multiplicity(size)
    sums = torch.zeros(int(shells.max()) + 1, dtype=torch.float64)
    sums.index_add_(0, shells.flatten(), weighted.flatten())
    return sums[: size // 2 + 1]


def shell_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Fourier shell correlation (FSC) of two volumes, (5.18) with the real part.

    Args:
        first: (size, size, size), real.
        second: of the same shape.

    Returns:
        (size // 2 + 1,), float64, in [-1, 1]: shells 0 to size // 2; 0 where a shell is empty.

    Raises:
        InputError: the shapes differ or are not those of cubes.
    """
    if first.shape != second.shape or len(set(first.shape)) != 1 or first.ndim != 3:
        raise InputError(
            f"volumes: {tuple(first.shape)} and {tuple(second.shape)} are not equal cubes"
        )
    size = len(first)
    a, b = (torch.fft.rfftn(volume.double()) for volume in (first, second))
    cross = shell_sums((a * b.conj()).real, size)
    norm = (shell_sums(a.abs().square(), size) * shell_sums(b.abs().square(), size)).sqrt()
    return torch.where(norm > 0, cross / norm.clamp(min=torch.finfo(norm.dtype).tiny), 0.0)


def resolution(correlation: Tensor, pixel_size: float, threshold: float) -> float:
    """The wavelength at which a curve over shells first falls below a threshold.

    Args:
        correlation: (shells,), from shell 0; the last is that of Nyquist's frequency.
        pixel_size: in angstroms.
        threshold: 0.5 against the truth, 0.143 between half sets.

    Returns:
        Angstroms, interpolated between shells; twice the pixel size if the curve does not fall.
    """
    shells = len(correlation) - 1
    finest = 2 * pixel_size
    below = (correlation[1:] < threshold).nonzero()
    if len(below) == 0:
        return finest
    last = int(below[0, 0])
    if last == 0:
        return finest * shells
    high, low = float(correlation[last]), float(correlation[last + 1])
    return finest * shells / (last + (high - threshold) / (high - low))
