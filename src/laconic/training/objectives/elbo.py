"""The ELBO, its weighted forms, and free bits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor
from torch.distributions import Distribution, Normal

from laconic.distributions.divergence import kl_normal
from laconic.errors import ConfigError
from laconic.training.objectives.base import Objective, Rung, Terms, assemble, measure


@final
class Elbo(Objective):
    """Negative ELBO, -log p(x | z) + warmup * KL.

    With the sliced ladder, whose Gaussian likelihood has variance beta, this is the
    rate-distortion Lagrangian
    rate + squared error / (2 beta) up to a constant. With a learned likelihood scale it is the
    gamma objective, L = D / gamma + R.
    Source: Flamich eq. 3.1 and 3.3.1; warm-up: Soenderby et al. 2016 as in Flamich 3.3.
    """

    def __call__(
        self,
        x: Tensor,
        rungs: Sequence[Rung],
        likelihood: Distribution,
        log_beta: Tensor,
        warmup: float = 1.0,
    ) -> Terms:
        """Per-example terms."""
        parts = measure(x, rungs, likelihood)
        return assemble(parts, parts.distortion + warmup * parts.rate)


@final
class BetaElbo(Objective):
    """Weighted negative ELBO, -log p(x | z) + warmup * beta * KL, for a likelihood of fixed scale.

    Source: Flamich eq. 3.1.
    """

    def __call__(
        self,
        x: Tensor,
        rungs: Sequence[Rung],
        likelihood: Distribution,
        log_beta: Tensor,
        warmup: float = 1.0,
    ) -> Terms:
        """Per-example terms."""
        parts = measure(x, rungs, likelihood)
        weight = warmup * log_beta.exp()
        return assemble(parts, parts.distortion + weight * parts.rate)


@final
@dataclass(frozen=True)
class RateDistortion(Objective):
    """D + beta R for one beta, whatever range the model was made for.

    At beta = 1 it is the negative ELBO. A larger beta makes the rate smaller, a smaller beta the
    distortion.
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
        return assemble(parts, parts.distortion + warmup * self.beta * parts.rate)


@final
@dataclass(frozen=True)
class FreeBits(Objective):
    """D + sum over groups of max(nats, mean KL): a group's rate below `nats` costs nothing.

    The mean is over the batch, so that single examples may have a smaller rate.
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
        floors = [nats.mean(0).clamp_min(self.nats).sum() for nats in groups]
        floor = sum(floors, parts.distortion.new_zeros(()))
        return assemble(parts, parts.distortion + warmup * floor)


def _rate_by_dimension(rung: Rung) -> Tensor:
    """`(batch, ...)`, in nats.

    Raises:
        ConfigError: a distribution whose density is not a product over dimensions.
    """
    if isinstance(rung.posterior, Normal) and isinstance(rung.prior, Normal):
        return kl_normal(rung.posterior, rung.prior)
    if rung.posterior.event_shape or rung.prior.event_shape:
        raise ConfigError(
            "objective.per: the rate of this model is no sum over dimensions; write per: level"
        )
    return rung.posterior.log_prob(rung.latent) - rung.prior.log_prob(rung.latent)


elbo = Elbo()
beta_elbo = BetaElbo()

OBJECTIVES: dict[str, Objective] = {"elbo": elbo, "gamma": elbo, "beta": beta_elbo}
"""Those without settings, by their name in configurations. gamma is the ELBO of a model that learns
the scale of its likelihood. `objectives.choice` has all objectives."""
