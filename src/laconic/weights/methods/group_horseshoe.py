"""Bayesian compression with the group horseshoe prior (BC-GHS).

w = w~ z~ s with z~ ~ half-Cauchy(1) per group and s ~ half-Cauchy(tau0) per layer. A squared
half-Cauchy of scale k is a product of a Gamma(½, k²) and an inverse Gamma(½, 1), by scale; each
factor has a log-normal posterior, so that every KL is closed and the prior is proper.

Source: Louizos 6.4.2 and 10.4.3, Ullrich 3.3 and D (ERRATA 7).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn
from torch.distributions import LogNormal

from laconic.distributions.divergence import kl_log_normal_gamma, kl_log_normal_inverse_gamma
from laconic.errors import ConfigError
from laconic.weights.base import LayerInfo
from laconic.weights.methods.group_scales import GroupMethod, GroupPosterior

WINDOW = (-0.3, -0.1)
"""Window of `log_noise`, relative to the value of groups that the data does not use. On
LeNet-300-100 in mid-training, removing groups above it cost 4 answers of 10,000; half a nat lower
it cost 80.
"""


@final
@dataclass(frozen=True)
class GroupHorseshoe(GroupMethod):
    """Settings of BC-GHS; see `GroupMethod` for the rest.

    Attributes:
        global_scale: tau0; small, so that most of the prior's mass is at zero.
    """

    name: ClassVar[str] = "bc-ghs"
    rate_factors: ClassVar[Mapping[str, float]] = {
        "global_": 5.0,
        "local_": 5.0,
        "log_variance": 5.0,
    }
    global_scale: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.global_scale > 0:
            raise ConfigError(f"global_scale must be positive, not {self.global_scale}")

    def posterior(self, info: LayerInfo) -> "GroupHorseshoePosterior":
        """Log-normal scales over Gaussian weights."""
        return GroupHorseshoePosterior(info, self)


@final
class GroupHorseshoePosterior(GroupPosterior):
    """Log-normal factors of s² and of every z~²: first the Gamma factor, then the inverse Gamma.

    Args:
        info: the layer.
        settings: of the method.

    Attributes:
        global_mean: means of the logarithms of s_a and s_b, shape `(2,)`.
        global_log_variance: log variances of these logarithms, shape `(2,)`.
        local_mean: means of the logarithms of alpha~ and beta~, shape `(2, groups)`.
        local_log_variance: log variances of these logarithms, shape `(2, groups)`.
    """

    def __init__(self, info: LayerInfo, settings: GroupHorseshoe) -> None:
        super().__init__(info, settings)
        self.tau = settings.global_scale
        # s_a starts near its prior, at tau0²; s_b, which has a heavy tail, makes z start at 1.
        log_tau = 2 * math.log(self.tau)
        zeros = self.mean.new_zeros(2, self.groups)
        log_variance = settings.scale_log_variance
        self.global_mean = nn.Parameter(self.mean.new_tensor([log_tau, -log_tau]))
        self.global_log_variance = nn.Parameter(self.mean.new_full((2,), log_variance))
        self.local_mean = nn.Parameter(zeros)
        self.local_log_variance = nn.Parameter(torch.full_like(zeros, log_variance))

    def log_moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of log z = log z~ + log s, shape `(groups,)` each.

        Formula: of the square root of a product: ½ sum of means, ¼ sum of variances.
        Source: Louizos 88 to 91, Ullrich 3.16 to 3.19.
        """
        mean = 0.5 * (self.local_mean.sum(0) + self.global_mean.sum())
        variance = self.local_log_variance.exp().sum(0) + self.global_log_variance.exp().sum()
        return mean, 0.25 * variance

    @property
    def log_noise(self) -> Tensor:
        """Negative logarithm of the mode of z: variance - mean of log z."""
        mean, variance = self.log_moments()
        return variance - mean

    @property
    def window(self) -> tuple[float, float]:
        """Around the `log_noise` of a group whose z~ has returned to its prior.

        Formula: 1 + variance - mean of log s. The KLs of alpha~ and beta~ are least at log means
        -1 - log 2 and 1 + log 2 and at variances 2 of the logarithms, hence log z~ has mean 0 and
        variance 1 there.
        """
        variance = 0.25 * float(self.global_log_variance.detach().exp().sum())
        unused = 1 + variance - 0.5 * float(self.global_mean.detach().sum())
        return unused + WINDOW[0], unused + WINDOW[1]

    def draw(self, count: tuple[int, ...]) -> Tensor:
        """Samples of z = z~ s; one s for all groups of an example."""
        like = self.local_mean
        shared = torch.randn(*count, 1, device=like.device, dtype=like.dtype)
        single = torch.randn(*count, self.groups, device=like.device, dtype=like.dtype)
        common = 0.5 * torch.sqrt(self.global_log_variance.exp().sum()) * shared
        own = 0.5 * torch.sqrt(self.local_log_variance.exp().sum(0)) * single
        return torch.exp(self.log_moments()[0] + common + own)

    def scale_moments(self) -> tuple[Tensor, Tensor]:
        """Moments of the log-normal z.

        Formula: exp(m + v/2), and (exp(v) - 1) exp(2 m + v), m and v of `log_moments`.
        """
        mean, variance = self.log_moments()
        return (
            torch.exp(mean + 0.5 * variance),
            torch.expm1(variance) * torch.exp(2 * mean + variance),
        )

    def scale_penalty(self) -> Tensor:
        """KL of s_a, s_b, alpha~ and beta~ to their priors.

        Source: Louizos 153 to 156, Ullrich 9.13 to 9.16, as ERRATA 7 corrects them.
        """
        top = _log_normal(self.global_mean, self.global_log_variance)
        low = _log_normal(self.local_mean, self.local_log_variance)
        pairs = ((top, self.tau**2), (low, 1.0))
        return torch.stack(
            [kl_log_normal_gamma(_row(q, 0), 0.5, scale).sum() for q, scale in pairs]
            + [kl_log_normal_inverse_gamma(_row(q, 1), 0.5, 1.0).sum() for q, _ in pairs]
        ).sum()


def _log_normal(mean: Tensor, log_variance: Tensor) -> LogNormal:
    return LogNormal(mean, torch.exp(0.5 * log_variance), validate_args=False)


def _row(posterior: LogNormal, index: int) -> LogNormal:
    return LogNormal(posterior.loc[index], posterior.scale[index], validate_args=False)
