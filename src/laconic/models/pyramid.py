"""A ladder without weights: block means, then what they leave. For tests, examples and fuzzing.

Level 0 codes the mean of every 8x8 block, level 1 what 2x2 means add to it. Nothing is learned, so
that its files stay decodable for ever and tests need no training.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal
from torch.nn import functional

from laconic.models.base import Context, Features, NormalLadder, combine

COARSE = 8
FINE = 2


class Pyramid(NormalLadder):
    """Two levels of block means with fixed Gaussian priors, refined by precision weighting.

    Level 0 has shape `(batch, 3, height / 8, width / 8)`, level 1 `(batch, 48, height / 8, width /
    8)`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.levels = 2
        self.stride = COARSE
        self.beta_range = (1e-4, 2.56e-2)
        self.register_buffer("spread", torch.tensor(0.3))

    def encode(self, x: Tensor, context: Context) -> Features:
        """Means of blocks of both sizes around zero; `x`: `(batch, 3, height, width)`."""
        centred = x - 0.5
        return [functional.avg_pool2d(centred, COARSE), functional.avg_pool2d(centred, FINE)]

    def prior(self, level: int, above: Sequence[Tensor], context: Context) -> Normal:
        """Level 1 is wider where level 0 is far from grey, so that the ladder is a true one."""
        spread = self.get_buffer("spread")
        if level == 0:
            zero = spread.new_zeros(context.batch, 3, *context.grid(COARSE))
            return Normal(zero, zero + spread, validate_args=False)
        contrast = above[0].abs().mean(dim=1, keepdim=True)
        ratio = COARSE // FINE
        scale = (0.05 + 0.1 * contrast).expand(-1, 3 * ratio**2, -1, -1)
        return Normal(torch.zeros_like(scale), scale, validate_args=False)

    def posterior(
        self,
        level: int,
        features: Features,
        above: Sequence[Tensor],
        prior: Normal,
        context: Context,
    ) -> Normal:
        """The block means, blurred by noise of variance beta, times the prior."""
        loc = features[level]
        if level == 1:
            ratio = COARSE // FINE
            loc = functional.pixel_unshuffle(loc - _enlarge(above[0], ratio), ratio)
        scale = context.expand(torch.exp(0.5 * context.log_beta)).expand_as(loc)
        return combine(Normal(loc, scale, validate_args=False), prior)

    def likelihood(self, latents: Sequence[Tensor], context: Context) -> Distribution:
        """Both levels enlarged and added; Gaussian with variance beta."""
        fine = functional.pixel_shuffle(latents[1], COARSE // FINE)
        picture = _enlarge(latents[0], COARSE) + _enlarge(fine, FINE) + 0.5
        scale = context.expand(torch.exp(0.5 * context.log_beta)).expand_as(picture)
        return Normal(picture, scale, validate_args=False)


def _enlarge(means: Tensor, factor: int) -> Tensor:
    return means.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)
