"""Lossless models: a ladder of latents, none or many, and pixels that are told to the last value.

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

Prior and posterior share what the posterior's scale is. The encoder measures each latent through
unit noise, the prior has scale s, so the posterior has variance s² / (1 + s²) by the ladder's
combination rule: both sides know it, and with it the bits that a dimension should cost,
½ log2(1 + s²) on average.
Source: ladder: Flamich 3.2.2; autoregressive and latent-variable lossless models: Lecture.
"""

from collections.abc import Sequence
from typing import Any, final

from torch import Tensor
from torch.distributions import Distribution, Normal

from laconic.distributions.logistic_mixture import CENTRE
from laconic.models.base import Context, NormalLadder, Rung
from laconic.models.pixel_ladder.causal import CausalPixels, mixture
from laconic.models.pixel_ladder.exact import IntegerPixelLadder
from laconic.models.pixel_ladder.networks import (
    Feature,
    Level,
    PixelLadderConfig,
    PixelNetworks,
    State,
)


@final
class PixelLadder(PixelNetworks, NormalLadder):
    """Latents and a likelihood of 8-bit pixels; see the module.

    Args:
        config: sizes.
    """

    shows_pictures = False

    def __init__(self, config: PixelLadderConfig) -> None:
        super().__init__(config)
        self.beta_range = config.beta_range

    def exact_ladder(self) -> IntegerPixelLadder:
        """The same networks in integers; later changes of the weights are not seen."""
        return IntegerPixelLadder(self)

    def encode(self, x: Tensor, context: Context) -> Any:
        """Bottom-up features of every level, top first."""
        return self.climber(x * 255 - CENTRE) if self.levels else []

    def prior(self, level: int, above: Sequence[Tensor], context: Context) -> Normal:
        """Computed from the latents above."""
        return _normal(*self.ladder[level].prior(self._known(level, above, context)))

    def posterior(
        self,
        level: int,
        features: Any,
        above: Sequence[Tensor],
        prior: Normal,
        context: Context,
    ) -> Normal:
        """The prior and the encoder's measurement, weighted by precision."""
        state = self._known(level, above, context)
        return _posterior(self.ladder[level], state, features[level], prior)

    def likelihood(self, latents: Sequence[Tensor], context: Context) -> Distribution:
        """A `ColourMixture`, or `CausalPixels` where there is a causal network."""
        state = self._known(self.levels, latents, context) if self.levels else None
        return self._likelihood(state, context)

    def pass_through(
        self, x: Tensor, context: Context, pathwise: bool = True
    ) -> tuple[list[Rung], Distribution]:
        """The same numbers as the contract's functions one by one, every network run once."""
        features = self.encode(x, context)
        rungs: list[Rung] = []
        if not self.levels:
            return rungs, self._likelihood(None, context)
        state = self._start(context)
        for level, feature in zip(self.ladder, features, strict=True):
            state = level.descend(state)
            prior = _normal(*level.prior(state))
            posterior = _posterior(level, state, feature, prior)
            latent = posterior.rsample() if pathwise else posterior.rsample().detach()
            rungs.append(Rung(posterior, prior, latent))
            state = level.take_in(state, latent)
        return rungs, self._likelihood(state, context)

    def _start(self, context: Context) -> State:
        return self.start(context.log_beta, context.batch, context.shape)

    def _known(self, level: int, above: Sequence[Tensor], context: Context) -> State:
        """The state before `level`, once the latents above it are known."""
        state = self._start(context)
        for rung, latent in zip(self.ladder, above[:level], strict=False):
            state = rung.take_in(rung.descend(state), latent)
        return self.ladder[level].descend(state) if level < self.levels else state

    def _likelihood(self, state: State | None, context: Context) -> Distribution:
        pivot, parameters = (None, None) if state is None else self.pixels(state)
        if self.config.context_width:
            shape = (context.batch, 3, *context.shape)
            return CausalPixels(self.context_network, pivot, parameters, shape)
        assert pivot is not None
        assert parameters is not None
        return mixture(pivot, parameters)


def _normal(loc: Tensor, scale: Tensor) -> Normal:
    return Normal(loc, scale, validate_args=False)


def _posterior(level: Level, state: State, feature: Feature, prior: Normal) -> Normal:
    """What the sender knows: variance s^2 / (1 + s^2), mean moved by the encoder's measurement.

    Formula: m = m_p + s^2 / (1 + s^2) d, d the encoder's measurement minus m_p.
    """
    variance = prior.scale.square()
    weight = variance / (1 + variance)
    return _normal(prior.loc + weight * level.distance(state, feature, prior.loc), weight.sqrt())
