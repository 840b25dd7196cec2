"""The volume's posterior by stochastic gradients, as the source finds it.

The bound (5.15) of a batch D_i of N images is minimised by Adam:

    sum over D_i of -E_q log p(x_n | v) + |D_i| / N KL(q(v) || p(v)).

q is a diagonal Gaussian over Fourier coefficients, or all of its mass at the mean (the source's
delta posterior: the mode, MAP). Means and deviations are learned in units of each shell's, so that
one rate suits all frequencies. A step draws one volume and its opposite, m +
s e and m - s e: for a Gaussian likelihood the gradient by s is then free of the residual's noise.
Noise and prior of each shell are learned by the same bound, unless they are given.

The closed form (`posterior.solve`) finds the same optimum in one pass; it is the default.

Source: Ullrich 5.5, equations (5.11), (5.14) and (5.15); table 5.1 compares both kinds of q.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from laconic.errors import InputError
from laconic.imaging.empirical import Fit
from laconic.imaging.posterior import (
    VolumePosterior,
    over_shells,
    to_coefficients,
    to_space,
)
from laconic.imaging.slices import (
    PADDING,
    largest_band,
    phases,
    read_slices,
    to_slices,
    to_spectrum,
)
from laconic.imaging.statistics import Views
from laconic.metrics.fourier_shells import multiplicity, shell_numbers, shell_sums

KINDS = ("gaussian", "delta")
FIRST_SCALE = 0.1
"""Deviation of q at the start, in units of the shell's."""
SLOWER = 0.5
"""Rate of the variances of noise and prior, relative to that of the means."""


@dataclass(frozen=True)
class Descent:
    """How the bound is minimised.

    Attributes:
        epochs: passes through the images.
        batch: images of a step.
        rate: of Adam for the means, in units of the shell's deviation; it falls to 0 by a cosine.
        seed: of the order of images and of the draws.
        padding: times the size to which the volume is padded.
    """

    epochs: int = 30
    batch: int = 64
    rate: float = 0.05
    seed: int = 0
    padding: int = PADDING

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "rate", "padding"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name}: {getattr(self, name)} is not positive")


@dataclass(frozen=True)
class Descended:
    """What gradients found.

    Attributes:
        fit: the posterior, with noise and prior; a delta posterior has variances of 0.
        bounds_nats: (5.15) summed over the batches of each epoch, in nats.
    """

    fit: Fit
    bounds_nats: list[float] = field(default_factory=list)


class VariationalVolume(nn.Module):
    """q(v), the noise and the prior as parameters, and the bound of a batch.

    Args:
        size: of the box.
        noise: (size // 2 + 1,): first variances of images' coefficients.
        prior: (size // 2 + 1,): first variances of the volume's coefficients.
        unit: (size // 2 + 1,): deviations of the coefficients, about, which they are learned in.
        kind: "gaussian" or "delta".
        learns_noise: the noise is a parameter.
        learns_prior: the prior is a parameter; not for a delta posterior, whose bound has no
            minimum then.
    """

    def __init__(
        self,
        size: int,
        noise: Tensor,
        prior: Tensor,
        unit: Tensor,
        kind: str = "gaussian",
        learns_noise: bool = True,
        learns_prior: bool = False,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise InputError(f"kind: '{kind}' is not one of {', '.join(KINDS)}")
        if kind == "delta" and learns_prior:
            raise InputError("prior: a delta posterior cannot learn it; give its variances")
        self.size, self.kind = size, kind
        shape = (size, size, size // 2 + 1)
        self.register_buffer("unit", over_shells(unit.float(), size))
        self.register_buffer("counts", multiplicity(size).float())
        self.register_buffer("shells", shell_numbers(size, 2))
        self.centre = nn.Parameter(torch.zeros(*shape, 2))
        first = torch.full(shape, math.log(FIRST_SCALE))
        self.log_scale = nn.Parameter(first, requires_grad=kind == "gaussian")
        self.log_noise = nn.Parameter(noise.float().log(), requires_grad=learns_noise)
        self.log_prior = nn.Parameter(prior.float().log(), requires_grad=learns_prior)

    unit: Tensor
    counts: Tensor
    shells: Tensor

    def mean(self) -> Tensor:
        """Of the coefficients, complex; (size, size, size // 2 + 1)."""
        return torch.view_as_complex(self.centre) * self.unit

    def posterior(self) -> VolumePosterior:
        """The posterior as it is now."""
        mean = to_coefficients(to_space(self.mean().detach(), self.size))
        variance = (self.log_scale.detach().exp() * self.unit).square()
        if self.kind == "delta":
            variance = torch.zeros_like(variance)
        return VolumePosterior(mean, variance, self.size)

    def kl(self) -> Tensor:
        """KL(q || p) in nats; of a delta posterior -log p(m), up to a constant."""
        prior = over_shells(self.log_prior.exp(), self.size)
        square = torch.view_as_real(self.mean()).square().sum(-1) / prior
        if self.kind == "delta":
            return 0.5 * (square * self.counts).sum()
        ratio = (self.log_scale.exp() * self.unit).square() / prior
        return 0.5 * ((ratio + square - 1 - ratio.log()) * self.counts).sum()

    def fidelity(self, views: Views, seen: Tensor, volume: Tensor, padding: int) -> Tensor:
        """-log p(x | v) of images in nats, over the frequencies within the band, (5.11).

        Args:
            views: the images.
            seen: their half spectra, `to_slices` of them.
            volume: v, in space.
            padding: times the size to which it is padded.
        """
        size = self.size
        shown = read_slices(to_spectrum(volume, padding), views.rotations, size)
        if views.shifts is not None:
            shown = shown * phases(views.shifts, size, shown)
        if views.transfer is not None:
            shown = shown * views.transfer
        left = torch.view_as_real(seen - shown).square().sum(-1) / size**2
        log_noise = self.log_noise[self.shells.clamp(max=size // 2)]
        terms = left.sum(0) * (-log_noise).exp()
        terms = terms + len(views.images) * (log_noise + math.log(2 * math.pi))
        return 0.5 * (terms * self.counts)[self.shells <= largest_band(size)].sum()

    def bound(
        self, views: Views, number: int, padding: int, generator: torch.Generator | None
    ) -> Tensor:
        """(5.15) of a batch, in nats.

        Args:
            views: the batch.
            number: of all images.
            padding: times the size to which the volume is padded.
            generator: of the draw.
        """
        mean, seen = to_space(self.mean(), self.size), to_slices(views.images)
        if self.kind == "delta":
            expected = self.fidelity(views, seen, mean, padding)
        else:
            white = torch.randn(mean.shape, generator=generator).to(mean)
            scale = self.log_scale.exp() * self.unit
            offset = to_space(to_coefficients(white) * scale, self.size)
            expected = 0.5 * sum(
                (self.fidelity(views, seen, mean + sign * offset, padding) for sign in (1, -1)),
                torch.zeros(()),
            )
        return expected + len(views.images) / number * self.kl()


def descend(
    views: Callable[[Tensor], Views],
    number: int,
    size: int,
    *,
    kind: str = "gaussian",
    noise: Tensor | None = None,
    prior: Tensor | None = None,
    how: Descent | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Descended:
    """The posterior by stochastic gradients.

    Args:
        views: gives the images of some numbers in [0, number).
        number: of images.
        size: of their boxes.
        kind: "gaussian" or "delta".
        noise: (size // 2 + 1,) or one number; None: learned for each shell.
        prior: of the same kind; None: learned for each shell (Gaussian only).
        how: epochs, batch, rate, seed.
        progress: called after each batch with the batches done and all.

    Raises:
        InputError: no image, or a delta posterior without a prior.
    """
    how = how or Descent()
    if number < 1:
        raise InputError("images: there are none")
    generator = torch.Generator().manual_seed(how.seed)
    power = _power(views(torch.arange(min(number, 256))), size)
    first_noise = power if noise is None else _expand(noise, size)
    first_prior = power / size if prior is None else _expand(prior, size)
    # An image shows a coefficient of the volume `size` times, in variance.
    # An image shows a coefficient of the volume `size` times, in variance; noise is in all shells.
    signal = (power - (power.min() if noise is None else first_noise)) / size
    unit = torch.maximum(signal, torch.minimum(first_prior, power / size)).sqrt()
    volume = VariationalVolume(
        size, first_noise, first_prior, unit, kind, noise is None, prior is None
    )
    optimiser = _optimiser(volume, how.rate)
    steps = how.epochs * math.ceil(number / how.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    bounds, done = [], 0
    for _ in range(how.epochs):
        bounds.append(0.0)
        order = torch.randperm(number, generator=generator)
        for start in range(0, number, how.batch):
            part = order[start : start + how.batch]
            optimiser.zero_grad()
            loss = volume.bound(views(part), number, how.padding, generator)
            (loss / len(part)).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            bounds[-1] += float(loss.detach())
            done += 1
            if progress is not None:
                progress(done, steps)
    shells = (volume.log_noise.detach().exp(), volume.log_prior.detach().exp())
    return Descended(Fit(volume.posterior(), *shells), bounds)


def chosen_of(views: Views) -> Callable[[Tensor], Views]:
    """Views in memory as what `descend` takes."""

    def choose(numbers: Tensor) -> Views:
        transfer = views.transfer
        return Views(
            views.images[numbers],
            views.rotations[numbers],
            None if views.shifts is None else views.shifts[numbers],
            transfer if transfer is None or len(transfer) == 1 else transfer[numbers],
        )

    return choose


def _optimiser(volume: VariationalVolume, rate: float) -> torch.optim.Optimizer:
    groups = [
        {"params": [volume.centre, volume.log_scale], "lr": rate},
        {"params": [volume.log_noise, volume.log_prior], "lr": SLOWER * rate},
    ]
    return torch.optim.Adam(groups)


def _power(views: Views, size: int) -> Tensor:
    """Mean square of the images' orthonormal coefficients, shell by shell, positive."""
    squares = (to_slices(views.images.float()) / size).abs().square().mean(0)
    found = shell_sums(squares, size) / shell_sums(torch.ones(squares.shape), size)
    return found.float().clamp(min=torch.finfo(torch.float32).tiny)


def _expand(values: Tensor, size: int) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32).expand(size // 2 + 1).clone()
