"""A mixture of Gaussians as the prior of single weights; one component has mean zero.

Densities are computed as logarithms. Otherwise those of large weights underflow, and an arg-max
over zeros assigns such weights to the first component, which is the zero component.

Source: Ullrich 4.2, 4.3 and appendix "Configuring the Hyper-priors".
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional

from laconic.distributions.divergence import kl_normal

CHUNK = 1 << 14
"""Weights in a block: its table of weights and components fits into the cache."""


@dataclass(frozen=True)
class GammaPrior:
    """Gamma(shape, rate) on a component's precision; keeps the component from collapsing.

    Attributes:
        shape: alpha.
        rate: beta; the mode is (alpha - 1) / beta.
    """

    shape: float
    rate: float

    @classmethod
    def around(cls, deviation: float, count: float) -> "GammaPrior":
        """Mode at the precision 1 / deviation², as strong as `count` observed weights.

        The source calls 0.05 a variance, but its code uses it as a standard deviation, as here.

        Formula: alpha = 1 + count / 2, beta = count deviation² / 2: the posterior of a Gaussian's
        precision after `count` weights of that standard deviation.
        """
        return cls(1 + count / 2, count * deviation**2 / 2)

    def log_density(self, log_precision: Tensor) -> Tensor:
        """Log density of the precision (not of its logarithm), in nats; any shape.

        Formula: a log b - log Γ(a) + (a - 1) log λ - b λ.  Source: Ullrich 9.20.
        """
        constant = self.shape * math.log(self.rate) - math.lgamma(self.shape)
        return constant + (self.shape - 1) * log_precision - self.rate * log_precision.exp()


@dataclass(frozen=True)
class BetaPrior:
    """Beta(zeros, others) on the zero component's mixing proportion.

    Attributes:
        zeros: alpha.
        others: beta; the mode is (alpha - 1) / (alpha + beta - 2).
    """

    zeros: float
    others: float

    @classmethod
    def around(cls, share: float, count: float) -> "BetaPrior":
        """Mode at `share`, as strong as `count` observed weights.

        Formula: alpha = 1 + count share, beta = 1 + count (1 - share).
        """
        return cls(1 + count * share, 1 + count * (1 - share))

    def log_density(self, logit: Tensor) -> Tensor:
        """Log density of the proportion sigmoid(logit), in nats; any shape.

        Formula: (a - 1) log π + (b - 1) log(1 - π) - log B(a, b).  Source: Ullrich 9.21.
        """
        a, b = self.zeros, self.others
        constant = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
        zero, other = functional.logsigmoid(logit), functional.logsigmoid(-logit)
        return constant + (a - 1) * zero + (b - 1) * other


@dataclass(frozen=True)
class Components:
    """Gaussians with their mixing proportions; the first has mean 0.

    Attributes:
        means: shape `(components,)`.
        log_precisions: -2 log of the standard deviations, shape `(components,)`.
        log_mixing: normalised, shape `(components,)`.
    """

    means: Tensor
    log_precisions: Tensor
    log_mixing: Tensor

    def log_joint(self, values: Tensor) -> Tensor:
        """Log joint density of components and values, in nats: `(count,)` to `(components, count)`.

        Differences are squared one by one: a matrix product in mixed precision would lose them.

        Formula: log π_k + ½ log λ_k - ½ log 2π - ½ λ_k (w - μ_k)².
        """
        constant = self.log_mixing + 0.5 * self.log_precisions - 0.5 * math.log(2 * math.pi)
        squares = (values - self.means[:, None]).square()
        return constant[:, None] - 0.5 * self.log_precisions.exp()[:, None] * squares

    def log_density(self, values: Tensor) -> Tensor:
        """Log density of each value, in nats; shape `(count,)`.

        Formula: log Σ_k π_k N(w; μ_k, 1 / λ_k).  Source: Ullrich 4.5.
        """
        parts = [torch.logsumexp(self.log_joint(part), 0) for part in torch.split(values, CHUNK)]
        return torch.cat(parts)

    def responsible(self, values: Tensor) -> Tensor:
        """Index of each value's most probable component; shape `(count,)`."""
        return torch.cat([self.log_joint(part).argmax(0) for part in torch.split(values, CHUNK)])

    def merged(self, threshold: float) -> "Components":
        """Merge components that are nearly equal, the closest pair first.

        A component that merges with the zero component gets mean 0.

        Args:
            threshold: pairs with a smaller KL divergence merge; the larger of the two directions,
                in nats.

        Formula: π = π_i + π_j, μ and σ² the means of both, weighted by π.  Source: Ullrich 4.7.
        """
        means, variances = self.means.double(), self.log_precisions.double().neg().exp()
        mixing = self.log_mixing.double().exp()
        while len(means) > 1:
            distance = _distances(means, variances)
            nearest = int(distance.argmin())
            i, j = sorted(divmod(nearest, len(means)))
            if float(distance.flatten()[nearest]) >= threshold:
                break
            share = mixing[[i, j]] / mixing[[i, j]].sum()
            means[i] = share @ means[[i, j]] if i else 0.0
            variances[i] = share @ variances[[i, j]]
            mixing[i] = mixing[i] + mixing[j]
            kept = torch.arange(len(means), device=means.device) != j
            means, variances, mixing = means[kept], variances[kept], mixing[kept]
        kind = self.means.dtype
        return Components(means.to(kind), -variances.log().to(kind), mixing.log().to(kind))


def _distances(means: Tensor, variances: Tensor) -> Tensor:
    """KL divergence of every pair, the larger of both directions; infinite on the diagonal."""
    gaussians = Normal(means[:, None], variances[:, None].sqrt())
    others = Normal(means[None], variances[None].sqrt())
    ahead = kl_normal(gaussians, others)
    return torch.maximum(ahead, ahead.T).fill_diagonal_(math.inf)


class Mixture(nn.Module):
    """A mixture that is trained.

    Attributes:
        means: of all components but the zero component, shape `(components - 1,)`.
        log_precisions: of all components, the zero component first, shape `(components,)`.
        mixing_logits: of all but the zero component, not normalised, shape `(components - 1,)`.
        zero_logit: log odds of the zero component, a scalar; a parameter if it is trained.

    Args:
        means: initial means.
        deviation: initial standard deviation of all components.
        zero_share: mixing proportion of the zero component, in (0, 1); the others share the rest.
        learn_share: whether the zero component's proportion is trained.
    """

    means: Tensor
    zero_logit: Tensor

    def __init__(
        self, means: Tensor, deviation: float, zero_share: float, learn_share: bool
    ) -> None:
        super().__init__()
        self.means = nn.Parameter(means.clone())
        start = -2 * math.log(deviation)
        self.log_precisions = nn.Parameter(means.new_full((len(means) + 1,), start))
        self.mixing_logits = nn.Parameter(torch.zeros_like(means))
        logit = means.new_tensor(math.log(zero_share) - math.log1p(-zero_share))
        if learn_share:
            self.zero_logit = nn.Parameter(logit)
        else:
            self.register_buffer("zero_logit", logit)

    def components(self) -> Components:
        """Means, precisions and normalised proportions, with gradients."""
        others = functional.logsigmoid(-self.zero_logit) + self.mixing_logits.log_softmax(0)
        zero = functional.logsigmoid(self.zero_logit)[None]
        return Components(
            torch.cat([self.means.new_zeros(1), self.means]),
            self.log_precisions,
            torch.cat([zero, others]),
        )
