"""MIRACLE: weights that are encoded as one draw from their posterior, within a budget of bytes.

q(w) = N(mean, scale²) for every weight, p(w) = N(0, s²) with one s for a layer's weight and one
for its bias. Encoding a draw from q for a receiver who knows p and shares randomness takes about
KL(q || p), so the KL is the file's size. Training adapts a multiplier on the KL until the budget is
met.

Source: Havasi, Peharz & Hernández-Lobato 2018; Flamich 1.7.3. They have one multiplier for each
block of equal KL. Here the network has one, since the trellis coder (`coding.relative_entropy`)
does not need blocks of equal KL.
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
    StoredPosterior,
    WeightMethod,
    WeightPosterior,
)
from laconic.weights.methods.drawing import draw_outputs, squared

TINY = 1e-12
"""Added to variances under a square root."""

NATS_PER_BYTE = 8 * math.log(2)


@dataclass(frozen=True)
class Miracle(WeightMethod):
    """Settings.

    Attributes:
        budget_bytes: KL of the whole network at the end of training. The file takes about 5 % more,
            and 100 to 200 bytes for its list of tensors.
        start_ratio: initial scales, in units of the root mean square of the layer's weights.
        beta: initial multiplier on the KL; 1 is the variational bound.
        beta_rate: change of log beta in a step while the KL is e times the budget or more.
    """

    name: ClassVar[str] = "miracle"
    rate_factors: ClassVar[Mapping[str, float]] = {"weight.log_scale": 5.0, "bias.log_scale": 5.0}
    budget_bytes: int = 4096
    start_ratio: float = 0.1
    beta: float = 0.01
    beta_rate: float = 0.002

    def __post_init__(self) -> None:
        """Refuse settings that are not positive."""
        for field in ("budget_bytes", "start_ratio", "beta", "beta_rate"):
            if not getattr(self, field) > 0:
                raise ConfigError(f"miracle.{field} is {getattr(self, field)}, not above 0")

    def posterior(self, info: LayerInfo) -> "MiraclePosterior":
        """A Gaussian around every number."""
        return MiraclePosterior(info.weight, info.bias, self)

    def shared(self, posteriors: Mapping[str, WeightPosterior]) -> "Budget":
        """The multiplier, one for all layers."""
        return Budget(posteriors, self)


class DrawnTensor(nn.Module):
    """Independent Gaussians in place of one tensor, until a draw of them is encoded.

    A draw may be encoded in blocks of rows. Encoded rows are frozen, the others keep training.

    Args:
        value: initial means; one axis or more.
        start_ratio: initial scales, in units of the root mean square of `value`.

    Attributes:
        draw: the draw, where it is encoded; shape of `value`.
        encoded: which numbers are encoded; bool, shape of `value`.
        encoded_nats: what encoding them took; a scalar.
        encoded_scale: the prior's scale that they were encoded under, 0 for none yet; a scalar.
    """

    draw: Tensor
    encoded: Tensor
    encoded_nats: Tensor
    encoded_scale: Tensor

    def __init__(self, value: Tensor, start_ratio: float) -> None:
        super().__init__()
        rms = float(value.square().mean().sqrt())
        start = math.log(start_ratio * (rms or 1.0))
        self.mean = nn.Parameter(value)
        self.log_scale = nn.Parameter(torch.full_like(value, start))
        # Buffers, so that a network that is partly encoded can be saved.
        self.register_buffer("draw", torch.zeros_like(value))
        self.register_buffer("encoded", torch.zeros(value.shape, dtype=torch.bool))
        self.register_buffer("encoded_nats", torch.zeros(()))
        self.register_buffer("encoded_scale", torch.zeros(()))

    @property
    def encoded_rows(self) -> int:
        """Number of encoded rows, which are the first ones."""
        return int(self.encoded.reshape(len(self.encoded), -1)[:, 0].sum())

    @property
    def target(self) -> Normal:
        """The posterior q of all numbers, encoded or not."""
        return Normal(self.mean, self.log_scale.exp(), validate_args=False)

    @property
    def prior_scale(self) -> Tensor:
        """The s that minimises the KL, or the one that the first block was encoded under.

        It has no gradients, which are 0 at the minimum. Formula: s² = mean(mean² + scale²).
        """
        with torch.no_grad():
            square: Tensor = (self.mean.square() + (2 * self.log_scale).exp()).mean()
            return torch.where(self.encoded_scale > 0, self.encoded_scale, square.sqrt())

    @property
    def value(self) -> Tensor:
        """The draw where it is encoded, and the means of the rest."""
        return torch.where(self.encoded, self.draw, self.mean)

    @property
    def variance(self) -> Tensor:
        """Variance of the numbers: 0 where they are encoded."""
        return torch.where(self.encoded, 0.0, (2 * self.log_scale).exp())

    def nats(self) -> Tensor:
        """What encoding took so far, plus the KL of the rest; a scalar with gradients."""
        target, scale = self.target, self.prior_scale
        kl = kl_normal(target, Normal(torch.zeros_like(scale), scale, validate_args=False))
        return self.encoded_nats + torch.where(self.encoded, 0.0, kl).sum()

    @torch.no_grad()
    def fix(self, draw: Tensor, bits: float, prior_scale: float) -> None:
        """Freeze some rows at their draw.

        Args:
            draw: of the first rows that are not yet encoded, `(rows, ...)`.
            bits: what encoding them took.
            prior_scale: s of the prior that they were encoded under; the rest must use it, too.
        """
        rows = slice(self.encoded_rows, self.encoded_rows + len(draw))
        self.draw[rows], self.encoded[rows] = draw.to(self.draw), True
        self.encoded_nats += bits * math.log(2)
        self.encoded_scale.fill_(prior_scale)


class MiraclePosterior(StoredPosterior):
    """Independent Gaussians for weight and bias.

    Args:
        weight: initial means.
        bias: shape `(outputs,)`, or None.
        settings: of the method.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, settings: Miracle) -> None:
        super().__init__()
        self.weight = DrawnTensor(weight, settings.start_ratio)
        self.bias = None if bias is None else DrawnTensor(bias, settings.start_ratio)

    @property
    def drawn(self) -> Mapping[str, DrawnTensor]:
        """The tensors, by their names in an ordinary layer."""
        return {"weight": self.weight} | ({} if self.bias is None else {"bias": self.bias})

    def forward(self, x: Tensor, apply: Apply) -> Tensor:
        """Draw outputs in place of weights."""
        bias = self.bias
        mean = apply(x, self.weight.value, None if bias is None else bias.value)
        spread = None if bias is None else bias.variance
        variance = apply(squared(x), self.weight.variance, spread)
        return draw_outputs(mean, variance + TINY)

    def penalty(self) -> Tensor:
        """KL to the prior; of encoded parts what encoding them took."""
        return torch.stack([part.nats() for part in self.drawn.values()]).sum()

    @torch.no_grad()
    def point(self) -> Point:
        """Means, or the draw where it is encoded."""
        return Point(self.weight.value, None if self.bias is None else self.bias.value)


class Budget(SharedPrior):
    """beta times the network's KL; beta changes after every step until the budget is met.

    The rule of training is the same: mean negative log-likelihood + penalty / N. The penalty is
    beta KL and needs no warm-up. A file takes about `kl_bytes`. If the data need less than the
    budget, beta falls towards 0 and the KL stays below the budget.

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
        self.register_buffer("excess", torch.tensor(math.nan))  # A buffer, to resume exactly.
        self._nats: Tensor | None = None

    @property
    def beta(self) -> float:
        """The current multiplier."""
        return float(self.log_beta.exp())

    @property
    def kl_bytes(self) -> float:
        """KL of the whole network; of encoded tensors what encoding them took."""
        with torch.no_grad():
            return float(super().forward()) / NATS_PER_BYTE

    def forward(self) -> Tensor:
        """Beta KL, in nats."""
        nats = super().forward()
        self._nats = nats.detach()
        return self.log_beta.to(nats).exp() * nats

    @torch.no_grad()
    def constrain(self) -> None:
        """Increase beta while the KL is above the budget, decrease it below.

        Formula: log beta += rate e + (e - previous e), e = clip(log(KL / budget), ±1). The first
        term alone reacts too late: the KL falls for hundreds of steps after beta has risen.
        """
        super().constrain()
        if self._nats is None:
            return
        excess = torch.log(self._nats / self.budget_nats).clamp(-1, 1).to(self.log_beta)
        change = (excess - self.excess).nan_to_num(0.0)
        self.log_beta += self.settings.beta_rate * excess + change
        self.excess.copy_(excess)

    def parts(self) -> Iterator[tuple[str, DrawnTensor]]:
        """All tensors, with their names in the ordinary network, in order of the layers."""
        for name, posterior in self.posteriors.items():
            assert isinstance(posterior, MiraclePosterior)
            for part, drawn in posterior.drawn.items():
                yield f"{name}.{part}", drawn
