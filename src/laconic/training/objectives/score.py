"""The score-function gradient (REINFORCE) of D + beta R, to hold beside the reparametrised one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.distributions import Distribution, TransformedDistribution

from laconic.distributions.divergence import density
from laconic.errors import ConfigError
from laconic.training.objectives.base import LearningObjective, Rung, Terms, assemble, measure

BASELINES = ("leave-one-out", "running", "none")


@dataclass(frozen=True)
class ReinforceConfig:
    """Settings.

    Attributes:
        beta: nats of distortion that a nat of rate is worth.
        baseline: what is taken off the cost: "leave-one-out": the mean cost of the example's other
            draws; "running": the mean cost of the last steps; "none".
        draws: of each example in a step.
        smoothing: share of the old in the running mean.

    Raises:
        ConfigError: a setting that is out of range, or too few draws to leave one out.
    """

    beta: float = 1.0
    baseline: str = "leave-one-out"
    draws: int = 4
    smoothing: float = 0.99

    def __post_init__(self) -> None:
        if self.baseline not in BASELINES:
            raise ConfigError(f"objective.baseline: write one of {', '.join(BASELINES)}")
        if self.draws < 1 or (self.draws < 2 and self.baseline == "leave-one-out"):
            raise ConfigError("objective.draws: at least 1, and 2 with baseline: leave-one-out")
        if self.beta < 0 or not 0 <= self.smoothing < 1:
            raise ConfigError("objective: beta is at least 0, smoothing in [0, 1)")


@final
class Reinforce(LearningObjective):
    """D + beta R with the posterior's gradient by its score; the draws are constants.

    The decoder has its ordinary gradient. Where the rate is a closed form, so has the rate.

    Formula: grad = E[(D + beta R - baseline) grad log q(z | x)] + E[grad D] + beta E[grad R]; the
    loss that is shown is D + beta R.
    Source: Williams 1992; Lecture, on gradients through draws; leave-one-out: Kool, van Hoof,
    Welling 2019.
    """

    pathwise = False
    average: Tensor

    def __init__(self, config: ReinforceConfig = ReinforceConfig()) -> None:
        super().__init__()
        self.config, self.draws = config, config.draws
        self.register_buffer("average", torch.tensor(torch.nan))
        self._seen: Tensor | None = None

    def forward(
        self,
        x: Tensor,
        rungs: Sequence[Rung],
        likelihood: Distribution,
        log_beta: Tensor,
        warmup: float = 1.0,
    ) -> Terms:
        """Per-copy terms; the copies of an example come side by side.

        Raises:
            ConfigError: a posterior whose score at a given draw is not at hand.
        """
        if any(isinstance(rung.posterior, TransformedDistribution) for rung in rungs):
            raise ConfigError(
                "objective: reinforce needs a posterior without flows, whose inverse at a given "
                "draw is not differentiated; choose a family with encoder -"
            )
        parts = measure(x, rungs, likelihood)
        value = parts.distortion + warmup * self.config.beta * parts.rate
        scores = [density(rung.posterior, rung.latent) for rung in rungs]
        log_posterior = sum(scores, torch.zeros_like(value))
        surrogate = self._advantage(value.detach()) * log_posterior
        return assemble(parts, value + surrogate - surrogate.detach())

    def after_step(self) -> None:
        """Take the step's mean cost into the running mean."""
        if self._seen is not None and bool(self._seen.isfinite()):
            first = bool(self.average.isnan())
            share = 1.0 if first else 1 - self.config.smoothing
            self.average.copy_(self._seen if first else self.average.lerp(self._seen, share))

    def _advantage(self, cost: Tensor) -> Tensor:
        self._seen = cost.mean().to(self.average)
        if self.config.baseline == "none":
            return cost
        if self.config.baseline == "running":
            return cost if bool(self.average.isnan()) else cost - self.average
        by_example = cost.reshape(-1, self.draws)
        others = (by_example.sum(1, keepdim=True) - by_example) / (self.draws - 1)
        return (by_example - others).reshape(-1)
