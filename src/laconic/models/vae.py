"""The one-level variational autoencoder with GDN, the source's baseline.

```
 x ─ ImageAnalysis ─► q(z | x) = N(mean, exp(log-scale)) ─ z ─ ImageSynthesis ─► Laplace p(x | z)
                       p(z) = N(0, I)
```

Source: Flamich 3.2.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.distributions import Laplace, Normal

from laconic.models.base import Context, Features, NormalLadder, standard_normal
from laconic.models.pixels import LaplaceLikelihood
from laconic.networks.analysis import LATENT_STRIDE, ImageAnalysis, ImageSynthesis
from laconic.networks.residual import OperatingPoint

LOG_SCALE_LIMIT = 8.0
"""Bound of log-scales, so that no weight can produce an infinite KL."""

BETA_RANGE = (1e-4, 1e-1)
"""Default range of beta for pixels in [0, 1] and a unit-scale Laplace likelihood."""


@dataclass(frozen=True)
class VAEConfig:
    """Sizes and options of a VAE.

    Attributes:
        width: channels of the convolutions (the source's N).
        latents: channels of the latent (the source's F).
        conditional: steer the networks by log beta, one model for every quality.
        embedding: channels of the embedding of log beta; unused unless conditional.
        learn_gamma: learn the scale of the likelihood.
        gamma_infinity: smallest scale of the likelihood; None takes the context's beta.
        beta_range: smallest and largest beta served.
    """

    width: int = 128
    latents: int = 128
    conditional: bool = False
    embedding: int = 32
    learn_gamma: bool = False
    gamma_infinity: float | None = None
    beta_range: tuple[float, float] = BETA_RANGE


VAE_PRESETS: dict[str, VAEConfig] = {
    "source": VAEConfig(width=196, latents=128),
    "base": VAEConfig(),
    "tiny": VAEConfig(width=8, latents=6, embedding=4),
}


@final
class VAE(NormalLadder):
    """One level of latents under a standard normal prior."""

    def __init__(self, config: VAEConfig = VAE_PRESETS["base"]) -> None:
        super().__init__()
        self.config = config
        self.levels = 1
        self.stride = LATENT_STRIDE
        self.beta_range = config.beta_range
        embedding = config.embedding if config.conditional else 0
        self.operating_point = OperatingPoint(config.beta_range, embedding) if embedding else None
        self.analysis = ImageAnalysis(config.width, config.latents, embedding)
        self.synthesis = ImageSynthesis(config.width, config.latents, embedding)
        self.pixels = LaplaceLikelihood(config.learn_gamma, config.gamma_infinity)

    def encode(self, x: Tensor, context: Context) -> Features:
        """Mean and scale of the latent, each `(batch, latents, height / 16, width / 16)`."""
        mean, log_scale = self.analysis(x, self._point(context))
        return [mean, bounded_exp(log_scale)]

    def prior(self, level: int, above: Sequence[Tensor], context: Context) -> Normal:
        """N(0, I)."""
        return standard_normal(context, self.config.latents, self.stride)

    def posterior(
        self,
        level: int,
        features: Features,
        above: Sequence[Tensor],
        prior: Normal,
        context: Context,
    ) -> Normal:
        """What the encoder says."""
        mean, scale = features
        return Normal(mean, scale, validate_args=False)

    def likelihood(self, latents: Sequence[Tensor], context: Context) -> Laplace:
        """Laplace around the synthesised picture."""
        picture: Tensor = self.synthesis(latents[0], self._point(context))
        result: Laplace = self.pixels(picture, context)
        return result

    def _point(self, context: Context) -> Tensor | None:
        return None if self.operating_point is None else self.operating_point(context.log_beta)


def bounded_exp(log_scale: Tensor) -> Tensor:
    """Return exp of `log_scale`, bounded to ±`LOG_SCALE_LIMIT`."""
    return torch.exp(log_scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT))
