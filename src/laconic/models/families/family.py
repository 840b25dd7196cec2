"""The twelve families of the rate-distortion laboratory: encoder, decoder and marginal by name.

```
 "-+v" = encoder, decoder, marginal

 encoder   -  convolutions ─► N(mean, variance)          +  ... ─► flow of shifts (IAF)
 marginal  -  N(0, I)     +  N(0, I) through a flow (MAF)     v  mixture of q(z | pseudo-input)
 decoder   -  deconvolutions ─► a Bernoulli per pixel    +  pixels one after the other, given z
```

The encoder's flow sees the draw alone, as the source has it; a mixture of such posteriors is then
the mixture of their normals, seen through the same flow.
Source: Alemi, section 4 and appendix F.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    MixtureSameFamily,
    Normal,
    TransformedDistribution,
)
from torch.nn import functional

from laconic.errors import ConfigError
from laconic.models.base import Context, Features, LatentVariableModel
from laconic.models.families.causal_bits import CausalBits
from laconic.models.families.exact import IntegerFamily
from laconic.models.families.networks import LEAST_VARIANCE, Decoder, Encoder, FamilyConfig
from laconic.networks.flows import ShiftFlow
from laconic.networks.pixel_cnn import PixelCNN

FIRST_INK = -1.0
"""Mean of the logits that pseudo-inputs begin with, where no data gives them."""


class PseudoInputs(nn.Module):
    """Learned pseudo-pictures, and their shares: the VampPrior's parameters.

    Args:
        count: components.
        side: of the pictures.
    """

    def __init__(self, count: int, side: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(FIRST_INK + torch.randn(count, 1, side, side))
        self.shares = nn.Parameter(torch.zeros(count))

    @torch.no_grad()
    def adopt(self, x: Tensor) -> None:
        """Begin as these pictures, `(count, 1, side, side)` in [0, 1]."""
        self.logits.copy_(torch.logit(x.clamp(0.05, 0.95)))

    def forward(self) -> Tensor:
        """The pictures, `(count, 1, side, side)` in [0, 1]."""
        return torch.sigmoid(self.logits)


@final
class Family(LatentVariableModel):
    """One level of latents, `(batch, latents)`; see the module.

    Args:
        config: the family and its sizes.
    """

    shows_pictures = False
    takes_any_size = False

    def __init__(self, config: FamilyConfig = FamilyConfig()) -> None:
        super().__init__()
        self.config, self.sizes = config, config.resolved
        self.levels, self.stride, self.beta_range = 1, config.side, (1.0, 1.0)
        self.encoder_kind, self.decoder_kind, self.marginal_kind = tuple(config.family)
        sizes, side = self.sizes, config.side
        self.encoder = Encoder(sizes, side)
        if self.encoder_kind == "+":
            self.encoder_flow = ShiftFlow(sizes.latents, sizes.flow_steps, sizes.flow_hidden)
        if self.marginal_kind == "+":
            self.marginal_flow = ShiftFlow(sizes.latents, sizes.flow_steps, sizes.flow_hidden)
        if self.marginal_kind == "v":
            self.pseudo_inputs = PseudoInputs(sizes.pseudo_inputs, side)
        if self.decoder_kind == "+":
            self.pixels = PixelCNN(sizes.pixels, sizes.latents)
        else:
            self.decoder = Decoder(sizes, side)

    def prepare(self, batches: Iterable[Tensor]) -> None:
        """Start the pseudo-inputs of a mixture as the first training images.

        Raises:
            ConfigError: there are fewer images than components.
        """
        if self.marginal_kind != "v":
            return
        count, images = self.sizes.pseudo_inputs, []
        for batch in batches:
            images.append(batch)
            if sum(map(len, images)) >= count:
                break
        found = torch.cat(images)[:count]
        if len(found) < count:
            raise ConfigError(f"model.sizes.pseudo_inputs: {count}, for {len(found)} images")
        self.pseudo_inputs.adopt(found)

    def encode(self, x: Tensor, context: Context) -> Features:
        """Mean and scale of the encoder's normal, each `(batch, latents)`."""
        mean, scale = self._moments(x)
        return [mean.to(context.log_beta), scale.to(context.log_beta)]

    def prior(self, level: int, above: Sequence[Tensor], context: Context) -> Distribution:
        """The marginal m(z)."""
        zeros = context.log_beta.new_zeros(context.batch, self.sizes.latents)
        normal = Normal(zeros, torch.ones_like(zeros), validate_args=False)
        if self.marginal_kind == "-":
            return normal
        if self.marginal_kind == "+":
            return _pushed(Independent(normal, 1), self.marginal_flow.transform.inv)
        return self._through_encoder_flow(self._mixture(context))

    def posterior(
        self,
        level: int,
        features: Features,
        above: Sequence[Tensor],
        prior: Any,
        context: Context,
    ) -> Distribution:
        """The encoder e(z | x)."""
        mean, scale = features
        normal = Normal(mean, scale, validate_args=False)
        if self.encoder_kind == "-":
            return normal
        return self._through_encoder_flow(Independent(normal, 1, validate_args=False))

    def likelihood(self, latents: Sequence[Tensor], context: Context) -> Distribution:
        """The decoder d(x | z): independent `Bernoulli`s, or `CausalBits`."""
        if self.decoder_kind == "+":
            return CausalBits(self.pixels, latents[0])
        logits = self.decoder(latents[0]).float().to(context.log_beta)
        return Independent(Bernoulli(logits=logits, validate_args=False), 3, validate_args=False)

    def exact_ladder(self) -> IntegerFamily:
        """The model in integers; later changes of the weights are not seen.

        Raises:
            ConfigError: it is not the family "---", or its weights are too large.
        """
        if self.config.family != "---":
            raise ConfigError(
                f"model.family: '{self.config.family}' writes no files; files need a normal "
                "posterior, a normal marginal and independent pixels: the family '---'"
            )
        return IntegerFamily(self.config.side, self.sizes, self.encoder, self.decoder)

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale of the encoder's normal; `x`: in [0, 1]."""
        mean, logits = self.encoder(2 * x - 1)
        variance = functional.softplus(logits.float()) + LEAST_VARIANCE
        return mean.float(), variance.sqrt()

    def _mixture(self, context: Context) -> MixtureSameFamily:
        mean, scale = self._moments(self.pseudo_inputs())
        normal = Normal(mean, scale, validate_args=False)
        components = Independent(normal, 1, validate_args=False)
        shares = Categorical(logits=self.pseudo_inputs.shares, validate_args=False)
        mixture = MixtureSameFamily(shares, components, validate_args=False)
        expand: Callable[[torch.Size], MixtureSameFamily] = mixture.expand
        return expand(torch.Size((context.batch,)))

    def _through_encoder_flow(self, normal: Distribution) -> Distribution:
        if self.encoder_kind == "-":
            return normal
        return _pushed(normal, self.encoder_flow.transform)


def _pushed(base: Distribution, transform: Any) -> TransformedDistribution:
    return TransformedDistribution(base, [transform], validate_args=False)
