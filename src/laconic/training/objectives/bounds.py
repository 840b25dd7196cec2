"""Tighter bounds on log p(x) than the ELBO, as objectives."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from laconic.distributions.divergence import density
from laconic.errors import ConfigError
from laconic.training.objectives.base import Objective, Rung, Terms, assemble, measure


@dataclass(frozen=True)
class Iwae(Objective):
    """The importance-weighted bound of k draws.

    With k = 1 it is the ELBO, its rate estimated from the draw.
    Every example is repeated, its k copies side by side; the loss of each copy is the bound of its
    example, so that a mean over copies is a mean over examples.

    Formula: -log (1/k) sum_i w_i, w = p(x | z) (p(z) / q(z | x))^warmup.
    Source: Burda, Grosse, Salakhutdinov 2015, eq. 8; Lecture, on tighter bounds.

    Attributes:
        draws: k.

    Raises:
        ConfigError: fewer than one draw.
    """

    draws: int = 5

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ConfigError(f"objective.draws: {self.draws} must be at least 1")

    def __call__(
        self,
        x: Tensor,
        rungs: Sequence[Rung],
        likelihood: Distribution,
        log_beta: Tensor,
        warmup: float = 1.0,
    ) -> Terms:
        """Per-copy terms; rate and distortion are those of the single draws."""
        parts = measure(x, rungs, likelihood)
        log_weights = -parts.distortion - warmup * log_ratio(rungs, parts.distortion)
        bound = math.log(self.draws) - log_weights.reshape(-1, self.draws).logsumexp(1)
        return assemble(parts, bound.repeat_interleave(self.draws))


def log_ratio(rungs: Sequence[Rung], like: Tensor) -> Tensor:
    """Rate of what was drawn, log q(z | x) - log p(z), over all levels, `(batch,)` nats.

    The rate's estimate from the draw, which importance weights need: no closed form will do.
    """
    ratios = [
        density(rung.posterior, rung.latent) - density(rung.prior, rung.latent) for rung in rungs
    ]
    return sum(ratios, torch.zeros_like(like))
