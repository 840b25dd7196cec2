"""The source's likelihood of a picture: Laplace, of unit or of learned scale."""

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.distributions import Laplace

from laconic.models.base import Context
from laconic.types import Images


@final
class LaplaceLikelihood(nn.Module):
    """p(x | z) = Laplace(mean, gamma) for every pixel and colour.

    With gamma fixed at 1 the model is trained on the beta objective. A learned gamma is never
    smaller than gamma_inf: then the ELBO L = D / gamma + R, times gamma, is the beta objective
    with beta = gamma, which falls by itself from 1 to gamma_inf: a warm-up without a schedule.
    Source: Flamich eq. 3.2 and 3.3.1.

    Args:
        learned: whether gamma is a parameter; it starts at 1.
        gamma_infinity: the clamp; None takes the context's beta, image by image.
    """

    def __init__(self, learned: bool, gamma_infinity: float | None) -> None:
        super().__init__()
        self.log_gamma = nn.Parameter(torch.zeros(())) if learned else None
        self.gamma_infinity = gamma_infinity

    def forward(self, mean: Images, context: Context) -> Laplace:
        """The distribution around `mean`; its scale has one value per image."""
        scale = context.expand(self.scale(context).to(mean.dtype))
        return Laplace(mean, scale.expand_as(mean), validate_args=False)

    def scale(self, context: Context) -> Tensor:
        """max(gamma, gamma_inf), shape `(batch,)`; 1 where gamma is not learned."""
        if self.log_gamma is None:
            return torch.ones_like(context.log_beta)
        floor = context.log_beta
        if self.gamma_infinity is not None:
            floor = torch.full_like(floor, math.log(self.gamma_infinity))
        return torch.maximum(self.log_gamma, floor).exp()
