"""MIRACLE: weights that are told as one draw from their posterior, within a budget of bytes.

q(w) = N(mean, scale²) for every weight, p(w) = N(0, s²) with one s for a layer's weight and one
for its bias. Telling a draw from q to a receiver who knows p and shares randomness takes some
KL(q || p), so the KL is the file's size; a multiplier on it is moved until the budget is met.

Source: Havasi, Peharz & Hernández-Lobato 2018, as Flamich 1.7.3 tells it (1.3 and 1.4); there the
multiplier is one for each block of equal KL, here one for the network: the trellis coder
(`coding.relative_entropy.trellis`) asks for no equal blocks.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from laconic.distributions.divergence import kl_normal
from laconic.errors import ConfigError
from laconic.weights.base import (
    Apply,
    LayerInfo,
    Point,
    SharedPrior,
    WeightMethod,
    WeightPosterior,
    draw_outputs,
    squared,
)

TINY = 1e-12
"""Added to variances under a square root."""

NATS_PER_BYTE = 8 * math.log(2)


@dataclass(frozen=True)
class Miracle(WeightMethod):
    """Settings.

    Attributes:
        budget_bytes: KL of the whole network that training ends at. The file takes some 5 % more,
            and a hundred bytes or two for its list of tensors.
        start_ratio: where all scales start, in units of the layer's root mean square.
        beta: the multiplier on the KL at the start; 1 would be the variational bound itself.
        beta_rate: how much log beta moves in a step while the KL is e times the budget or more.
    """

    name: ClassVar[str] = "miracle"
    rate_factors: ClassVar[Mapping[str, float]] = {"weight.log_scale": 5.0, "bias.log_scale": 5.0}
    budget_bytes: int = 4096
    start_ratio: float = 0.1
    beta: float = 0.01
    beta_rate: float = 0.002

    def __post_init__(self) -> None:
        """Refuse settings that cannot be."""
        for field in ("budget_bytes", "start_ratio", "beta", "beta_rate"):
            if not getattr(self, field) > 0:
                raise ConfigError(f"miracle.{field} is {getattr(self, field)}, not above 0")

    def posterior(self, info: LayerInfo) -> "MiraclePosterior":
        """A Gaussian around every number."""
        return MiraclePosterior(info.weight, info.bias, self)

    def shared(self, posteriors: Mapping[str, WeightPosterior]) -> "Budget":
        """The multiplier, which all layers share."""
        return Budget(posteriors, self)


class DrawnTensor(nn.Module):
    """Independent Gaussians in place of one tensor, until a draw of them has been told.

    It may be told block by block, a block some rows: what is told stands still, the rest learns.

    Args:
        value: means to start from; one axis or more.
        start_ratio: scales to start from, in units of the root mean square.
    """

    draw: Tensor
    told: Tensor
    told_nats: Tensor
    told_scale: Tensor

    def __init__(self, value: Tensor, start_ratio: float) -> None:
        super().__init__()
        rms = float(value.square().mean().sqrt())
        start = math.log(start_ratio * (rms or 1.0))
        self.mean = nn.Parameter(value)
        self.log_scale = nn.Parameter(torch.full_like(value, start))
        # Buffers, so that a network that is half told can be saved.
        self.register_buffer("draw", torch.zeros_like(value))
        self.register_buffer("told", torch.zeros(value.shape, dtype=torch.bool))
        self.register_buffer("told_nats", torch.zeros(()))
        self.register_buffer("told_scale", torch.zeros(()))

    @property
    def told_rows(self) -> int:
        """How many rows have been told, from the first on."""
        return int(self.told.flatten(1)[:, 0].sum() if self.told.ndim > 1 else self.told.sum())

    @property
    def target(self) -> Normal:
        """The posterior q of all numbers, told or not."""
        return Normal(self.mean, self.log_scale.exp(), validate_args=False)

    @property
    def prior_scale(self) -> Tensor:
        """The s that makes the KL least, until a first block has been told under it.

        It has no gradients: where the KL is least they are 0. Formula: s² = mean(mean² + scale²).
        """
        with torch.no_grad():
            square: Tensor = (self.mean.square() + (2 * self.log_scale).exp()).mean()
            return torch.where(self.told_scale > 0, self.told_scale, square.sqrt())

    @property
    def value(self) -> Tensor:
        """What has been told, and the means of the rest."""
        return torch.where(self.told, self.draw, self.mean)

    @property
    def variance(self) -> Tensor:
        """Of the draw that is yet to come: 0 where it has been told."""
        return torch.where(self.told, 0.0, (2 * self.log_scale).exp())

    def nats(self) -> Tensor:
        """What the told part took, and the KL of the rest."""
        target, scale = self.target, self.prior_scale
        kl = kl_normal(target, Normal(torch.zeros_like(scale), scale, validate_args=False))
        return self.told_nats + torch.where(self.told, 0.0, kl).sum()

    @torch.no_grad()
    def fix(self, draw: Tensor, bits: float, prior_scale: float) -> None:
        """Take some rows' draw for what they are, from now on.

        Args:
            draw: of the first rows that are not yet told.
            bits: what telling them took.
            prior_scale: under which they were told, and the rest must be.
        """
        rows = slice(self.told_rows, self.told_rows + len(draw))
        self.draw[rows], self.told[rows] = draw.to(self.draw), True
        self.told_nats += bits * math.log(2)
        self.told_scale.fill_(prior_scale)


class MiraclePosterior(WeightPosterior):
    """Independent Gaussians for weight and bias.

    Args:
        weight: means to start from.
        bias: shape `(outputs,)`, or None.
        settings: of the method.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, settings: Miracle) -> None:
        super().__init__()
        self.weight = DrawnTensor(weight, settings.start_ratio)
        self.bias = None if bias is None else DrawnTensor(bias, settings.start_ratio)

    @property
    def drawn(self) -> Mapping[str, DrawnTensor]:
        """The tensors by the name that they have in an ordinary layer."""
        return {"weight": self.weight} | ({} if self.bias is None else {"bias": self.bias})

    def forward(self, x: Tensor, apply: Apply) -> Tensor:
        """Draw the outputs, not the weights."""
        bias = self.bias
        mean = apply(x, self.weight.value, None if bias is None else bias.value)
        spread = None if bias is None else bias.variance
        variance = apply(squared(x), self.weight.variance, spread)
        return draw_outputs(mean, variance + TINY)

    def penalty(self) -> Tensor:
        """KL to the prior, of told parts what they took."""
        return torch.stack([part.nats() for part in self.drawn.values()]).sum()

    @torch.no_grad()
    def point(self) -> Point:
        """Means, or the draws that were told."""
        return Point(self.weight.value, None if self.bias is None else self.bias.value)


class Budget(SharedPrior):
    """beta times the network's KL, beta moved after every step towards the budget.

    The rule of training stays: mean negative log-likelihood + penalty / N. The penalty is beta KL,
    the common warm-up is not needed; what a file takes is `kl_bytes`. Where the data ask for less
    than the budget, beta falls towards 0 and the KL stays below it.

    Args:
        posteriors: of the layers by name.
        settings: of the method.
    """

    log_beta: Tensor
    excess: Tensor

    def __init__(self, posteriors: Mapping[str, WeightPosterior], settings: Miracle) -> None:
        super().__init__(posteriors)
        self.settings, self.budget_nats = settings, settings.budget_bytes * NATS_PER_BYTE
        self.register_buffer("log_beta", torch.tensor(math.log(settings.beta)))
        self.register_buffer("excess", torch.tensor(math.nan))  # a buffer, to resume exactly
        self._nats: Tensor | None = None

    @property
    def beta(self) -> float:
        """The multiplier now."""
        return float(self.log_beta.exp())

    @property
    def kl_bytes(self) -> float:
        """KL of the whole network; of told tensors, what they took."""
        with torch.no_grad():
            return float(super().forward()) / NATS_PER_BYTE

    def forward(self) -> Tensor:
        """Beta KL, in nats."""
        nats = super().forward()
        self._nats = nats.detach()
        return self.log_beta.to(nats).exp() * nats

    @torch.no_grad()
    def constrain(self) -> None:
        """Move beta: up while the KL is above the budget, down below it.

        Formula: log beta += rate e + (e - the e before), e = clip(log(KL / budget), ±1). The first
        term alone would lag behind a KL that falls for hundreds of steps after beta has risen.
        """
        super().constrain()
        if self._nats is None:
            return
        excess = torch.log(self._nats / self.budget_nats).clamp(-1, 1).to(self.log_beta)
        change = (excess - self.excess).nan_to_num(0.0)
        self.log_beta += self.settings.beta_rate * excess + change
        self.excess.copy_(excess)

    def parts(self) -> Iterator[tuple[str, DrawnTensor]]:
        """All tensors, named as in the ordinary network, in order of the layers."""
        for name, posterior in self.posteriors.items():
            assert isinstance(posterior, MiraclePosterior)
            for part, drawn in posterior.drawn.items():
                yield f"{name}.{part}", drawn
