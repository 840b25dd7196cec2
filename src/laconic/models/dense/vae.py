"""The one-level VAE of small grey or binary pictures: dense layers around one vector of latents.

```
 x, cells of side x side ─ dense ─ dense ─► q(z | x) = N(mean, exp(log-scale)²)   z ─ dense ─ dense
                                             p(z) = N(0, I)                                    │
     every pixel: log odds of 1, or weights of shared logistics  ◄─ shuffle ─ 3x3 ─ planes at half
```

Dense layers know where in the picture they are, which suits centred digits; two convolutions at
half resolution say what the pixels of a neighbourhood have in common. Larger pictures are tiles of
cells that know nothing of each other.
Source: BB-ANS's models, Townsend, Bird, Barber 2019, with a likelihood of our own for grey.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, Normal
from torch.nn import functional

from laconic.distributions.logistic_mixture import CENTRE, LEVELS, SharedMixture
from laconic.errors import ConfigError
from laconic.models.base import Context, Features, NormalLadder, standard_normal
from laconic.models.cells import cut, join
from laconic.models.dense.exact import LOG_SCALES, IntegerDenseVAE
from laconic.networks.arithmetic import LEAK
from laconic.networks.residual import Block, Head

_OFFSET_UNIT = 64.0
"""Pixel steps in a unit of a component's learned shift."""


@dataclass(frozen=True)
class DenseConfig:
    """Sizes.

    Attributes:
        side: of a cell in pixels, even.
        latents: of a cell.
        hidden: widths of the encoder's dense layers; the decoder has them in reverse.
        planes: maps at half resolution that the dense decoder ends in.
        width: channels of the convolutions.
        likelihood: "bernoulli" for pixels that are 0 or 1, "mixture" for 8 bits.
        mixtures: shared logistics of a mixture, at least 3.
        beta_range: kept at 1: the objective is the code length.
    """

    side: int = 28
    latents: int = 40
    hidden: tuple[int, ...] = (512, 256)
    planes: int = 6
    width: int = 16
    likelihood: str = "mixture"
    mixtures: int = 8
    beta_range: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        """Raise `ConfigError` for sizes that cannot be."""
        if self.side % 2 or not self.hidden:
            raise ConfigError("model: the side must be even and hidden name a width or more")
        if self.likelihood not in ("bernoulli", "mixture"):
            raise ConfigError(
                f"model.likelihood: '{self.likelihood}' is not one of bernoulli, mixture"
            )
        if self.likelihood == "mixture" and self.mixtures < 3:
            raise ConfigError("model.mixtures: there must be 3 or more")

    @property
    def parameters(self) -> int:
        """Numbers that tell a pixel's distribution."""
        return self.mixtures if self.likelihood == "mixture" else 1


class DenseStack(nn.Module):
    """Linear layers with leaky ReLUs in between.

    Args:
        widths: inputs, hidden layers, outputs.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(map(nn.Linear, widths[:-1], widths[1:]))

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, inputs)` -> `(batch, outputs)`."""
        x = self.layers[0](x)
        for layer in self.layers[1:]:
            x = layer(functional.leaky_relu(x, LEAK))
        return x


class Planes(nn.Module):
    """From maps at half resolution to every pixel's parameters.

    Args:
        config: of the VAE.
    """

    def __init__(self, config: DenseConfig) -> None:
        super().__init__()
        self.enter = nn.Conv2d(config.planes, config.width, 3, padding=1)
        self.block = Block(nn.Conv2d(config.width, config.width, 3, padding=1), config.width)
        self.leave = Head(config.width, 4 * config.parameters)
        nn.init.normal_(self.leave.project.weight, std=0.3 * config.width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """`(cells, planes, side / 2, side / 2)` -> `(cells, parameters, side, side)`."""
        hidden = self.block(self.enter(functional.leaky_relu(x, LEAK)))
        return functional.pixel_shuffle(self.leave(functional.leaky_relu(hidden, LEAK)), 2)


class Components(nn.Module):
    """The logistics that every pixel weighs: one for 0, one for ink, the others spread evenly.

    Args:
        count: K.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        spread = torch.linspace(0, LEVELS, count - 2)
        self.first_means = [-20.0, 253.0, *spread.tolist()]
        first_scales = [1.0, 0.4] + [LEVELS / (2 * count - 2)] * (count - 2)
        self.offsets = nn.Parameter(torch.zeros(count))
        self.log_scales = nn.Parameter(torch.tensor(first_scales).log())

    def forward(self) -> tuple[Tensor, Tensor]:
        """Means in pixel steps and natural logs of scales, both `(K,)`."""
        first = self.offsets.new_tensor(self.first_means)
        return first + _OFFSET_UNIT * self.offsets, self.log_scales


@final
class DenseVAE(NormalLadder):
    """One level of latents under a standard normal prior; see the module."""

    shows_pictures = False
    takes_any_size = False

    def __init__(self, config: DenseConfig = DenseConfig()) -> None:
        super().__init__()
        self.config = config
        self.levels, self.stride, self.beta_range = 1, config.side, config.beta_range
        half = config.side // 2
        self.encoder = DenseStack([config.side**2, *config.hidden, 2 * config.latents])
        self.decoder = DenseStack([config.latents, *config.hidden[::-1], config.planes * half**2])
        self.planes = Planes(config)
        if config.likelihood == "mixture":
            self.components = Components(config.mixtures)

    def encode(self, x: Tensor, context: Context) -> Features:
        """Mean and log-scale of the latent, each `(batch, latents, rows, columns)` of cells."""
        centred = (x * (LEVELS - 1) - CENTRE) / CENTRE
        told = self.encoder(cut(centred, self.stride).flatten(1)).to(context.log_beta.dtype)
        cells = join(told[:, :, None, None], *context.grid(self.stride))
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
        """What the encoder says."""
        mean, log_scale = features
        return Normal(mean, torch.exp(log_scale), validate_args=False)

    def likelihood(self, latents: Sequence[Tensor], context: Context) -> Distribution:
        """Independent `Bernoulli`s, or a `SharedMixture`."""
        half = self.stride // 2
        dense = self.decoder(cut(latents[0], 1).flatten(1))
        told = self.planes(dense.reshape(len(dense), -1, half, half))
        told = join(told, *context.grid(self.stride))
        if self.config.likelihood == "bernoulli":
            return Independent(Bernoulli(logits=told, validate_args=False), 3)
        return SharedMixture(told, *self.components())

    def exact_ladder(self) -> IntegerDenseVAE:
        """The model in integers; later changes of the weights are not seen."""
        return IntegerDenseVAE(self)
