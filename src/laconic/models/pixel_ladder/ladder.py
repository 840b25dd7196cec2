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

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Normal
from torch.nn import functional

from laconic.distributions.logistic_mixture import CENTRE
from laconic.errors import ConfigError
from laconic.models.base import Context, NormalLadder, Rung
from laconic.models.families.causal_pixels import (
    FINE_SPREAD,
    SPREAD,
    CausalContext,
    CausalPixels,
    mixture,
)
from laconic.models.pixel_ladder.exact import LOG_SCALE_LIMIT, IntegerPixelLadder
from laconic.networks.residual import LEAK, Head

FIRST_STEP = 4.0
"""Pixel steps in a unit of the encoder's noise, before training."""
COARSE = 16.0
"""Latents are seen by asinh and, so that large ones keep their value, divided by this."""


@dataclass(frozen=True)
class PixelLadderConfig:
    """Sizes.

    Attributes:
        strides: pixels per latent of each level, top first, each equal to the one before or half.
        latents: channels of each level's latent.
        widths: channels of the networks at each level.
        mixtures: logistics per pixel and colour.
        context_width: channels of the causal network; 0: pixels are independent given the latents.
        context_kernel: side of the first causal kernel.
        context_blocks: causal residual blocks.
        beta_range: kept at 1: the objective is the code length.
    """

    strides: tuple[int, ...] = (16, 8, 4, 2)
    latents: tuple[int, ...] = (16, 16, 12, 8)
    widths: tuple[int, ...] = (96, 96, 96, 64)
    mixtures: int = 3
    context_width: int = 0
    context_kernel: int = 7
    context_blocks: int = 2
    beta_range: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        """Raise `ConfigError` where sizes do not fit each other."""
        if not len(self.strides) == len(self.latents) == len(self.widths):
            raise ConfigError("model: strides, latents and widths need one value per level")
        for above, below in pairwise(self.strides):
            if above not in (below, 2 * below):
                raise ConfigError(f"model.strides: {below} cannot follow {above}")
        if not self.strides and not self.context_width:
            raise ConfigError("model: without levels there must be a context_width above 0")

    @property
    def parameters(self) -> int:
        """Numbers that tell a pixel's distribution, pivots apart."""
        return 12 * self.mixtures


class Block(nn.Module):
    """x + outer(leaky(inner(leaky(x)))): `inner` 3x3, `outer` 1x1 and zero at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(width, width, 3, padding=1)
        self.outer = nn.Conv2d(width, width, 1)
        for parameter in self.outer.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, width, h, w)` -> the same shape."""
        hidden = self.inner(functional.leaky_relu(x, LEAK))
        result: Tensor = x + self.outer(functional.leaky_relu(hidden, LEAK))
        return result


class Feature(NamedTuple):
    """What the sender knows at a level: features, and the mean colours around 0 in steps."""

    hidden: Tensor
    picture: Tensor


class Level(nn.Module):
    """One latent: what is known before it, what the sender adds, and how it is passed on.

    Args:
        width: channels of the features from above and from below.
        latents: channels of the latent.
        above: channels of the level above; None where there is none.
        doubled: whether the level above has half the resolution.
    """

    def __init__(self, width: int, latents: int, above: int | None, doubled: bool) -> None:
        super().__init__()
        self.doubled = doubled
        self.enter = nn.Conv2d(above or 1, (4 if doubled else 1) * width, 1)
        self.look = nn.Conv2d(3, width, 3, padding=1)
        self.log_step = nn.Parameter(torch.tensor(math.log(FIRST_STEP)))
        self.block = Block(width)
        self.prior_head = Head(width, 2 * latents)
        self.merge = nn.Conv2d(2 * width, width, 1)
        self.posterior_head = Head(width, latents)
        self.inject = nn.Conv2d(2 * latents, width, 1)
        # Information must flow before it can be judged: from zeros a ladder would never climb.
        nn.init.normal_(self.posterior_head.project.weight, std=width**-0.5)
        with torch.no_grad():
            _bias(self.prior_head.project)[latents:] = 1.0

    def descend(self, hidden: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
        """Features and picture of the level above -> those that the prior is read from."""
        hidden = self.enter(hidden)
        if self.doubled:
            hidden = functional.pixel_shuffle(hidden, 2)
            base = functional.interpolate(base, scale_factor=2, mode="nearest")
        hidden = self.block(hidden + self.look(base / SPREAD))
        return hidden, base

    def prior(self, hidden: Tensor) -> Normal:
        """What both sides know."""
        loc, log_scale = self.prior_head(functional.leaky_relu(hidden, LEAK)).chunk(2, dim=1)
        limited = log_scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT)
        return Normal(loc, limited.exp(), validate_args=False)

    def posterior(self, hidden: Tensor, base: Tensor, feature: Feature, prior: Normal) -> Normal:
        """What the sender knows: variance s² / (1 + s²), mean moved by the encoder's measurement.

        The first three channels start as what the picture so far lacks.
        Formula: m = m_p + s² / (1 + s²) d, d the encoder's measurement minus m_p.
        """
        merged = self.merge(torch.cat([hidden, feature.hidden], dim=1))
        distance = self.posterior_head(functional.leaky_relu(merged, LEAK))
        lacking = (feature.picture - base) * torch.exp(-self.log_step) - prior.loc[:, :3]
        distance = torch.cat([distance[:, :3] + lacking, distance[:, 3:]], dim=1)
        variance = prior.scale.square()
        weight = variance / (1 + variance)
        return Normal(prior.loc + weight * distance, weight.sqrt(), validate_args=False)

    def take_in(self, hidden: Tensor, base: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Features and picture once the latent is known."""
        seen = torch.cat([torch.asinh(latent), latent / COARSE], dim=1)
        return hidden + self.inject(seen), base + torch.exp(self.log_step) * latent[:, :3]


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


class Climber(nn.Module):
    """Bottom-up features, one map per level, top first.

    Args:
        config: of the ladder.
    """

    def __init__(self, config: PixelLadderConfig) -> None:
        super().__init__()
        self.strides = config.strides
        finest = config.strides[-1]
        self.enter = nn.Conv2d(3 * finest**2, config.widths[-1], 3, padding=1)
        pairs = list(zip(config.strides, config.widths, strict=True))[::-1]
        self.ups = nn.ModuleList(
            nn.Conv2d((4 if above[0] > below[0] else 1) * below[1], above[1], 1)
            for below, above in pairwise(pairs)
        )
        self.blocks = nn.ModuleList(Block(width) for _, width in pairs)

    def forward(self, x: Tensor) -> list[Feature]:
        """`x`: `(batch, 3, h, w)` around 0 in steps."""
        unfolded = functional.pixel_unshuffle(x / SPREAD, self.strides[-1])
        hidden = self.blocks[0](self.enter(unfolded))
        features = [hidden]
        for depth, (up, block) in enumerate(zip(self.ups, self.blocks[1:], strict=True), start=1):
            if self.strides[-1 - depth] > self.strides[-depth]:
                hidden = functional.pixel_unshuffle(hidden, 2)
            hidden = block(up(hidden))
            features.append(hidden)
        pictures = [functional.avg_pool2d(x, stride) for stride in self.strides]
        return list(map(Feature, features[::-1], pictures))


class PixelLadder(NormalLadder):
    """Latents and a likelihood of 8-bit pixels; see the module."""

    shows_pictures = False

    def __init__(self, config: PixelLadderConfig = PixelLadderConfig()) -> None:
        super().__init__()
        self.config = config
        self.levels, self.beta_range = len(config.strides), config.beta_range
        self.stride = max(config.strides, default=1)
        out = config.context_width or config.parameters
        if self.levels:
            self.climber = Climber(config)
            sizes = zip(config.strides, config.latents, config.widths, strict=True)
            above, coarse = None, config.strides[0]
            self.rungs = nn.ModuleList()
            for stride, latents, width in sizes:
                self.rungs.append(Level(width, latents, above, coarse > stride))
                above, coarse = width, stride
            self.last = Block(config.widths[-1])
            self.leave = Head(config.widths[-1], (3 + out) * config.strides[-1] ** 2)
            nn.init.normal_(self.leave.project.weight, std=0.3 * config.widths[-1] ** -0.5)
        if config.context_width:
            self.context_network = CausalContext(
                config.context_width,
                config.context_kernel,
                config.context_blocks,
                config.parameters,
            )

    @property
    def ladder(self) -> list[Level]:
        """The levels' networks, top first."""
        return [cast(Level, rung) for rung in self.rungs]

    def exact_ladder(self) -> IntegerPixelLadder:
        """The same networks in integers."""
        return IntegerPixelLadder(self)

    def encode(self, x: Tensor, context: Context) -> Any:
        """Bottom-up features of every level, top first."""
        return self.climber(x * 255 - CENTRE) if self.levels else []

    def prior(self, level: int, above: Sequence[Tensor], context: Context) -> Normal:
        """Read from what the latents above say."""
        hidden, _ = self._known(level, above, context)
        return self.ladder[level].prior(hidden)

    def posterior(
        self,
        level: int,
        features: Any,
        above: Sequence[Tensor],
        prior: Normal,
        context: Context,
    ) -> Normal:
        """The prior and the encoder's measurement, weighted by precision."""
        hidden, base = self._known(level, above, context)
        return self.ladder[level].posterior(hidden, base, features[level], prior)

    def likelihood(self, latents: Sequence[Tensor], context: Context) -> Distribution:
        """A `ColourMixture`, or `CausalPixels` where there is a causal network."""
        shape = (context.batch, 3, *context.shape)
        if not self.levels:
            return CausalPixels(self.context_network, None, None, shape)
        return self._likelihood(*self._known(self.levels, latents, context), shape)

    def pass_through(
        self, x: Tensor, context: Context, pathwise: bool = True
    ) -> tuple[list[Rung], Distribution]:
        """The same numbers as the contract's functions one by one, every network run once."""
        features = self.encode(x, context)
        shape = (context.batch, 3, *context.shape)
        rungs: list[Rung] = []
        if not self.levels:
            return rungs, CausalPixels(self.context_network, None, None, shape)
        hidden, base = self._start(context)
        for level, feature in zip(self.ladder, features, strict=True):
            hidden, base = level.descend(hidden, base)
            prior = level.prior(hidden)
            posterior = level.posterior(hidden, base, feature, prior)
            latent = posterior.rsample() if pathwise else posterior.rsample().detach()
            rungs.append(Rung(posterior, prior, latent))
            hidden, base = level.take_in(hidden, base, latent)
        return rungs, self._likelihood(hidden, base, shape)

    def _start(self, context: Context) -> tuple[Tensor, Tensor]:
        hidden = context.log_beta.new_ones(context.batch, 1, *context.grid(self.stride))
        return hidden, torch.zeros_like(hidden).expand(-1, 3, -1, -1)

    def _known(
        self, level: int, above: Sequence[Tensor], context: Context
    ) -> tuple[Tensor, Tensor]:
        """Features and picture before `level`, once the latents above it are known."""
        hidden, base = self._start(context)
        for rung, latent in zip(self.ladder, above[:level], strict=False):
            hidden, base = rung.take_in(*rung.descend(hidden, base), latent)
        if level < self.levels:
            hidden, base = self.ladder[level].descend(hidden, base)
        return hidden, base

    def _likelihood(self, hidden: Tensor, base: Tensor, shape: Sequence[int]) -> Distribution:
        stride = self.config.strides[-1]
        said = self.leave(functional.leaky_relu(self.last(hidden), LEAK))
        said = functional.pixel_shuffle(said, stride)
        pivot = functional.interpolate(base, scale_factor=stride, mode="nearest")
        pivot, rest = pivot + said[:, :3] * FINE_SPREAD, said[:, 3:]
        if self.config.context_width:
            return CausalPixels(self.context_network, pivot, rest, shape)
        return mixture(pivot, rest)
