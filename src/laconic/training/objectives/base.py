"""What every objective is: rates and distortion of one draw -> a loss, in nats per example.

Nothing here assumes pictures; `objectives.pictures` turns nats into bits per pixel and decibels.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution

from laconic.distributions.divergence import density, rate
from laconic.training.loss import LossState


class Rung(Protocol):
    """A level of a ladder: anything with a posterior, a prior and a draw of the posterior."""

    @property
    def posterior(self) -> Distribution:
        """The sender's distribution of the latent."""
        ...

    @property
    def prior(self) -> Distribution:
        """The distribution that both sides have."""
        ...

    @property
    def latent(self) -> Tensor:
        """A draw of the posterior."""
        ...


@dataclass(frozen=True)
class Parts:
    """The cost of one draw of the latents, per example, in nats.

    Attributes:
        distortion: -log p(x | z), `(batch,)`.
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
    """The terms of an objective, each `(batch,)` and in nats per example.

    Attributes:
        loss: what is minimised, with gradients.
        level_nats: rate of each level, top first, without gradients.
        distortion_nats: D, without gradients.
    """

    loss: Tensor
    level_nats: Sequence[Tensor]
    distortion_nats: Tensor

    @property
    def rate_nats(self) -> Tensor:
        """R, the rate of all levels, `(batch,)`."""
        return sum(self.level_nats, torch.zeros_like(self.distortion_nats))


class Objective(ABC):
    """Turns a ladder's rungs and likelihood into `Terms`.

    Attributes:
        draws: how often each example passes through the model in a step, copies side by side.
        pathwise: whether gradients reach the posterior through the draws.
        takes_warmup: whether a schedule may weight the KL.
        has_taste: whether examples have a taste, a coordinate that the model must have too.
    """

    draws: int = 1
    pathwise: bool = True
    takes_warmup: bool = True
    has_taste: bool = False

    @abstractmethod
    def __call__(
        self,
        x: Tensor,
        rungs: Sequence[Rung],
        likelihood: Distribution,
        log_beta: Tensor,
        warmup: float = 1.0,
    ) -> Terms:
        """The terms of a batch.

        Args:
            x: examples `(batch, channels, ...)`.
            rungs: levels, top first.
            likelihood: p(x | z).
            log_beta: natural log of beta, `(batch,)`.
            warmup: weight of the KL.
        """

    def draw_taste(self, count: int, generator: torch.Generator) -> Tensor | None:
        """Tastes of `count` examples, `(count,)` in [0, 1]; None where `has_taste` is false."""
        return None

    def at(self, taste: Tensor) -> "Objective":
        """The objective of examples with these tastes, `(batch,)`."""
        return self

    @property
    def state(self) -> LossState | None:
        """The buffers that a checkpoint stores beside the weights; None where there are none."""
        return None


class LearningObjective(LossState, Objective):
    """An objective with a state of its own: buffers that checkpoints store beside the weights.

    `forward` does not change the state. `after_step` does, once a step is done, so that a
    checkpoint never has half a step.
    """

    @property
    def state(self) -> LossState:
        """The objective itself."""
        return self


def measure(x: Tensor, rungs: Sequence[Rung], likelihood: Distribution) -> Parts:
    """Distortion and rates of one pass.  Source: Alemi, eq. 2 and 3.

    Args:
        x: `(batch, channels, ...)`.
        rungs: levels, top first.
        likelihood: p(x | z).
    """
    rates = [rate(rung.posterior, rung.prior, rung.latent) for rung in rungs]
    return Parts(-density(likelihood, x), rates)


def assemble(parts: Parts, loss: Tensor) -> Terms:
    """The terms of an objective.

    Args:
        parts: what `measure` returned.
        loss: what is minimised, nats per example, `(batch,)`.
    """
    return Terms(loss, [nats.detach() for nats in parts.rates], parts.distortion.detach())


def kl_warmup(step: int, period: int) -> float:
    """Weight of the KL at `step`: min(step / period, 1).  Source: Flamich 3.3."""
    return 1.0 if period <= 0 else min(step / period, 1.0)
