"""Codes: the law of a codeword given the picture, and what it costs against a prior."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Normal

from laconic.distributions.divergence import kl_normal

FIRST_LOG_SCALE = -2.0
"""Logarithm of the scales that untrained encoders give."""
LOG_SCALES = (-7.0, 1.0)
"""Range of the logarithms of scales."""


@dataclass(frozen=True)
class Code:
    """A diagonal normal over codewords.

    Attributes:
        mean: `(batch, numbers)`.
        scale: the same shape, above 0.
    """

    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, moments: Tensor) -> "Code":
        """From what a network computes, `(batch, 2 numbers)`; never in half precision."""
        mean, log_scale = moments.float().chunk(2, dim=1)
        return cls(mean, (log_scale + FIRST_LOG_SCALE).clamp(*LOG_SCALES).exp())

    def draw(self) -> Tensor:
        """A codeword, reparametrised."""
        return self.mean + self.scale * torch.randn_like(self.mean)

    def normalised(self, groups: int, numbers_per_use: int = 1) -> "Code":
        """The same with mean power 1 per use in each of `groups` equal parts of every codeword.

        Formula: E y^2 = mean^2 + scale^2, on average over a part.
        Source: Ullrich 6.4 (a Gaussian input of constant power), ERRATA 8.
        """
        parts = (self.mean.square() + self.scale.square()).reshape(len(self.mean), groups, -1)
        power = parts.mean(2, keepdim=True) * numbers_per_use
        gain = power.clamp_min(1e-12).rsqrt().expand_as(parts).reshape_as(self.mean)
        return Code(self.mean * gain, self.scale * gain)

    def received(self, noise_scale: float) -> "Code":
        """The law of the codeword behind a channel that adds noise of this scale."""
        return Code(self.mean, (self.scale.square() + noise_scale**2).sqrt())

    def kl_nats(self, prior: Normal | None = None) -> Tensor:
        """KL(code || prior), `(batch,)`; the prior is N(0, 1) where none is given."""
        if prior is None:
            zeros = torch.zeros_like(self.mean)
            prior = Normal(zeros, torch.ones_like(zeros), validate_args=False)
        return kl_normal(Normal(self.mean, self.scale, validate_args=False), prior).sum(1)
