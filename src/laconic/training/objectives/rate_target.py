"""The least distortion at a given rate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.distributions import Distribution

from laconic.errors import ConfigError
from laconic.training.dual import price, update_multiplier
from laconic.training.objectives.base import LearningObjective, Rung, Terms, assemble, measure


@dataclass(frozen=True)
class TargetRateConfig:
    """Settings.

    Attributes:
        rate_nats: R*, nats per image.
        start: the multiplier at first; 1 is the ELBO's.
        dual_rate: by which the multiplier rises in a step at twice the target rate.
        stiffness: by which beta exceeds the multiplier at twice the target rate.
        smoothing: share of the old in the running mean of the rate.

    Raises:
        ConfigError: a setting that is out of range.
    """

    rate_nats: float = 10.0
    start: float = 1.0
    dual_rate: float = 0.003
    stiffness: float = 1.0
    smoothing: float = 0.9

    def __post_init__(self) -> None:
        if self.rate_nats <= 0:
            raise ConfigError(f"objective.rate_nats: {self.rate_nats} must be above 0")
        if min(self.dual_rate, self.stiffness) < 0 or not 0 <= self.smoothing < 1:
            raise ConfigError(
                "objective: dual_rate and stiffness are at least 0, smoothing in [0, 1)"
            )


@final
class TargetRate(LearningObjective):
    """D + beta R with the beta at which R = R*, found during training by an augmented Lagrangian.

    The multiplier is no weight and has no optimiser: plain ascent in a buffer, which a checkpoint
    holds beside the weights, so that a resumed run gives the same bits. It may become
    negative: then a model that ignores its latents has a smaller loss if it uses them.

    Formula: beta = multiplier + stiffness e, multiplier += dual_rate e, where e is the running
    mean of R over R* less 1, at most 1.
    Source: Alemi, section 4 ("targeting R while minimising D"); Rezende & Viola 2018 for the
    running mean.
    """

    takes_warmup = False
    multiplier: Tensor
    average: Tensor

    def __init__(self, config: TargetRateConfig = TargetRateConfig()) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("multiplier", torch.tensor(config.start))
        self.register_buffer("average", torch.tensor(torch.nan))
        self._after = self.average

    @property
    def beta(self) -> Tensor:
        """What a nat of rate costs after the last step."""
        return price(self.multiplier, self._excess(self.average), self.config.stiffness)

    def forward(
        self,
        x: Tensor,
        rungs: Sequence[Rung],
        likelihood: Distribution,
        log_beta: Tensor,
        warmup: float = 1.0,
    ) -> Terms:
        """Per-example terms.

        Raises:
            ConfigError: a warm-up of the rate, which this objective weighs itself.
        """
        if warmup != 1:
            raise ConfigError("loop.kl_warmup_steps: the target-rate objective takes none, write 0")
        parts = measure(x, rungs, likelihood)
        self._after = self._averaged(parts.rate.detach().mean().to(self.average))
        beta = price(self.multiplier, self._excess(self._after), self.config.stiffness)
        return assemble(parts, parts.distortion + beta * parts.rate)

    def report(self) -> dict[str, float]:
        """The multiplier."""
        return {"multiplier": float(self.multiplier)}

    def after_step(self) -> None:
        """One step of ascent."""
        self.average.copy_(self._after)
        update_multiplier(self.multiplier, self._excess(self.average), self.config.dual_rate)

    def _averaged(self, rate_nats: Tensor) -> Tensor:
        if not bool(rate_nats.isfinite()):
            return self.average
        first = bool(self.average.isnan())
        return rate_nats if first else self.average.lerp(rate_nats, 1 - self.config.smoothing)

    def _excess(self, rate_nats: Tensor) -> Tensor:
        return (rate_nats.nan_to_num(self.config.rate_nats) / self.config.rate_nats - 1).clamp(
            -1, 1
        )
