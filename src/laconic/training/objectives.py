"""What is minimised: nats of rate plus nats of what remains, per image.

Every objective returns per-example terms, so that the loop can weight, log and average them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from laconic.distributions.divergence import kl_normal


class Rung(Protocol):
    """A level of a ladder: anything with a posterior, a prior and the draw."""

    @property
    def posterior(self) -> Normal:
        """What the sender knows."""
        ...

    @property
    def prior(self) -> Normal:
        """What both sides know."""
        ...


@dataclass(frozen=True)
class Terms:
    """Per-example parts of an objective, each of shape `(batch,)`.

    Attributes:
        loss: what is minimised, in nats per pixel.
        level_bits: bits per pixel of each level, top first.
        squared_error: mean over pixels and colours of the squared error of the shown picture; NaN
            where the likelihood has no mean in closed form.
    """

    loss: Tensor
    level_bits: Sequence[Tensor]
    squared_error: Tensor


class Objective(Protocol):
    """Turns a ladder's rungs and likelihood into `Terms`."""

    def __call__(
        self,
        x: Tensor,
        rungs: Sequence[Rung],
        likelihood: Distribution,
        log_beta: Tensor,
        warmup: float,
    ) -> Terms:
        """`warmup` weighs the KL; `log_beta` has shape `(batch,)`."""
        ...


def _assemble(
    x: Tensor, rungs: Sequence[Rung], likelihood: Distribution, remaining: Tensor, kl_weight: Tensor
) -> Terms:
    pixels = x.shape[-1] * x.shape[-2]
    rates = [kl_normal(rung.posterior, rung.prior).flatten(1).sum(1) / pixels for rung in rungs]
    loss = remaining.reshape(len(x), -1).sum(1) / pixels + kl_weight * sum(
        rates, torch.zeros_like(kl_weight)
    )
    error = _squared_error(x, likelihood)
    nat = float(torch.tensor(2.0).log())
    return Terms(loss, [rate / nat for rate in rates], error)


def _squared_error(x: Tensor, likelihood: Distribution) -> Tensor:
    try:
        return (likelihood.mean - x).square().flatten(1).mean(1)
    except NotImplementedError:  # An autoregressive likelihood has no mean in closed form.
        return x.new_full((len(x),), math.nan)


def elbo(
    x: Tensor,
    rungs: Sequence[Rung],
    likelihood: Distribution,
    log_beta: Tensor,
    warmup: float = 1.0,
) -> Terms:
    """Negative ELBO, -log p(x | z) + warmup * KL, in nats per pixel.

    With the sliced ladder, whose Gaussian likelihood has variance beta, this is the
    rate-distortion Lagrangian
    rate + squared error / (2 beta) up to a constant. With a learned likelihood scale it is the
    gamma objective, L = D / gamma + R.
    Source: Flamich eq. 3.1 and 3.3.1; warm-up: Soenderby et al. 2016 as in Flamich 3.3.
    """
    remaining = -likelihood.log_prob(x)
    return _assemble(x, rungs, likelihood, remaining, torch.full_like(log_beta, warmup))


def beta_elbo(
    x: Tensor,
    rungs: Sequence[Rung],
    likelihood: Distribution,
    log_beta: Tensor,
    warmup: float = 1.0,
) -> Terms:
    """Weighted negative ELBO: -log p(x | z) + warmup * beta * KL, for likelihoods of a fixed scale.

    Source: Flamich eq. 3.1.
    """
    return _assemble(x, rungs, likelihood, -likelihood.log_prob(x), warmup * log_beta.exp())


def kl_warmup(step: int, period: int) -> float:
    """Weight of the KL at `step`: min(step / period, 1).  Source: Flamich 3.3."""
    return 1.0 if period <= 0 else min(step / period, 1.0)


OBJECTIVES: dict[str, Objective] = {"elbo": elbo, "gamma": elbo, "beta": beta_elbo}
"""By the name in configurations; gamma is the ELBO of a model that learns its scale."""
