"""Noise and prior, shell by shell, learned from the images.

Both are variances of Fourier coefficients that depend on the shell alone: the prior's are those of
the volume, found from the posterior's moments, the noise's are those of what the volume leaves of
some images.

Source: Ullrich 5.5 (the prior N(0, 1) and one noise); a variance for each shell is ours.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from laconic.errors import InputError
from laconic.imaging.posterior import TOLERANCE, VolumePosterior, over_shells, solve
from laconic.imaging.slices import phases, read_slices, to_slices, to_spectrum
from laconic.imaging.statistics import Statistics, Views
from laconic.metrics.fourier_shells import shell_sums

ROUNDS = 4
"""Of learning; the third changes the variances by a few percent."""
ROUGH = 0.03
"""Relative residual at which the solutions before the last one stop."""
LEAST_SIGNAL = 1e-3
"""Least variance of the volume's coefficients, relative to their noise."""
FLOOR, SHELL_FLOOR = 1e-7, 1e-4
"""Least noise, relative to the mean power of the images' coefficients and to that of the shell: a
percent of the norm, twice the operator's own error."""


@dataclass(frozen=True)
class Fit:
    """A posterior with what it was computed from.

    Attributes:
        posterior: of the volume.
        noise: (size // 2 + 1,): variances of images' coefficients.
        prior: (size // 2 + 1,): variances of the volume's coefficients.
    """

    posterior: VolumePosterior
    noise: Tensor
    prior: Tensor


def fit(
    statistics: Statistics,
    *,
    views: Views | None = None,
    noise: Tensor | None = None,
    prior: Tensor | None = None,
    rounds: int = ROUNDS,
    definite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Fit:
    """The posterior with learned noise and prior.

    Args:
        statistics: of the images.
        views: some of the images, which noise is learned from.
        noise: (size // 2 + 1,) or one number, if it is known; None: learned.
        prior: of the same kind.
        rounds: of expectation-maximisation, if anything is to be learned.
        definite: as for `posterior.solve`; once a solution needs it, all after it have it.
        progress: called after each with the rounds done and all.

    Raises:
        InputError: noise is to be learned and no images are given.
    """
    if noise is None and views is None:
        raise InputError("noise: give it, or images to learn it from")
    size = statistics.size
    # What all images have in a shell: noise and signal.
    power = image_power(statistics)
    floor = torch.maximum(FLOOR * power.mean(), SHELL_FLOOR * power)
    current = power.clamp(min=floor) if noise is None else _expand(noise, size)
    spectrum = _first_prior(statistics, power) if prior is None else _expand(prior, size)
    learns = noise is None or prior is None
    rough = ROUGH if learns and rounds else TOLERANCE
    posterior = solve(statistics, current, spectrum, tolerance=rough, definite=definite)
    for done in range(rounds if learns else 0):
        before = Fit(posterior, current, spectrum)
        if prior is None:
            spectrum = learned_prior(posterior, spectrum)
        if noise is None and views is not None:
            current = learned_noise(posterior, views).clamp(min=floor)
        rough = ROUGH if done < rounds - 1 else TOLERANCE
        start = mean_under(before, current, spectrum)
        posterior = solve(
            statistics,
            current,
            spectrum,
            start=start,
            tolerance=rough,
            definite=posterior.definite,
        )
        if progress is not None:
            progress(done + 1, rounds)
    return Fit(posterior, current, spectrum)


def mean_under(fit: Fit, noise: Tensor, prior: Tensor) -> Tensor:
    """The mean under another noise and prior, as if coefficients were seen one by one.

    A solver that starts from the old mean may stop there: the residual of shells with little signal
    is small beside that of the others. The old mean with the new variance then gives a wrong prior.

    Formula: m g' / g, with g = t^2 d / (1 + t^2 d), d the precision of what was seen.

    Args:
        fit: the posterior, with its noise and prior.
        noise: (size // 2 + 1,): the new noise.
        prior: (size // 2 + 1,): the new prior.

    Returns:
        The shape of the posterior's mean.
    """
    size, variance = fit.posterior.size, fit.posterior.variance
    old = (1 - variance / over_shells(fit.prior, size)).clamp(min=1e-6)
    seen = old / variance * over_shells(fit.noise / noise, size)
    new = seen / (seen + 1 / over_shells(prior, size))
    return fit.posterior.mean * (new / old)


def image_power(statistics: Statistics) -> Tensor:
    """Mean square of the images' orthonormal coefficients, shell by shell: (size // 2 + 1,)."""
    size = statistics.size
    counts = shell_sums(torch.ones(size, size // 2 + 1), size) * max(statistics.number, 1)
    return (statistics.power / counts).float()


def learned_prior(posterior: VolumePosterior, prior: Tensor) -> Tensor:
    """The signal's variance by the method of moments, shell by shell.

    With a prior t^2, a coefficient that was seen with precision d has the mean g (z + n), where
    g = t^2 d / (1 + t^2 d) and n has variance 1 / d: the true variance is
    (sum |m|^2 - sum g^2 / d) / sum g^2. Unlike the mean of |m|^2 + variance, of which it is the
    fixed point, it finds shells without signal in one step.

    Args:
        posterior: computed with this prior.
        prior: (size // 2 + 1,).

    Returns:
        (size // 2 + 1,): positive, at least `LEAST_SIGNAL` of the noise's variance.
    """
    size = posterior.size
    gain = (1 - posterior.variance / over_shells(prior, size)).clamp(min=1e-6)
    noise = shell_sums(gain * posterior.variance, size)
    signal = shell_sums(posterior.mean.abs().square(), size)
    squares = shell_sums(gain.square(), size)
    found = torch.maximum(signal - noise, LEAST_SIGNAL * noise) / squares
    found[-1] = found[-2]  # Images hardly see the last shell.
    return found.clamp(min=torch.finfo(torch.float32).tiny).float()


def learned_noise(posterior: VolumePosterior, views: Views) -> Tensor:
    """Mean square of what the posterior's mean leaves of images, shell by shell.

    Args:
        posterior: computed from many more numbers than it has itself.
        views: some of its images; those of a box, not wide.

    Returns:
        (size // 2 + 1,).
    """
    size = posterior.size
    sliced = read_slices(to_spectrum(posterior.volume()), views.rotations, size)
    if views.shifts is not None:
        sliced = sliced * phases(views.shifts, size, sliced)
    if views.transfer is not None:
        sliced = sliced * views.transfer
    left = (to_slices(views.images) - sliced).abs().square().mean(0) / size**2
    counts = shell_sums(torch.ones(left.shape), size)
    return (shell_sums(left, size) / counts).float()


def _first_prior(statistics: Statistics, power: Tensor) -> Tensor:
    """The volume's power if all of the images' were signal, of which they have `size` times."""
    return (power / statistics.size).clamp(min=torch.finfo(torch.float32).tiny)


def _expand(values: Tensor, size: int) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32).expand(size // 2 + 1)
