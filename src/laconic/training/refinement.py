"""Semi-amortised inference: every datum's posterior is improved beyond the encoder's output.

The encoder's normal is the start; a few steps of Adam improve each datum's mean and scale while all
networks are frozen. The gain is the amortisation gap.
Source: Kim et al. 2018 (arXiv 1802.02550); Cremer, Li, Duvenaud 2018 for the gap.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from laconic.distributions.divergence import rate
from laconic.errors import ConfigError

Distortion = Callable[[Tensor], Tensor]
"""Latents `(batch, ...)` -> -log p(x | z), `(batch,)` nats, for a fixed x."""


@dataclass(frozen=True)
class Refinement:
    """Settings of the refinement.

    Attributes:
        steps: steps of Adam.
        learning_rate: initial rate, in units of a latent; it falls to 0 along half a cosine.
        draws: draws per step and datum.
        evaluation_draws: other draws per datum, for the figures before and after.
        beta: weight of the rate.
        seed: seed of all draws.

    Raises:
        ConfigError: a number of steps or draws is below 1.
    """

    steps: int = 100
    learning_rate: float = 0.03
    draws: int = 1
    evaluation_draws: int = 16
    beta: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.draws, self.evaluation_draws) < 1:
            raise ConfigError("refinement: steps, draws, evaluation_draws must be at least 1")


@dataclass(frozen=True)
class Refined:
    """The result of a refinement, per datum, in nats.

    Attributes:
        posterior: the refined posterior.
        before: D + beta R of the encoder's posterior, `(batch,)`.
        after: D + beta R of the refined posterior, with the same noise.
    """

    posterior: Normal
    before: Tensor
    after: Tensor

    @property
    def gap(self) -> Tensor:
        """The amortisation gap, `(batch,)` nats; negative if the refined posterior is worse."""
        return self.before - self.after


def refine(
    posterior: Normal,
    prior: Distribution,
    distortion: Distortion,
    settings: Refinement = Refinement(),
) -> Refined:
    """Refine the posterior of every datum.

    Args:
        posterior: the encoder's posterior over `(batch, ...)`.
        prior: any distribution over `(batch, ...)` with a density.
        distortion: -log p(x | z).
        settings: the settings.
    """
    refined = _descend(posterior, prior, distortion, settings)
    pair = [_evaluate(q, prior, distortion, settings) for q in (posterior, refined)]
    return Refined(refined, *pair)


def _descend(
    posterior: Normal, prior: Distribution, distortion: Distortion, settings: Refinement
) -> Normal:
    loc = posterior.loc.detach().clone().requires_grad_()
    log_scale = posterior.scale.detach().log().requires_grad_()
    optimizer = torch.optim.Adam([loc, log_scale], lr=settings.learning_rate)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    noises = _noise(loc.detach(), settings.steps * settings.draws, settings.seed)
    with torch.enable_grad():
        for _ in range(settings.steps):
            q = Normal(loc, log_scale.exp())
            costs = [_cost(q, prior, distortion, next(noises), settings.beta).sum()
                     for _ in range(settings.draws)]  # fmt: skip
            gradients = torch.autograd.grad(
                torch.stack(costs).mean(), [loc, log_scale], allow_unused=True
            )  # The networks accumulate no gradients.
            loc.grad, log_scale.grad = gradients
            optimizer.step()
            decay.step()
    return Normal(loc.detach(), log_scale.detach().exp())


@torch.no_grad()
def _evaluate(
    q: Normal, prior: Distribution, distortion: Distortion, settings: Refinement
) -> Tensor:
    noises = _noise(q.loc, settings.evaluation_draws, settings.seed + 1)
    costs = [_cost(q, prior, distortion, noise, settings.beta) for noise in noises]
    return torch.stack(costs).mean(0)


def _cost(
    q: Normal, prior: Distribution, distortion: Distortion, noise: Tensor, beta: float
) -> Tensor:
    latent = q.loc + q.scale * noise
    return distortion(latent) + beta * rate(q, prior, latent)


def _noise(like: Tensor, count: int, seed: int) -> Iterator[Tensor]:
    """`count` draws of noise, made on the CPU, so that they do not depend on the device."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        yield torch.randn(like.shape, generator=generator).to(like)
