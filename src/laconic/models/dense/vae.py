"""The one-level VAE of small grey or binary pictures: dense layers around one vector of latents.

```
 x, cells of side x side ─ dense ─ dense ─► q(z | x) = N(mean, exp(log-scale)²)   z ─ dense ─ dense
                                             p(z) = N(0, I)                                    │
     every pixel: log odds of 1, or weights of shared logistics  ◄─ shuffle ─ 3x3 ─ planes at half
```

Dense layers depend on the place in the picture, which suits centred digits; two convolutions at
half resolution model what the pixels of a neighbourhood share. Larger pictures are tiles of
cells, coded independently.
Source: BB-ANS's models, Townsend, Bird, Barber 2019, with a likelihood of our own for grey.
"""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Independent, Normal

from laconic.distributions.logistic_mixture import CENTRE, LEVELS, SharedMixture
from laconic.models.base import Context, Features, NormalLadder, standard_normal
from laconic.models.dense.exact import IntegerDenseVAE
from laconic.models.dense.networks import LOG_SCALES, DenseConfig, DenseNetworks


@final
class DenseVAE(DenseNetworks, NormalLadder):
    """One level of latents under a standard normal prior; see the module.

    Args:
        config: sizes.
    """

    shows_pictures = False
    takes_any_size = False

    def __init__(self, config: DenseConfig = DenseConfig()) -> None:
        super().__init__(config)
        self.levels, self.beta_range = 1, config.beta_range

    def encode(self, x: Tensor, context: Context) -> Features:
        """Mean and log-scale of the latent, each `(batch, latents, rows, columns)` of cells."""
        cells = self.posteriors((x * (LEVELS - 1) - CENTRE) / CENTRE).to(context.log_beta.dtype)
        mean, log_scale = cells.chunk(2, dim=1)
        return [mean, log_scale.clamp(*LOG_SCALES)]

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
        """The encoder's normal."""
        mean, log_scale = features
        return Normal(mean, torch.exp(log_scale), validate_args=False)

    def likelihood(self, latents: Sequence[Tensor], context: Context) -> Distribution:
        """Independent `Bernoulli`s, or a `SharedMixture`."""
        logits = self.parameters_of_pixels(latents[0])
        if self.config.likelihood == "bernoulli":
            return Independent(Bernoulli(logits=logits, validate_args=False), 3)
        return SharedMixture(logits, *self.components())

    def exact_ladder(self) -> IntegerDenseVAE:
        """The model in integers; later changes of the weights are not seen."""
        return IntegerDenseVAE(self)
