"""Lossless models: a ladder of latents, none or many, and pixels that are coded exactly.

```
 x ─ 1/2 ─ 1/4 ─ 1/8 ─ 1/16      bottom-up (sender, and receiver once x is known)
     │     │     │     │
     z_4 ◄─ z_3 ◄─ z_2 ◄─ z_1 ◄─ constant      top-down, one stride or level after the other
     │
     ├─ a mixture for every pixel and colour                     context_width = 0
     └─ features for a causal network over the pixels themselves  context_width > 0
```

With no levels it is a PixelCNN; with levels and no context a hierarchical VAE, fully convolutional;
with both their combination.

Both sides know the posterior's scale. The encoder measures each latent through unit noise and the
prior has scale s, so the posterior has variance s² / (1 + s²) by the ladder's combination rule.
With it both sides know the bits that a dimension should cost, ½ log2(1 + s²) on average.
Source: ladder: Flamich 3.2.2; autoregressive and latent-variable lossless models: Lecture.
"""

from collections.abc import Sequence
from typing import Any, final

from torch import Tensor
from torch.distributions import Distribution, Normal

from laconic.distributions.logistic_mixture import CENTRE
from laconic.models.base import Context, ModelWalk, NormalLadder
from laconic.models.pixel_ladder.causal import CausalPixels, mixture
from laconic.models.pixel_ladder.exact import IntegerPixelLadder
from laconic.models.pixel_ladder.networks import (
    Feature,
    PixelLadderConfig,
    PixelNetworks,
    State,
)
from laconic.models.walk import walk


@final
class PixelLadder(PixelNetworks, NormalLadder):
    """Latents and a likelihood of 8-bit pixels; see the module.

    Args:
        config: sizes.
    """

    shows_pictures = False

    def __init__(self, config: PixelLadderConfig = PixelLadderConfig()) -> None:
        super().__init__(config)
        self.beta_range = config.beta_range

    def exact_ladder(self) -> IntegerPixelLadder:
        """The same networks in integers; later changes of the weights are not seen."""
        return IntegerPixelLadder(self)

    def encode(self, x: Tensor, context: Context) -> Any:
        """Bottom-up features of every level, top first."""
        return self.climber(x * 255 - CENTRE) if self.levels else []

    def begin(self, context: Context) -> "PixelWalk":
        """A walk that runs every network once."""
        return PixelWalk(self, context)

    def prior(self, level: int, above: Sequence[Tensor], context: Context) -> Normal:
        """Computed from the latents above."""
        return self._after(level, above, context).prior(level)

    def posterior(
        self,
        level: int,
        features: Any,
        above: Sequence[Tensor],
        prior: Normal,
        context: Context,
    ) -> Normal:
        """The prior and the encoder's measurement, weighted by precision."""
        state = self._after(level, above, context)
        state.prior(level)
        return state.posterior(level, features, prior)

    def likelihood(self, latents: Sequence[Tensor], context: Context) -> Distribution:
        """A `ColourMixture`, or `CausalPixels` where there is a causal network."""
        return self._after(self.levels, latents, context).likelihood()

    def _after(self, levels: int, above: Sequence[Tensor], context: Context) -> "PixelWalk":
        """The walk after its first `levels` levels, whose latents are given."""
        state = self.begin(context)
        state.levels = levels
        walk(state, lambda level, prior: above[level])
        return state


class PixelWalk(ModelWalk):
    """A walk up a pixel ladder: the networks' state is kept from level to level.

    Args:
        model: the ladder.
        context: what both sides know.
    """

    def __init__(self, model: PixelLadder, context: Context) -> None:
        super().__init__(model, context)
        self.pixels = model
        self.state: State | None = None
        if model.levels:
            self.state = model.start(context.log_beta, context.batch, context.shape)

    def prior(self, level: int) -> Normal:
        """Computed from the state, which goes down to the resolution of `level`."""
        assert self.state is not None
        self.state = self.pixels.ladder[level].descend(self.state)
        return _normal(*self.pixels.ladder[level].prior(self.state))

    def posterior(self, level: int, features: Sequence[Feature], prior: Normal) -> Normal:
        """The prior and the encoder's measurement, weighted by precision.

        Formula: variance v = s^2 / (1 + s^2), mean m_p + v d; d is the encoder's measurement minus
        m_p.
        """
        assert self.state is not None
        network, variance = self.pixels.ladder[level], prior.scale.square()
        weight = variance / (1 + variance)
        distance = network.distance(self.state, features[level], prior.loc)
        return _normal(prior.loc + weight * distance, weight.sqrt())

    def take_in(self, level: int, latent: Tensor) -> None:
        """Continue from the latent of `level`."""
        super().take_in(level, latent)
        assert self.state is not None
        self.state = self.pixels.ladder[level].take_in(self.state, latent)

    def likelihood(self) -> Distribution:
        """A `ColourMixture`, or `CausalPixels` where there is a causal network."""
        model, context, state = self.pixels, self.context, self.state
        pivot, parameters = (None, None) if state is None else model.pixels(state)
        if model.config.context_width:
            shape = (context.batch, 3, *context.shape)
            return CausalPixels(model.context_network, pivot, parameters, shape)
        assert pivot is not None
        assert parameters is not None
        return mixture(pivot, parameters)


def _normal(loc: Tensor, scale: Tensor) -> Normal:
    return Normal(loc, scale, validate_args=False)
