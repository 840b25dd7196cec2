"""What is minimised: nats of rate plus nats of what remains, per image.

Every objective returns per-example terms, so that the loop can weight, log and average them.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Normal

from laconic.distributions.divergence import density, kl_normal, rate
from laconic.errors import ConfigError


class Rung(Protocol):
    """A level of a ladder: anything with a posterior, a prior and the draw."""

    @property
    def posterior(self) -> Distribution:
        """What the sender knows."""
        ...

    @property
    def prior(self) -> Distribution:
        """What both sides know."""
        ...

    @property
    def latent(self) -> Tensor:
        """What was drawn."""
        ...


@dataclass(frozen=True)
class Parts:
    """What one draw of the latents costs, example by example, in nats per image.

    Attributes:
        distortion: -log p(x | z), shape `(batch,)`.
        rates: of each level, top first, each `(batch,)`.
    """

    distortion: Tensor
    rates: Sequence[Tensor]

    @property
    def rate(self) -> Tensor:
        """Of all levels, `(batch,)`."""
        return sum(self.rates, torch.zeros_like(self.distortion))


@dataclass(frozen=True)
class Terms:
    """Per-example parts of an objective, each of shape `(batch,)`.

    Attributes:
        loss: what is minimised, in nats per pixel.
        level_bits: bits per pixel of each level, top first.
        squared_error: mean over pixels and colours of the squared error of the shown picture; NaN
            where there is none worth showing: binary pixels, or no mean in closed form.
        rate_nats: R, nats per image.
        distortion_nats: D, nats per image.
    """

    loss: Tensor
    level_bits: Sequence[Tensor]
    squared_error: Tensor
    rate_nats: Tensor
    distortion_nats: Tensor


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


def measure(x: Tensor, rungs: Sequence[Rung], likelihood: Distribution) -> Parts:
    """Distortion and rates of one pass.  Source: Alemi, eq. 2 and 3.

    Args:
        x: `(batch, colours, height, width)`.
        rungs: levels, top first.
        likelihood: p(x | z).
    """
    rates = [rate(rung.posterior, rung.prior, rung.latent) for rung in rungs]
    return Parts(-density(likelihood, x), rates)


def assemble(x: Tensor, likelihood: Distribution, parts: Parts, loss_nats: Tensor) -> Terms:
    """An objective's terms.

    Args:
        x: `(batch, colours, height, width)`.
        likelihood: p(x | z).
        parts: of the same pass.
        loss_nats: what is minimised, nats per image, `(batch,)`.
    """
    pixels = x.shape[-1] * x.shape[-2]
    return Terms(
        loss_nats / pixels,
        [told / (pixels * math.log(2)) for told in parts.rates],
        _squared_error(x, likelihood),
        parts.rate.detach(),
        parts.distortion.detach(),
    )


def _squared_error(x: Tensor, likelihood: Distribution) -> Tensor:
    unknown = x.new_full((len(x),), math.nan)
    if isinstance(getattr(likelihood, "base_dist", likelihood), Bernoulli):
        return unknown
    try:
        return (likelihood.mean - x).square().flatten(1).mean(1)
    except NotImplementedError:  # An autoregressive likelihood has no mean in closed form.
        return unknown


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
    parts = measure(x, rungs, likelihood)
    return assemble(x, likelihood, parts, parts.distortion + warmup * parts.rate)


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
    parts = measure(x, rungs, likelihood)
    weight = warmup * log_beta.exp()
    return assemble(x, likelihood, parts, parts.distortion + weight * parts.rate)


@dataclass(frozen=True)
class RateDistortion:
    """D + beta R for one beta, whatever range the model was made for.

    At beta = 1 it is the negative ELBO; above, the rate is dear; below, the distortion is.
    Source: Alemi, eq. 4; Higgins et al. 2017.

    Attributes:
        beta: nats of distortion that a nat of rate is worth.

    Raises:
        ConfigError: a negative beta.
    """

    beta: float = 1.0

    def __post_init__(self) -> None:
        if self.beta < 0:
            raise ConfigError(f"objective.beta: {self.beta} must not be negative")

    def __call__(
        self,
        x: Tensor,
        rungs: Sequence[Rung],
        likelihood: Distribution,
        log_beta: Tensor,
        warmup: float = 1.0,
    ) -> Terms:
        """Per-example terms; `warmup` raises the rate's weight from 0 to beta."""
        parts = measure(x, rungs, likelihood)
        return assemble(x, likelihood, parts, parts.distortion + warmup * self.beta * parts.rate)


@dataclass(frozen=True)
class FreeBits:
    """D + sum over groups of max(nats, mean KL): what a group tells below `nats` costs nothing.

    The mean is over the batch, so that single examples may tell less.
    Source: Kingma et al. 2016, eq. 15.

    Attributes:
        nats: free for each group.
        per: what a group is: "level", or "dimension" of a level's latents.

    Raises:
        ConfigError: negative nats, or another word than those two.
    """

    nats: float = 0.5
    per: str = "level"

    def __post_init__(self) -> None:
        if self.nats < 0:
            raise ConfigError(f"objective.nats: {self.nats} must not be negative")
        if self.per not in ("level", "dimension"):
            raise ConfigError(f"objective.per: '{self.per}' is not one of level, dimension")

    def __call__(
        self,
        x: Tensor,
        rungs: Sequence[Rung],
        likelihood: Distribution,
        log_beta: Tensor,
        warmup: float = 1.0,
    ) -> Terms:
        """Per-example terms; the floor, one number for the batch, is in each of them."""
        parts = measure(x, rungs, likelihood)
        groups = parts.rates if self.per == "level" else map(_rate_by_dimension, rungs)
        floors = [told.mean(0).clamp_min(self.nats).sum() for told in groups]
        floor = sum(floors, parts.distortion.new_zeros(()))
        return assemble(x, likelihood, parts, parts.distortion + warmup * floor)


def _rate_by_dimension(rung: Rung) -> Tensor:
    """`(batch, ...)`, in nats.

    Raises:
        ConfigError: a distribution that does not fall into dimensions.
    """
    if isinstance(rung.posterior, Normal) and isinstance(rung.prior, Normal):
        return kl_normal(rung.posterior, rung.prior)
    if rung.posterior.event_shape or rung.prior.event_shape:
        raise ConfigError(
            "objective.per: this model's rate does not fall into dimensions; write per: level"
        )
    return rung.posterior.log_prob(rung.latent) - rung.prior.log_prob(rung.latent)


def kl_warmup(step: int, period: int) -> float:
    """Weight of the KL at `step`: min(step / period, 1).  Source: Flamich 3.3."""
    return 1.0 if period <= 0 else min(step / period, 1.0)


class LearningObjective(nn.Module, ABC):
    """An objective with a state of its own: buffers that checkpoints hold beside the weights.

    `forward` looks and does not change the state; `after_step` does, once a step is done, so that
    a checkpoint never holds half a step.
    """

    @abstractmethod
    def forward(
        self,
        x: Tensor,
        rungs: Sequence[Rung],
        likelihood: Distribution,
        log_beta: Tensor,
        warmup: float = 1.0,
    ) -> Terms:
        """Per-example terms."""

    @abstractmethod
    def after_step(self) -> None:
        """Take in what the last `forward` saw."""


OBJECTIVES: dict[str, Objective] = {"elbo": elbo, "gamma": elbo, "beta": beta_elbo}
"""Those without settings, by the name in configurations; gamma is the ELBO of a model that learns
its scale. `training.choice` has them all."""
