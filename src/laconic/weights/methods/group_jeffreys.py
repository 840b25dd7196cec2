"""Bayesian compression with the group normal-Jeffreys prior (BC-GNJ).

p(z) is the improper 1 / |z|, q(z) = N(mean, variance) for each group. Groups with a dropout rate
log alpha = log variance / mean² above a threshold become zero. The prior is improper, so the KL of
the scales is a penalty and no code length.

Source: Louizos 6.4.1, Ullrich 3.3.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from laconic.distributions.divergence import kl_log_uniform
from laconic.weights.base import LayerInfo
from laconic.weights.methods.group_scales import TINY, GroupMethod, GroupPosterior

WINDOW = (-2.0, 0.0)
"""Window of log alpha. At 0 the noise is as strong as the signal. On LeNet-300-100 in mid-training,
removing all groups above -2 cost no answers; at -3 it cost 28 of 10,000, at -4 over 300.
"""


@final
@dataclass(frozen=True)
class GroupJeffreys(GroupMethod):
    """Settings of BC-GNJ; see `GroupMethod`."""

    name: ClassVar[str] = "bc-gnj"
    rate_factors: ClassVar[Mapping[str, float]] = {"scale_": 5.0, "log_variance": 5.0}

    def posterior(self, info: LayerInfo) -> "GroupJeffreysPosterior":
        """Gaussian scales over Gaussian weights."""
        return GroupJeffreysPosterior(info, self)


@final
class GroupJeffreysPosterior(GroupPosterior):
    """Gaussian z per group.

    Args:
        info: the layer.
        settings: of the method.
    """

    def __init__(self, info: LayerInfo, settings: GroupJeffreys) -> None:
        super().__init__(info, settings)
        ones = self.mean.new_ones(self.groups)
        self.scale_mean = nn.Parameter(ones)
        self.scale_log_variance = nn.Parameter(settings.scale_log_variance * ones)

    @property
    def log_alpha(self) -> Tensor:
        """Noise over signal of every z; not clamped, since clamped values have no gradient."""
        return self.scale_log_variance - torch.log(self.scale_mean.square() + TINY)

    @property
    def log_noise(self) -> Tensor:
        """Logarithms of the dropout rates."""
        return self.log_alpha

    @property
    def window(self) -> tuple[float, float]:
        """The same for all layers."""
        return WINDOW

    def draw(self, count: tuple[int, ...]) -> Tensor:
        """Gaussians, independent for every example."""
        noise = torch.randn(*count, self.groups, device=self.mean.device, dtype=self.mean.dtype)
        return self.scale_mean + torch.exp(0.5 * self.scale_log_variance) * noise

    def scale_moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of q(z)."""
        return self.scale_mean, self.scale_log_variance.exp()

    def scale_penalty(self) -> Tensor:
        """KL to the log-uniform prior, up to a constant.

        Source: Louizos 81, Ullrich 3.9 (ERRATA 6).
        """
        return kl_log_uniform(self.log_alpha).sum()
