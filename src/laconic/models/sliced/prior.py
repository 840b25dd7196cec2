"""The sliced ladder's priors: their networks, and their integer form for codecs.

With integers both sides know what each dimension should cost, and have latents that are equal to
the last bit, whatever the precision, device or thread count of the networks that only shape the
picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal
from torch.nn import functional

from laconic.distributions.rated import RatedNormal
from laconic.models.base import POSITION_BITS, Context
from laconic.models.sliced.config import SlicedConfig
from laconic.models.sliced.growth import checkerboard, gather
from laconic.networks.arithmetic import FLOAT, Arithmetic
from laconic.networks.fixed_point import arithmetic as fixed_point
from laconic.networks.fixed_point.arithmetic import FIXED_POINT, FRACTION_BITS
from laconic.networks.fixed_point.conversion import to_fixed_point
from laconic.networks.residual import OperatingPoint

LOG_SCALE_LIMIT = 8
"""Bound of a prior's log-scale in nats, so that no weight can produce an infinite KL."""
_LEAST_LOG_VARIANCE = -603609.0
"""Ln 1e-4 in units of 2^-16: the float prior's smallest ratio of variance to beta."""


@dataclass(frozen=True)
class PriorNetworks:
    """The networks between the latents, written once for floats and integers.

    Attributes:
        config: of the ladder.
        top_decoder: the top latent's `SteeredStack`.
        top_up: from it to twice the resolution.
        stacks: of every slice, a `SteeredStack`.
        heads: of every slice, from its stack to location and log-scale.
        refiners: of every level below the top, a `Refiner`; or none at all.
        arithmetic: of all of them.
    """

    config: SlicedConfig
    top_decoder: Any
    top_up: Any
    stacks: list[Any]
    heads: list[Any]
    refiners: list[Any]
    arithmetic: Arithmetic = FLOAT

    def to_integers(self) -> "PriorNetworks":
        """The same in integers; later changes of the weights are not seen."""
        top = to_fixed_point(self.top_decoder), to_fixed_point(self.top_up)
        lists = self.stacks, self.heads, self.refiners
        stacks, heads, refiners = ([to_fixed_point(part) for part in parts] for parts in lists)
        return PriorNetworks(self.config, *top, stacks, heads, refiners, FIXED_POINT)

    def correct(self, level: int, above: Sequence[Tensor], embedding: Tensor) -> Tensor:
        """Location and correction of the log-scale of the whole slice of a level below the top.

        Args:
            level: 1 or more.
            above: the latents before it, top first.
            embedding: of the operating point, `(batch, embedding)`.

        Returns:
            `(batch, 2 size of the slice, h, w)`.
        """
        a, (index, _) = self.arithmetic, self.config.parts[level - 1]
        slices, first = gather(above[1:], self.config.slice_passes)
        hidden = a.apply(self.top_up, self.top_decoder(above[0], embedding), True, False)
        seen = [functional.pixel_shuffle(hidden, 2), *map(a.asinh, slices)]
        hidden = a.leaky_relu(self.stacks[index](torch.cat(seen, dim=1), embedding))
        result: Tensor = self.heads[index](hidden)
        if not self.refiners:
            return result
        if first is not None:
            hidden = torch.cat([hidden, a.asinh(first)], dim=1)
        refined: Tensor = self.refiners[level - 1](hidden, embedding)
        return result + refined


class IntegerPrior:
    """The priors of a `SlicedLadder`, computed from its weights rounded to 2^-16.

    They differ from the float priors by about 1e-3 of a standard deviation. Later changes of the
    weights are not seen.

    Args:
        config: of the ladder.
        point: its operating point, in float32 or float64.
        networks: between its latents.
        variance: of the linear transform's coefficients, `(latents,)`.

    Raises:
        ConfigError: the weights are too large for exact arithmetic.
    """

    def __init__(
        self,
        config: SlicedConfig,
        point: OperatingPoint,
        networks: PriorNetworks,
        variance: Tensor,
    ) -> None:
        self.config = config
        self.point, self.networks = to_fixed_point(point), networks.to_integers()
        low, high = (
            fixed_point.log(torch.tensor(beta, dtype=torch.float64)) for beta in config.beta_range
        )
        self.centre, self.half_range = (low + high) / 2, (high - low) / 2
        logs = fixed_point.log(variance.detach().double())
        self.log_variance = torch.split(logs[None, :, None, None], list(config.slices), dim=1)

    def __call__(self, level: int, above: Sequence[Tensor], context: Context) -> Normal:
        """As `SlicedLadder.prior`, a `RatedNormal` below the top; `above`: the exact draws."""
        condition, device = context.condition, self.log_variance[0].device
        if condition.position is None:
            raise ValueError("an integer prior needs the context's position")
        if level == 0:
            size = (context.batch, self.config.top, *context.grid(2 * self.config.block))
            loc = torch.zeros(size, dtype=torch.float64, device=device)
            # No rates: they would be equal everywhere, less informative than a map of the channels.
            return Normal(loc, torch.ones_like(loc), validate_args=False)
        position, side = (
            torch.full((1,), place, dtype=torch.float64, device=device)
            * 2.0 ** (FRACTION_BITS - POSITION_BITS)
            for place in (condition.position, condition.taste_position)
        )
        latents = [fixed_point.from_float(z.to(device)) for z in above]
        corrections = self.networks.correct(level, latents, self.point.embed(position, side))
        loc, correction = corrections.chunk(2, dim=1)
        index, turn = self.config.parts[level - 1]
        log_beta = self.centre + fixed_point.shift(self.half_range * position, FRACTION_BITS)
        log_ratio = (self.log_variance[index] - log_beta).clamp_min(_LEAST_LOG_VARIANCE)
        log_scale = fixed_point.shift(log_ratio, 1) + correction
        if self.config.slice_passes[index] > 1:
            loc, log_scale = checkerboard(loc)[turn], checkerboard(log_scale)[turn]
        scale = fixed_point.exp(log_scale, LOG_SCALE_LIMIT)
        return RatedNormal(fixed_point.to_float(loc), scale, fixed_point.expected_rates(scale))
