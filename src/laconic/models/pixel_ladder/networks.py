"""The networks of the pixel ladder, written once for floats and integers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from laconic.errors import ConfigError
from laconic.models.pixel_ladder.causal import FINE_BITS, SPREAD_BITS, CausalContext
from laconic.networks.arithmetic import Network
from laconic.networks.residual import Block, Head

LOG_SCALE_LIMIT = 8
"""Bound of a prior's log-scale in nats."""
FIRST_STEP = 4.0
"""Pixel steps in a unit of the encoder's noise, before training."""
COARSE_BITS = 4
"""Latents are seen by asinh and, so that large ones keep their value, divided by 2^4."""


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
        """Numbers of a pixel's distribution, pivots apart."""
        return 12 * self.mixtures


def _block(width: int) -> Block:
    """A residual block of 3x3 convolutions."""
    return Block(nn.Conv2d(width, width, 3, padding=1), width)


class Feature(NamedTuple):
    """What the sender knows at a level: features, and the mean colours around 0 in steps."""

    hidden: Tensor
    picture: Tensor


class State(NamedTuple):
    """What both sides know between two levels: features, and the picture so far in steps."""

    hidden: Tensor
    base: Tensor


class Level(Network):
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
        self.block = _block(width)
        self.prior_head = Head(width, 2 * latents)
        self.merge = nn.Conv2d(2 * width, width, 1)
        self.posterior_head = Head(width, latents)
        self.inject = nn.Conv2d(2 * latents, width, 1)
        # From zeros the ladder would not learn to use its latents.
        nn.init.normal_(self.posterior_head.project.weight, std=width**-0.5)
        with torch.no_grad():
            _bias(self.prior_head.project)[latents:] = 1.0

    def descend(self, state: State) -> State:
        """From the state after the level above to the one that the prior is computed from."""
        hidden, base = self.enter(state.hidden), state.base
        if self.doubled:
            hidden, base = functional.pixel_shuffle(hidden, 2), _enlarge(base, 2)
        seen = self.look(self.arithmetic.divide(base, SPREAD_BITS))
        return State(self.block(hidden + seen), base)

    def prior(self, state: State) -> tuple[Tensor, Tensor]:
        """Mean, and scale as a float: what both sides know."""
        moments = self.arithmetic.apply(self.prior_head, state.hidden, True, False)
        loc, log_scale = moments.chunk(2, dim=1)
        return loc, self.arithmetic.exp(log_scale, LOG_SCALE_LIMIT)

    def distance(self, state: State, feature: Feature, prior_loc: Tensor) -> Tensor:
        """The encoder's measurement of the latent minus the prior's mean.

        The first three channels start as what the picture so far lacks.
        """
        merged = self.merge(torch.cat([state.hidden, feature.hidden], dim=1))
        distance = self.arithmetic.apply(self.posterior_head, merged, True, False)
        lacking = self.arithmetic.rescale(
            (feature.picture - state.base) * self._exp(-self.log_step)
        )
        return torch.cat([distance[:, :3] + (lacking - prior_loc[:, :3]), distance[:, 3:]], dim=1)

    def take_in(self, state: State, latent: Tensor) -> State:
        """The state once the latent is known."""
        a = self.arithmetic
        seen = torch.cat([a.asinh(latent), a.divide(latent, COARSE_BITS)], dim=1)
        step = a.rescale(latent[:, :3] * self._exp(self.log_step))
        return State(state.hidden + self.inject(seen), state.base + step)

    def _exp(self, x: Tensor) -> Tensor:
        return self.arithmetic.from_float(self.arithmetic.exp(x, LOG_SCALE_LIMIT))


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


def _enlarge(x: Tensor, factor: int) -> Tensor:
    """Every value as a square of `factor` x `factor` equal ones."""
    return functional.interpolate(x, scale_factor=factor, mode="nearest")


class Encoder(Network):
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
        self.blocks = nn.ModuleList(_block(width) for _, width in pairs)

    def forward(self, x: Tensor) -> list[Feature]:
        """`x`: `(batch, 3, h, w)` around 0 in steps."""
        a = self.arithmetic
        unfolded = functional.pixel_unshuffle(a.divide(x, SPREAD_BITS), self.strides[-1])
        hidden = self.blocks[0](self.enter(unfolded))
        features = [hidden]
        for depth, (up, block) in enumerate(zip(self.ups, self.blocks[1:], strict=True), start=1):
            if self.strides[-1 - depth] > self.strides[-depth]:
                hidden = functional.pixel_unshuffle(hidden, 2)
            hidden = block(up(hidden))
            features.append(hidden)
        # Strides are powers of two: in integers the means are exact before the one rounding.
        pictures = [a.round(functional.avg_pool2d(x, stride)) for stride in self.strides]
        return list(map(Feature, features[::-1], pictures))


class PixelNetworks(Network):
    """All networks of a ladder, and what both arithmetics do alike.

    Args:
        config: sizes.
    """

    def __init__(self, config: PixelLadderConfig) -> None:
        super().__init__()
        self.config = config
        self.levels, self.stride = len(config.strides), max(config.strides, default=1)
        out = config.context_width or config.parameters
        if self.levels:
            self.climber = Encoder(config)
            sizes = zip(config.strides, config.latents, config.widths, strict=True)
            above, coarse = None, config.strides[0]
            self.rungs = nn.ModuleList()
            for stride, latents, width in sizes:
                self.rungs.append(Level(width, latents, above, coarse > stride))
                above, coarse = width, stride
            self.last = _block(config.widths[-1])
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

    def start(self, like: Tensor, batch: int, shape: Sequence[int]) -> State:
        """The state before the first level.

        Args:
            like: any tensor of the dtype and the device that are wanted.
            batch: images.
            shape: rows and columns of the padded images.
        """
        size = [side // self.stride for side in shape]
        hidden = like.new_full((batch, 1, *size), self.arithmetic.one)
        return State(hidden, like.new_zeros(batch, 3, *size))

    def pixels(self, state: State) -> tuple[Tensor, Tensor]:
        """Pivots, and parameters or the causal network's features, of every pixel."""
        stride = self.config.strides[-1]
        hidden = self.arithmetic.apply(self.leave, self.last(state.hidden), True, False)
        shuffled = functional.pixel_shuffle(hidden, stride)
        return _enlarge(state.base, stride) + shuffled[:, :3] * 2.0**FINE_BITS, shuffled[:, 3:]
