"""The Markov ladder: every latent depends on the next alone, in both directions, for Bit-Swap.

```
 x ─► q(z_1 | x) ─► q(z_2 | z_1) ─► ...        inference, from below
 x ◄─ p(x | z_1) ◄─ p(z_1 | z_2) ◄─ ... p(z_L) = N(0, I)
```

Sender and training draw the latents bottom first, so that the ladder of `models.base` is one level
here: the vector of all latents, whose prior and posterior are Markov chains. A file is coded by
`coding.bits_back.BitSwap`: level by level, each draw pays with the bits of the level below it.
Source: Ullrich 1.4; Kingma, Abbeel, Ho, "Bit-Swap", 2019.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, final

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from laconic.distributions.logistic_mixture import CENTRE
from laconic.distributions.markov_chain import NormalChain
from laconic.models.base import Context, Features, LatentVariableModel
from laconic.models.markov.exact import IntegerMarkovLadder
from laconic.models.markov.networks import Conditional, MarkovConfig, MarkovNetworks
from laconic.models.pixel_ladder.causal import mixture


@final
class MarkovLadder(MarkovNetworks, LatentVariableModel):
    """Latents of 8-bit pictures that depend on their neighbours alone; see the module.

    Args:
        config: sizes.
    """

    shows_pictures = False

    def __init__(self, config: MarkovConfig) -> None:
        super().__init__(config)
        self.levels, self.beta_range = 1, config.beta_range

    def encode(self, x: Tensor, context: Context) -> Features:
        """The picture around 0, in pixel steps."""
        return x * 255 - CENTRE

    def prior(self, level: int, above: Sequence[Tensor], context: Context) -> Distribution:
        """p(z_L), p(z_(L-1) | z_L), ... as one vector per example, z_1 first."""
        shapes = self.shapes(context.shape)[::-1]
        zeros = context.log_beta.new_zeros(context.batch, *shapes[0])
        falls = [partial(_normal, network) for network in self.downward[:0:-1]]
        return NormalChain(Normal(zeros, torch.ones_like(zeros)), falls, shapes, reverse=True)

    def posterior(
        self, level: int, features: Features, above: Sequence[Tensor], prior: Any, context: Context
    ) -> Distribution:
        """q(z_1 | x), q(z_2 | z_1), ... as one vector per example, z_1 first."""
        first = _normal(self.upward[0], self.seen(features))
        rises = [partial(_normal, network) for network in self.upward[1:]]
        return NormalChain(first, rises, self.shapes(context.shape))

    def likelihood(self, latents: Sequence[Tensor], context: Context) -> Distribution:
        """A `ColourMixture`, given z_1."""
        shape = self.shapes(context.shape)[0]
        return mixture(*self.pixels(latents[0][:, : shape.numel()].reshape(-1, *shape)))

    def exact_ladder(self) -> IntegerMarkovLadder:
        """The same networks in integers; later changes of the weights are not seen."""
        return IntegerMarkovLadder(self)


def _normal(network: Conditional, given: Tensor) -> Normal:
    mean, log_scale = network.normal(given)
    return Normal(mean.float(), log_scale.float().exp(), validate_args=False)
