"""How well a posterior predicts images that it was not computed from.

The estimate is importance-weighted, with the posterior as proposal: for draws v_1 ... v_K of q,

    log p(x | data) >= E log 1/K sum over k of p(x | v_k),

which grows with K and becomes exact. For K = 1 it is the reconstruction term of (5.14).

Source: Ullrich 5.7, whose discussion requires the likelihood of held-out images.
"""

import math

import torch
from torch import Tensor

from laconic.errors import InputError
from laconic.imaging.posterior import VolumePosterior
from laconic.imaging.slices import largest_band, phases, read_slices, to_slices, to_spectrum
from laconic.imaging.statistics import Views
from laconic.metrics.fourier_shells import multiplicity, shell_numbers


def image_log_likelihood(volume: Tensor, noise: Tensor, views: Views) -> Tensor:
    """Logarithm of p(x | v) of each image, over the frequencies within the band, (5.11).

    Args:
        volume: (size, size, size).
        noise: (size // 2 + 1,): variances of images' orthonormal coefficients.
        views: the images.

    Returns:
        (images,), float64, in nats.
    """
    size = len(volume)
    shown = read_slices(to_spectrum(volume), views.rotations, size)
    if views.shifts is not None:
        shown = shown * phases(views.shifts, size, shown)
    if views.transfer is not None:
        shown = shown * views.transfer
    shells = shell_numbers(size, 2)
    variance = noise.double()[shells.clamp(max=size // 2)]
    left = (to_slices(views.images) - shown).abs().square().double() / size**2
    terms = (left / variance + (2 * math.pi * variance).log()) * multiplicity(size)
    return -0.5 * terms[:, shells <= largest_band(size)].sum(-1)


def held_out_log_likelihood(
    posterior: VolumePosterior,
    noise: Tensor,
    views: Views,
    draws: int = 16,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Importance-weighted log-likelihood of images that the posterior has not seen.

    Args:
        posterior: of the volume.
        noise: (size // 2 + 1,): variances of images' orthonormal coefficients.
        views: held-out images.
        draws: volumes that are drawn.
        generator: of the draws.

    Returns:
        (images,), float64, in nats.

    Raises:
        InputError: fewer than one draw.
    """
    if draws < 1:
        raise InputError(f"draws: {draws} is less than 1")
    found = [image_log_likelihood(posterior.sample(generator), noise, views) for _ in range(draws)]
    return torch.logsumexp(torch.stack(found), 0) - math.log(draws)
