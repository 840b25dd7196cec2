"""The two-level probabilistic ladder network (PLN); with a learned likelihood scale, gamma-PLN.

```
 x ─ ImageAnalysis ─► mean_x, scale_x ───────────────────────────────┐ (sender only)
                        │                                            │
                        └ LatentAnalysis ─► q(z2 | x) ─ z2           │
                                             p(z2) = N(0, I)         │
                        z2 ─ LatentSynthesis ─► p(z1 | z2) ─ combine ┴► q(z1 | z2, x) ─ z1
                        z1 ─ ImageSynthesis ─► Laplace p(x | z1)
```

Level 0 of the contract is the source's level 2 (top first), level 1 its level 1.
Source: Flamich 3.2.2, fig. 3.2, 3.3.1 (ERRATA 3: variances are combined, and the prior's scale
comes from the decoder).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.distributions import Laplace, Normal

from laconic.models.base import Context, Features, NormalLadder, combine, standard_normal
from laconic.models.pixels import LaplaceLikelihood
from laconic.models.vae import BETA_RANGE, bounded_exp
from laconic.networks.analysis import (
    LATENT_STRIDE,
    ImageAnalysis,
    ImageSynthesis,
    LatentAnalysis,
    LatentSynthesis,
)
from laconic.networks.residual import OperatingPoint


@dataclass(frozen=True)
class PLNConfig:
    """Sizes and options of a PLN.

    Attributes:
        width: channels between picture and level 1 (the source's N).
        prior_width: channels between level 1 and level 2 (the source's M).
        latents: channels of level 1 (the source's F).
        top: channels of level 2 (the source's G).
        conditional: steer the networks by log beta, one model for every quality.
        embedding: channels of the embedding of log beta; unused unless conditional.
        learn_gamma: learn the scale of the likelihood: the gamma-PLN.
        gamma_infinity: smallest scale of the likelihood; None takes the context's beta.
        beta_range: smallest and largest beta served.
    """

    width: int = 128
    prior_width: int = 128
    latents: int = 128
    top: int = 24
    conditional: bool = False
    embedding: int = 32
    learn_gamma: bool = False
    gamma_infinity: float | None = None
    beta_range: tuple[float, float] = BETA_RANGE


PLN_PRESETS: dict[str, PLNConfig] = {
    "source": PLNConfig(width=196, prior_width=128, latents=128, top=24),
    "base": PLNConfig(),
    "tiny": PLNConfig(width=8, prior_width=8, latents=6, top=4, embedding=4),
}


@final
class PLN(NormalLadder):
    """Two levels of latents; the upper gives the prior of the lower and refines its posterior."""

    def __init__(self, config: PLNConfig = PLN_PRESETS["base"]) -> None:
        super().__init__()
        self.config = config
        self.levels = 2
        self.stride = 2 * LATENT_STRIDE
        self.beta_range = config.beta_range
        embedding = config.embedding if config.conditional else 0
        self.operating_point = OperatingPoint(config.beta_range, embedding) if embedding else None
        self.analysis = ImageAnalysis(config.width, config.latents, embedding)
        self.top_analysis = LatentAnalysis(
            config.latents, config.prior_width, config.top, embedding
        )
        self.top_synthesis = LatentSynthesis(
            config.top, config.prior_width, config.latents, embedding
        )
        self.synthesis = ImageSynthesis(config.width, config.latents, embedding)
        self.pixels = LaplaceLikelihood(config.learn_gamma, config.gamma_infinity)

    def encode(self, x: Tensor, context: Context) -> Features:
        """Mean and scale of the top latent, then of the bottom one as the encoder alone sees it.

        Shapes: twice `(batch, top, height / 32, width / 32)`, then twice
        `(batch, latents, height / 16, width / 16)`.
        """
        point = self._point(context)
        mean, log_scale = self.analysis(x, point)
        top_mean, top_logit = self.top_analysis(mean, point)
        return [top_mean, torch.sigmoid(top_logit), mean, bounded_exp(log_scale)]

    def prior(self, level: int, above: Sequence[Tensor], context: Context) -> Normal:
        """N(0, I) at the top; below, the prediction of the top latent."""
        if level == 0:
            return standard_normal(context, self.config.top, self.stride)
        mean, log_scale = self.top_synthesis(above[0], self._point(context))
        return Normal(mean, bounded_exp(log_scale), validate_args=False)

    def posterior(
        self,
        level: int,
        features: Features,
        above: Sequence[Tensor],
        prior: Normal,
        context: Context,
    ) -> Normal:
        """The encoder's belief; at the lower level weighted by precision with the prior."""
        mean, scale = features[2 * level : 2 * level + 2]
        encoder = Normal(mean, scale, validate_args=False)
        return encoder if level == 0 else combine(encoder, prior)

    def likelihood(self, latents: Sequence[Tensor], context: Context) -> Laplace:
        """Laplace around the picture synthesised from the lower latent."""
        picture: Tensor = self.synthesis(latents[1], self._point(context))
        result: Laplace = self.pixels(picture, context)
        return result

    def _point(self, context: Context) -> Tensor | None:
        return None if self.operating_point is None else self.operating_point(context.log_beta)
