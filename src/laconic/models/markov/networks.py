"""The networks of the Markov ladder, written once for floats and integers."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from laconic.errors import ConfigError
from laconic.models.pixel_ladder.causal import FINE_BITS, SPREAD_BITS
from laconic.networks.arithmetic import Network
from laconic.networks.residual import Block, Head

MEAN_LIMIT = 3.0
"""Bound of means: a file has bins of equal mass under N(0, 1), which are wide further out."""
LOG_SCALES = (-5.0, 1.0)
"""Bounds of log-scales in nats."""


@dataclass(frozen=True)
class MarkovConfig:
    """Sizes.

    Attributes:
        strides: pixels per latent of each level, top first, each equal to the one before or half.
        latents: channels of each level's latent, top first.
        width: channels of all networks.
        mixtures: logistics per pixel and colour.
        beta_range: kept at 1: the objective is the code length.
    """

    strides: tuple[int, ...] = (4, 2)
    latents: tuple[int, ...] = (8, 8)
    width: int = 64
    mixtures: int = 3
    beta_range: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        """Raise `ConfigError` where sizes do not fit each other."""
        if not self.strides or len(self.strides) != len(self.latents):
            raise ConfigError(
                "model: strides and latents need one value per level, one level or more"
            )
        for above, below in pairwise(self.strides):
            if above not in (below, 2 * below):
                raise ConfigError(f"model.strides: {below} cannot follow {above}")


class Conditional(Network):
    """Mean and log-scale of a map, given the map of the level next to it.

    Args:
        inputs: channels of the given map.
        outputs: numbers per position of the result.
        width: channels in between.
        shrink: positions of the given map per position of the result, along each side.
        grow: the opposite.
    """

    def __init__(self, inputs: int, outputs: int, width: int, shrink: int, grow: int) -> None:
        super().__init__()
        self.shrink, self.grow = shrink, grow
        self.enter = nn.Conv2d(inputs * shrink**2, width, 3, padding=1)
        self.block = Block(nn.Conv2d(width, width, 3, padding=1), width)
        self.leave = Head(width, outputs * grow**2)
        nn.init.normal_(self.leave.project.weight, std=0.3 * width**-0.5)

    def forward(self, given: Tensor) -> Tensor:
        """`(batch, inputs, h, w)` -> `(batch, outputs, h grow / shrink, w grow / shrink)`."""
        hidden = self.block(self.enter(functional.pixel_unshuffle(given, self.shrink)))
        result = self.arithmetic.apply(self.leave, hidden, True, False)
        return functional.pixel_shuffle(result, self.grow)

    def normal(self, given: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-scale, within their bounds."""
        mean, log_scale = self(given).chunk(2, dim=1)
        means, (low, high) = (-MEAN_LIMIT, MEAN_LIMIT), LOG_SCALES
        one = self.arithmetic.one
        return mean.clamp(means[0] * one, means[1] * one), log_scale.clamp(low * one, high * one)


class MarkovNetworks(Network):
    """All networks of a Markov ladder, bottom first.

    Args:
        config: sizes.

    Attributes:
        rises: of level k, q(z_k | z_(k-1)); z_0 is the picture.
        falls: of level k, p(z_(k-1) | z_k).
    """

    def __init__(self, config: MarkovConfig) -> None:
        super().__init__()
        self.config, self.stride = config, config.strides[0]
        strides, latents = [1, *config.strides[::-1]], [3, *config.latents[::-1]]
        self.rises, self.falls = nn.ModuleList(), nn.ModuleList()
        for k, ratio in enumerate(above // below for below, above in pairwise(strides)):
            outputs = 2 * latents[k] if k else 3 + 12 * config.mixtures
            rise = Conditional(latents[k], 2 * latents[k + 1], config.width, ratio, 1)
            self.rises.append(rise)
            self.falls.append(Conditional(latents[k + 1], outputs, config.width, 1, ratio))

    @property
    def upward(self) -> list[Conditional]:
        """`rises`, bottom first."""
        return [cast(Conditional, one) for one in self.rises]

    @property
    def downward(self) -> list[Conditional]:
        """`falls`, bottom first."""
        return [cast(Conditional, one) for one in self.falls]

    def seen(self, centred: Tensor) -> Tensor:
        """The picture, around 0 in pixel steps, as the first network sees it."""
        return self.arithmetic.divide(centred, SPREAD_BITS)

    def pixels(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Pivots and parameters of every pixel (`pixel_ladder.causal.components`), given z_1."""
        result: Tensor = self.downward[0](latent)
        return result[:, :3] * 2.0**FINE_BITS, result[:, 3:]

    def shapes(self, sides: Sequence[int]) -> list[torch.Size]:
        """Of z_1, z_2, ... without the batch; `sides` are those of the padded picture."""
        levels = zip(self.config.latents[::-1], self.config.strides[::-1], strict=True)
        return [torch.Size((n, *(side // stride for side in sides))) for n, stride in levels]
