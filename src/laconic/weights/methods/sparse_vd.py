"""Sparse variational dropout: every weight has a dropout rate of its own.

q(w) = N(mu, alpha mu²) under the log-uniform prior. Weights with log alpha above a threshold become
zero. The prior is improper, so the KL is a penalty and no code length.

Source: Molchanov, Ashukha & Vetrov 2017; Ullrich 3.2; Louizos 6.2 (ERRATA 6 corrects the sign).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from laconic.distributions.divergence import kl_log_uniform
from laconic.weights.base import (
    Apply,
    LayerInfo,
    Point,
    StoredPosterior,
    WeightMethod,
    step_of,
)
from laconic.weights.methods.drawing import draw_outputs, squared

TINY = 1e-8
"""Added to variances under a square root or a logarithm."""


@dataclass(frozen=True)
class SparseVD(WeightMethod):
    """Settings of sparse variational dropout.

    Attributes:
        threshold: weights with a larger log alpha become zero (Molchanov et al.: 3).
        log_variance: initial log variances.
        step_scale: factor on the quantiser's step. With 1 its noise is as strong as the
            posterior's, but many weights become zero. On a network of 784-100-10, 1 cost 0.4
            points of accuracy, 0.25 cost 0.1.
    """

    name: ClassVar[str] = "sparse-vd"
    threshold: float = 3.0
    log_variance: float = -8.0
    step_scale: float = 0.2

    def posterior(self, info: LayerInfo) -> "SparseVDPosterior":
        """A Gaussian around every weight."""
        return SparseVDPosterior(info.weight, info.bias, self)


class SparseVDPosterior(StoredPosterior):
    """Independent Gaussians; the bias is a number.

    Args:
        weight: means to start from.
        bias: shape `(outputs,)`, or None.
        settings: of the method.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, settings: SparseVD) -> None:
        super().__init__()
        self.settings = settings
        self.mean = nn.Parameter(weight)
        self.log_variance = nn.Parameter(torch.full_like(weight, settings.log_variance))
        self.bias = None if bias is None else nn.Parameter(bias)

    @property
    def log_alpha(self) -> Tensor:
        """Noise over signal of every weight, log sigma² / mu², within ±10."""
        return (self.log_variance - torch.log(self.mean.square() + TINY)).clamp(-10, 10)

    def forward(self, x: Tensor, apply: Apply) -> Tensor:
        """Draw outputs in place of weights."""
        mean = apply(x, self.mean, self.bias)
        variance = apply(squared(x), self.log_variance.exp(), None)
        return draw_outputs(mean, variance + TINY)

    def penalty(self) -> Tensor:
        """KL to the log-uniform prior, up to a constant."""
        return kl_log_uniform(self.log_alpha).sum()

    @torch.no_grad()
    def point(self) -> Point:
        """Means below the threshold; the step follows from their variances."""
        kept = self.log_alpha < self.settings.threshold
        step = step_of(self.log_variance.exp()[kept], self.settings.step_scale)
        return Point(torch.where(kept, self.mean, 0), self.bias, step, step)
