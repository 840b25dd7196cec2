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

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from laconic.networks.flows import ShiftFlow
from laconic.networks.gated import (
    Layers,
    SameTransposed,
    gated,
    gated_convolution,
    gated_transposed,
    stack,
)
from laconic.networks.pixel_cnn import PAPER, SMALL, PixelCNN, PixelCNNConfig

LEAST_VARIANCE = 1e-6
"""Added to every posterior's variance, so that no weight can produce an infinite rate."""
FIRST_INK = -1.0
"""Mean of the logits that pseudo-inputs begin with, where no data gives them."""


@dataclass(frozen=True)
class FamilySizes:
    """Sizes of all parts that families have.

    Attributes:
        latents: length of z.
        encoder: depth, kernel and stride of the gated convolutions.
        read_out: depth of the last, which sees all that is left of the picture.
        decoder_start: depth of the first gated deconvolution, from one position to all of them.
        decoder: depth, kernel and stride of the gated deconvolutions that follow.
        last: kernel and stride of the deconvolution to the pixels' logits.
        flow_steps: steps of a flow.
        flow_hidden: widths of the masked networks' hidden layers.
        pseudo_inputs: components of the mixture.
        pixels: of the autoregressive decoder.
    """

    latents: int
    encoder: Layers
    read_out: int
    decoder_start: int
    decoder: Layers
    last: tuple[int, int]
    flow_steps: int
    flow_hidden: tuple[int, ...]
    pseudo_inputs: int
    pixels: PixelCNNConfig

    @property
    def shrinkage(self) -> int:
        """Product of the encoder's strides."""
        return math.prod(stride for _, _, stride in self.encoder)

    @property
    def growth(self) -> int:
        """Product of the decoder's strides."""
        return self.last[1] * math.prod(stride for _, _, stride in self.decoder)


PRESETS: dict[str, FamilySizes] = {
    "paper": FamilySizes(
        latents=64,
        encoder=((32, 5, 1), (32, 5, 2), (64, 5, 1), (64, 5, 2)),
        read_out=256,
        decoder_start=64,
        decoder=((64, 5, 1), (64, 5, 2), (32, 5, 1), (32, 5, 2), (32, 4, 1)),
        last=(5, 1),
        flow_steps=4,
        flow_hidden=(640, 640, 640),
        pseudo_inputs=500,
        pixels=PAPER,
    ),
    "small": FamilySizes(
        latents=64,
        encoder=((24, 4, 2), (48, 4, 2)),
        read_out=192,
        decoder_start=48,
        decoder=((48, 4, 2), (24, 3, 1)),
        last=(6, 2),
        flow_steps=4,
        flow_hidden=(160, 160, 160),
        pseudo_inputs=128,
        pixels=SMALL,
    ),
}
"""The source's sizes (it does not name the number of pseudo-inputs: Tomczak and Welling's), and
sizes that two CPU cores train in minutes."""


@dataclass(frozen=True)
class FamilyConfig:
    """Which family, how large.

    Attributes:
        family: encoder, decoder and marginal, such as "-+v".
        preset: a name of `PRESETS`.
        sizes: what differs from the preset, by the names of `FamilySizes`; `pixels` is a mapping.
        side: rows and columns of the pictures.
    """

    family: str = "---"
    preset: str = "small"
    sizes: Mapping[str, Any] = field(default_factory=dict)
    side: int = 28

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a family that does not exist or sizes that cannot be."""
        choices = ("-+", "-+", "-+v")
        if len(self.family) != 3 or any(
            kind not in known for kind, known in zip(self.family, choices, strict=False)
        ):
            raise ConfigError(
                f"model.family: '{self.family}' is no family; write encoder (- or +), decoder "
                "(- or +) and marginal (-, + or v), such as '-+v'"
            )
        if self.preset not in PRESETS:
            raise ConfigError(f"model.preset: '{self.preset}' is not one of {', '.join(PRESETS)}")
        _ = self.resolved

    @property
    def resolved(self) -> FamilySizes:
        """The preset with its changes."""
        preset, changes = PRESETS[self.preset], dict(self.sizes)
        unknown = set(changes) - set(preset.__dataclass_fields__)
        if unknown:
            known = ", ".join(preset.__dataclass_fields__)
            raise ConfigError(f"model.sizes.{min(unknown)}: unknown key; known are {known}")
        pixels = _frozen(changes.pop("pixels", {}))
        sizes = replace(preset, **_frozen(changes))
        if self.side % sizes.shrinkage or self.side % sizes.growth:
            raise ConfigError(
                f"model.side: {self.side} is no multiple of the strides' products, "
                f"{sizes.shrinkage} (encoder) and {sizes.growth} (decoder)"
            )
        try:
            return replace(sizes, pixels=replace(sizes.pixels, **{"side": self.side, **pixels}))
        except TypeError as error:
            raise ConfigError(f"model.sizes.pixels: {error}") from error


def _frozen(value: Any) -> Any:
    """YAML's lists as tuples, all the way down."""
    if isinstance(value, Mapping):
        return {name: _frozen(item) for name, item in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


class Encoder(nn.Module):
    """Pictures -> mean and scale of a diagonal normal.

    Args:
        sizes: of the family.
        side: of the pictures.
    """

    def __init__(self, sizes: FamilySizes, side: int) -> None:
        super().__init__()
        self.layers = stack(gated_convolution, 1, sizes.encoder)
        depth, left = sizes.encoder[-1][0], side // sizes.shrinkage
        self.read_out = gated(nn.Conv2d(depth, 2 * sizes.read_out, left))
        self.mean = nn.Linear(sizes.read_out, sizes.latents)
        self.variance = nn.Linear(sizes.read_out, sizes.latents)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`(batch, 1, side, side)` in [0, 1] -> mean and scale, `(batch, latents)`."""
        hidden = self.read_out(self.layers(2 * x - 1)).flatten(1)
        variance = functional.softplus(self.variance(hidden).float()) + LEAST_VARIANCE
        return self.mean(hidden).float(), variance.sqrt()


class Decoder(nn.Module):
    """Latents -> logits of every pixel.

    Args:
        sizes: of the family.
        side: of the pictures.
    """

    def __init__(self, sizes: FamilySizes, side: int) -> None:
        super().__init__()
        first = side // sizes.growth
        start = nn.ConvTranspose2d(sizes.latents, 2 * sizes.decoder_start, first)
        self.start = gated(start)
        self.layers = stack(gated_transposed, sizes.decoder_start, sizes.decoder)
        self.last = SameTransposed(sizes.decoder[-1][0], 1, *sizes.last)

    def forward(self, z: Tensor) -> Tensor:
        """`(batch, latents)` -> `(batch, 1, side, side)`."""
        logits: Tensor = self.last(self.layers(self.start(z[:, :, None, None])))
        return logits.float()


class PseudoInputs(nn.Module):
    """Pictures that nobody took, and their shares: the VampPrior's parameters.

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
        mean, scale = self.encoder(x)
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
        logits = self.decoder(latents[0]).to(context.log_beta)
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
        return IntegerFamily(self, str(LEAST_VARIANCE))

    def _mixture(self, context: Context) -> MixtureSameFamily:
        mean, scale = self.encoder(self.pseudo_inputs())
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
