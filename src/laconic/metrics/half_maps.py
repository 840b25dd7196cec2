"""Half maps compared within a mask, and voxel by voxel: corrected and local correlation.

A mask that follows the particle makes half maps agree beyond what their data say: its own edges
correlate. Phases that are randomised beyond a shell show how much (Chen et al. 2013,
"High-resolution noise substitution to measure overfitting and validate resolution in 3D structure
determination by single particle electron cryomicroscopy", equation 4):

    corrected = (masked - randomised) / (1 - randomised).

Source: Ullrich 5.6 (half sets, thresholds 0.5 and 0.143); footnote 4 of 5.6 requires local quality.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from laconic.errors import InputError
from laconic.metrics.fourier_shells import shell_correlation, shell_numbers

RANDOMISED_BELOW = 0.8
"""Phases are randomised from the shell on where the correlation without a mask falls below this."""
MARGIN = 2
"""Shells after that one that are not corrected: the mask mixes neighbours."""


@dataclass(frozen=True)
class MaskedCorrelation:
    """Correlations of half maps by shell, each (size // 2 + 1,), float64.

    Attributes:
        plain: without a mask.
        masked: within the mask.
        randomised: within the mask, phases randomised from `first` on.
        corrected: what the data say of the masked volume.
        first: the shell where randomisation begins.
    """

    plain: Tensor
    masked: Tensor
    randomised: Tensor
    corrected: Tensor
    first: int


def masked_correlation(
    first: Tensor, second: Tensor, mask: Tensor, generator: torch.Generator | None = None
) -> MaskedCorrelation:
    """Correlation of half maps within a mask, corrected for the mask.

    Args:
        first: (size, size, size), real.
        second: of the same shape.
        mask: of the same shape, in [0, 1].
        generator: of random phases.

    Raises:
        InputError: the shapes differ.
    """
    if mask.shape != first.shape:
        raise InputError(f"mask: {tuple(mask.shape)} voxels, where maps have {tuple(first.shape)}")
    plain = shell_correlation(first, second)
    low = (plain[1:] < RANDOMISED_BELOW).nonzero()
    start = int(low[0, 0]) + 1 if len(low) else len(plain)
    masked = shell_correlation(first * mask, second * mask)
    random = [randomise_phases(part, start, generator) * mask for part in (first, second)]
    noise = shell_correlation(*random)
    corrected = masked.clone()
    later = slice(start + MARGIN, None)
    corrected[later] = (masked[later] - noise[later]) / (1 - noise[later]).clamp(min=1e-6)
    return MaskedCorrelation(plain, masked, noise, corrected.clamp(-1, 1), start)


def randomise_phases(volume: Tensor, shell: int, generator: torch.Generator | None) -> Tensor:
    """A volume with the same amplitudes, and random phases from a shell on.

    Args:
        volume: (size, size, size), real.
        shell: the first one that is changed.
        generator: of random numbers.
    """
    size = len(volume)
    spectrum = torch.fft.rfftn(volume.double())
    # The transform of white noise has independent phases and the symmetry of a real volume.
    white = torch.fft.rfftn(torch.randn(volume.shape, generator=generator, dtype=torch.float64))
    turned = spectrum.abs() * white / white.abs().clamp(min=1e-30)
    chosen = torch.where(shell_numbers(size) >= shell, turned, spectrum)
    found: Tensor = torch.fft.irfftn(chosen, s=volume.shape)
    return found.to(volume)


def soft_mask(volume: Tensor, threshold: float | None = None, edge: float = 3.0) -> Tensor:
    """A mask that follows a volume's density, with a smooth edge.

    Args:
        volume: (size, size, size); smooth it first, if it is noisy.
        threshold: of the density; None: the largest one's fifth.
        edge: deviation of the Gaussian that the mask is smoothed with, in voxels.

    Returns:
        (size, size, size), in [0, 1].
    """
    level = float(volume.max()) / 5 if threshold is None else threshold
    inside = smooth((volume > level).to(volume), edge)
    # Twice the smoothed indicator covers the density's own edge.
    return (2 * inside).clamp(0, 1)


def smooth(volume: Tensor, width: float) -> Tensor:
    """Convolution with a Gaussian, periodic: (size, size, size) -> the same.

    Args:
        volume: real.
        width: standard deviation in voxels.
    """
    size = len(volume)
    whole = torch.fft.fftfreq(size, dtype=volume.dtype).square()
    half = torch.fft.rfftfreq(size, dtype=volume.dtype).square()
    square = whole[:, None, None] + whole[:, None] + half
    factor = torch.exp(-2 * torch.pi**2 * width**2 * square)
    found: Tensor = torch.fft.irfftn(torch.fft.rfftn(volume) * factor, s=volume.shape)
    return found


def local_correlation(first: Tensor, second: Tensor, low: float, high: float) -> Tensor:
    """Correlation of two volumes about each voxel, in one band of frequencies.

    The window is a Gaussian whose deviation is half of the band's longest wave, so that it holds
    two waves.

    Args:
        first: (size, size, size), real.
        second: of the same shape.
        low: first radius of the band, in shells.
        high: end of the band, in shells.

    Returns:
        (size, size, size), in [-1, 1].
    """
    size = len(first)
    shells = shell_numbers(size)
    inside = (shells >= low) & (shells < high)
    a, b = (
        torch.fft.irfftn(torch.fft.rfftn(part) * inside, s=part.shape) for part in (first, second)
    )
    width = size / (2 * max(low, 1.0))
    cross, left, right = (smooth(part, width) for part in (a * b, a * a, b * b))
    norm = (left * right).clamp(min=0).sqrt()
    tiny = 1e-12 * float(norm.max()) + torch.finfo(norm.dtype).tiny
    return (cross / (norm + tiny)).clamp(-1, 1)


def local_resolution(
    first: Tensor, second: Tensor, pixel_size: float, threshold: float = 0.5, bands: int = 10
) -> Tensor:
    """The wavelength at which half maps cease to agree, about each voxel.

    Args:
        first: (size, size, size), real.
        second: of the same shape.
        pixel_size: in angstroms.
        threshold: of the local correlation, below which a band is not resolved.
        bands: of frequencies, of equal width, from the third shell to Nyquist's frequency.

    Returns:
        (size, size, size): angstroms; the box's third where not even the first band agrees.
    """
    size = len(first)
    bounds = torch.linspace(min(3, size // 4), size // 2, bands + 1).tolist()
    found = torch.full_like(first, size * pixel_size / bounds[0])
    agrees = torch.ones_like(first, dtype=torch.bool)
    for low, high in pairwise(bounds):
        agrees &= local_correlation(first, second, low, high) >= threshold
        found = torch.where(agrees, size * pixel_size / high, found)
    return found
