"""Semi-amortised inference: every datum's posterior is improved beyond the encoder's output.

The encoder's normal is the start; a few steps of Adam improve each datum's mean and scale while all
networks are frozen. The gain is the amortisation gap. `descend` is the loop, for posteriors of any
form: the lossy codec refines the ladder of a picture with it.
Source: Kim et al. 2018 (arXiv 1802.02550); Cremer, Li, Duvenaud 2018 for the gap.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from laconic.distributions.divergence import rate
from laconic.errors import ConfigError
from laconic.progress import Progress, silent

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


def descend(
    start: Sequence[Tensor],
    cost: Callable[[Sequence[Tensor]], Tensor],
    steps: int,
    learning_rate: float,
    progress: Progress = silent,
) -> list[Tensor]:
    """Minimise a cost by steps of Adam, whose rate falls to 0 along half a cosine.

    Networks accumulate no gradients.

    Args:
        start: the parameters' first values; they are not changed.
        cost: parameters -> a scalar; called once per step.
        steps: number of steps.
        learning_rate: of the first step.
        progress: called with the steps done and the steps in all.

    Returns:
        The parameters' last values.
    """
    parameters = [value.detach().clone().requires_grad_() for value in start]
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    with torch.enable_grad():
        for step in range(steps):
            gradients = torch.autograd.grad(cost(parameters), parameters, allow_unused=True)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
            decay.step()
            progress(step + 1, steps)
    return [parameter.detach() for parameter in parameters]


def _descend(
    posterior: Normal, prior: Distribution, distortion: Distortion, settings: Refinement
) -> Normal:
    noises = _noise(posterior.loc.detach(), settings.steps * settings.draws, settings.seed)

    def cost(parameters: Sequence[Tensor]) -> Tensor:
        loc, log_scale = parameters
        q = Normal(loc, log_scale.exp())
        costs = [_cost(q, prior, distortion, next(noises), settings.beta).sum()
                 for _ in range(settings.draws)]  # fmt: skip
        return torch.stack(costs).mean()

    start = [posterior.loc, posterior.scale.log()]
    loc, log_scale = descend(start, cost, settings.steps, settings.learning_rate)
    return Normal(loc, log_scale.exp())


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
