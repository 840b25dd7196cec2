"""How finely a map must be kept: a noise for each shell of frequencies, from what is known of it.

A map is a truth and an error. The share g of a shell's power that is truth says how well the shell
is known; the correlation of map and truth is root g. Noise of variance D that is added to
coefficients of power P takes it to root(g / (1 + D / P)). D is the smaller of two:

- the variance of the error, (1 - g) P: the noise of one draw from the posterior,
- what lowers the correlation with the truth by `loss`.

So shells that are known well are kept as exactly as they are known, shells with more error than
truth a little more exactly than that, and shells of noise alone are not kept.

Source: Ullrich 5.6, equations (5.18) and (5.19); the noise of a draw as the measure of accuracy is
that of relative entropy coding (Flamich); the second rule is ours.
"""

from typing import Final

import numpy as np
import torch
from torch import Tensor

from laconic.coding.relative_entropy.standardise import DoubleArray
from laconic.errors import InputError
from laconic.imaging.posterior import to_coefficients
from laconic.map_file import Array
from laconic.metrics.fourier_shells import shell_correlation, shell_sums

MOST_NOISE: Final = 64.0
"""Noise of shells that are not kept, times their power."""
LEAST_NOISE: Final = 2.0**-24
"""Of a shell's power: the square of float16's precision, a sixteenth of what float16 keeps."""
LEAST_POWER: Final = 2.0**-40
"""Of the power of the strongest shell; below are the rounding errors of float32."""
SIGNIFICANT: Final = 3.0
"""Standard deviations by which half maps must agree in a shell; with less, it is noise."""
SYMMETRY: Final = 1e-3
"""Largest relative difference of the variances of a coefficient and its mirror."""


def share_from_variance(density: Array, variance: Array) -> DoubleArray:
    """The share of truth in each shell, from a posterior's variances.

    Args:
        density: the posterior's mean, (size, size, size).
        variance: of each Fourier coefficient, orthonormal, the zero frequency in the middle; of the
            same shape (`laconic reconstruct --variance`).

    Returns:
        (size // 2 + 1,): |m|^2 / (|m|^2 + v), v averaged where the map has its power.

    Raises:
        InputError: boxes differ, or the numbers are no variances of a map's coefficients.
    """
    size = len(density)
    if variance.shape != density.shape:
        raise InputError(f"the variance has a box of {len(variance)} voxels, the map one of {size}")
    if variance.min() < 0 or variance.max() <= 0:
        raise InputError("the variance has numbers below 0, or is 0 everywhere")
    unshifted = np.fft.ifftshift(variance)
    mirrored = np.roll(unshifted[::-1, ::-1, ::-1], 1, (0, 1, 2))
    if np.abs(unshifted - mirrored).mean() > SYMMETRY * unshifted.mean():
        raise InputError(
            "the variance is not one of Fourier coefficients, in which frequencies and their "
            "opposites agree; give the file that `laconic reconstruct --variance` writes"
        )
    half = torch.from_numpy(unshifted[:, :, : size // 2 + 1].astype(np.float64))
    power = to_coefficients(torch.from_numpy(density).double()).abs().square()
    sums = shell_sums(power, size)
    error = shell_sums(power * half, size) / sums.clamp(min=torch.finfo(sums.dtype).tiny)
    mean = sums / _counts(size)
    share: DoubleArray = (mean / (mean + error).clamp(min=torch.finfo(sums.dtype).tiny)).numpy()
    return share


def share_from_halves(first: Array, second: Array) -> DoubleArray:
    """The share of truth in each shell of the mean of two half maps: 2 F / (1 + F).

    Args:
        first: of half the images, (size, size, size).
        second: of the other half.

    Returns:
        (size // 2 + 1,); 0 where their correlation F may be chance.

    Raises:
        InputError: boxes differ.
    """
    found = shell_correlation(torch.from_numpy(first), torch.from_numpy(second))
    # Two coefficients of a shell are conjugate: half of them are independent complex numbers.
    chance = SIGNIFICANT / _counts(len(first)).sqrt()
    kept = torch.where(found > chance, found, 0.0)
    kept[0] = kept[1]  # One number has no correlation.
    share: DoubleArray = (2 * kept / (1 + kept)).clamp(0, 1).numpy()
    return share


def noise_variances(density: Array, share: DoubleArray, loss: float) -> DoubleArray:
    """The variance of the noise that each shell's coefficients may get.

    Args:
        density: (size, size, size).
        share: of truth, (size // 2 + 1,).
        loss: of correlation with the truth, in any shell; in (0, 1).

    Returns:
        (size // 2 + 1,), of orthonormal coefficients, above 0.

    Raises:
        InputError: all voxels are equal.
    """
    power = shell_power(density)
    root = np.sqrt(np.clip(share, 2.0**-48, 1.0))
    left = np.maximum(1 - loss / root, 1e-9)
    ratio = np.minimum((1 - root**2) / root**2, left**-2 - 1)
    ratio = np.where(root <= loss, MOST_NOISE, np.clip(ratio, LEAST_NOISE, MOST_NOISE))
    if not power[1:].max() > 0:
        raise InputError("all voxels of the map are equal; there is nothing to keep")
    found: DoubleArray = ratio * np.maximum(power, LEAST_POWER * power[1:].max())
    return found


def shell_power(density: Array) -> DoubleArray:
    """Mean squares of a map's orthonormal coefficients, shell by shell: (size // 2 + 1,)."""
    size = len(density)
    squares = to_coefficients(torch.from_numpy(density).double()).abs().square()
    power: DoubleArray = (shell_sums(squares, size) / _counts(size)).numpy()
    return power


def ideal_bits(density: Array, noise: DoubleArray) -> float:
    """Bits of a draw with this noise under a prior with the map's power, by shell: the KL.

    Coefficients beyond the last shell count as its own.

    Args:
        density: (size, size, size).
        noise: (size // 2 + 1,), variances.
    """
    counts = _counts(len(density)).numpy()
    counts[-1] += len(density) ** 3 - counts.sum()
    return float((0.5 * counts * np.log2(1 + shell_power(density) / noise)).sum())


def _counts(size: int) -> Tensor:
    """Coefficients of each shell."""
    return shell_sums(torch.ones(size, size, size // 2 + 1, dtype=torch.float64), size)
