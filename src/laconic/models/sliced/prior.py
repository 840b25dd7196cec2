"""The sliced ladder's priors in integers, for codecs: sender and receiver get the same bits.

With them both sides know what each dimension should cost, and latents that are equal to the last
bit, whatever the precision, device or thread count of the networks that only shape the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional

from laconic.distributions.rated import RatedNormal
from laconic.models.base import POSITION_BITS, Context
from laconic.models.sliced.growth import Refiner, checkerboard, gather
from laconic.networks.fixed_point import arithmetic as fixed_point
from laconic.networks.fixed_point.arithmetic import FRACTION_BITS, LIMIT, FixedAffine
from laconic.networks.gated_residual import GATE_SHIFT, GatedStack
from laconic.networks.residual import SteeredStack

if TYPE_CHECKING:
    from laconic.models.sliced.ladder import SlicedLadder

LOG_SCALE_LIMIT = 8
"""Bound of a prior's log-scale in nats, so that no weight can produce an infinite KL."""

_ONE = 2.0**FRACTION_BITS
_LEAST_LOG_VARIANCE = -603609.0
"""Ln 1e-4 in units of 2^-16: the float prior's smallest ratio of variance to beta."""


class _IntegerStack:
    """A `SteeredStack` in integers."""

    def __init__(self, stack: nn.Module) -> None:
        assert isinstance(stack, SteeredStack)
        self.enter = FixedAffine(stack.enter)
        self.blocks = [_affine(block, "inner", "outer", "steer") for block in stack.blocks]

    def __call__(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.enter(x)
        for inner, outer, steer in self.blocks:
            gain, offset = steer(embedding)[:, :, None, None].chunk(2, dim=1)
            steered = fixed_point.shift(inner(x) * (_ONE + gain), FRACTION_BITS) + offset
            x = x + outer(fixed_point.leaky_relu(steered))
        return x


class _IntegerGatedStack:
    """A `GatedStack` in integers."""

    def __init__(self, stack: GatedStack) -> None:
        self.enter = FixedAffine(stack.enter)
        names = ("spread", "inner", "outer", "steer")
        self.blocks = [_affine(block, *names) for block in stack.blocks]

    def __call__(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.enter(x)
        for spread, inner, outer, steer in self.blocks:
            gain, offset = steer(embedding)[:, :, None, None].chunk(2, dim=1)
            value, gate = inner(spread(x)).clamp(-LIMIT, LIMIT).chunk(2, dim=1)
            steered = fixed_point.shift(value * (_ONE + gain), FRACTION_BITS) + offset
            opening = (fixed_point.shift(gate, GATE_SHIFT) + _ONE / 2).clamp(0, _ONE)
            gated = fixed_point.shift(steered.clamp(-LIMIT, LIMIT) * opening, FRACTION_BITS)
            x = x + outer(gated)
        return x


class _IntegerRefiner:
    """A `Refiner` in integers."""

    def __init__(self, refiner: nn.Module) -> None:
        assert isinstance(refiner, Refiner)
        self.stack, self.head = _IntegerGatedStack(refiner.stack), FixedAffine(refiner.head.project)

    def __call__(self, seen: Tensor, embedding: Tensor) -> Tensor:
        return self.head(fixed_point.leaky_relu(self.stack(seen, embedding)))


def _affine(module: nn.Module, *names: str) -> list[FixedAffine]:
    return [FixedAffine(module.get_submodule(name)) for name in names]


def _product(a: Tensor, b: Tensor) -> Tensor:
    return fixed_point.shift(a * b, FRACTION_BITS)


def _chain(layers: Sequence[FixedAffine], features: Sequence[Tensor]) -> Tensor:
    enter, leave = layers
    return leave(fixed_point.leaky_relu(enter(torch.cat(list(features), dim=1))))


class IntegerPrior:
    """The priors of a `SlicedLadder`, computed from its weights rounded to 2^-16.

    They differ from the float priors by about 1e-3 of a standard deviation.

    Args:
        model: the ladder, in float32 or float64; later changes of its weights are not seen.

    Raises:
        ConfigError: the weights are too large for exact arithmetic.
    """

    def __init__(self, model: SlicedLadder) -> None:
        config, point = model.config, model.operating_point
        self.stride, self.top, self.parts = model.stride, config.top, config.parts
        self.passes = config.slice_passes
        self.entries = _affine(point.network, "0", "2")
        self.tastes = _affine(point.taste, "0", "2") if point.taste is not None else []
        low, high = (
            fixed_point.log(torch.tensor(beta, dtype=torch.float64)) for beta in config.beta_range
        )
        self.centre, self.half_range = (low + high) / 2, (high - low) / 2
        self.top_decoder = _IntegerStack(model.top_decoder)
        self.top_up = FixedAffine(model.top_up)
        self.stacks = [_IntegerStack(stack) for stack in model.prior_stacks]
        self.heads = [_affine(head, "project")[0] for head in model.prior_heads]
        self.refiners = [_IntegerRefiner(refiner) for refiner in model.refiners]
        variance = fixed_point.log(model.transform.variance.detach().double())
        self.log_variance = torch.split(variance[None, :, None, None], list(config.slices), dim=1)

    def __call__(self, level: int, above: Sequence[Tensor], context: Context) -> Normal:
        """As `SlicedLadder.prior`, a `RatedNormal` below the top; `above`: the exact draws."""
        condition = context.condition
        if condition.position is None:
            raise ValueError("an integer prior needs the context's position")
        device = self.top_up.weight.device
        if level == 0:
            size = (context.batch, self.top, *context.grid(self.stride))
            loc = torch.zeros(size, dtype=torch.float64, device=device)
            # Its expected rates would be all alike and say less than a map of the channels does.
            return Normal(loc, torch.ones_like(loc), validate_args=False)
        position = torch.full((1, 1), condition.position, dtype=torch.float64, device=device)
        position = position * 2.0 ** (FRACTION_BITS - POSITION_BITS)
        embedding = self._embed(position, condition.taste_position)
        index, turn = self.parts[level - 1]
        loc, correction = self._correct(level, above, embedding).chunk(2, dim=1)
        log_beta = self.centre + fixed_point.shift(self.half_range * position, FRACTION_BITS)
        log_ratio = (self.log_variance[index] - log_beta).clamp_min(_LEAST_LOG_VARIANCE)
        log_scale = fixed_point.shift(log_ratio, 1) + correction
        if self.passes[index] > 1:
            loc, log_scale = checkerboard(loc)[turn], checkerboard(log_scale)[turn]
        scale = fixed_point.exp(log_scale, LOG_SCALE_LIMIT)
        return RatedNormal(fixed_point.to_float(loc), scale, fixed_point.expected_rates(scale))

    def _correct(self, level: int, above: Sequence[Tensor], embedding: Tensor) -> Tensor:
        """Location and correction of the log-scale of a level's whole slice."""
        index, _ = self.parts[level - 1]
        told = [fixed_point.from_float(z.to(embedding.device)) for z in above]
        slices, first = gather(told[1:], self.passes)
        seen = [self._unfold_top(told[0], embedding), *map(fixed_point.asinh, slices)]
        hidden = fixed_point.leaky_relu(self.stacks[index](torch.cat(seen, 1), embedding))
        result: Tensor = self.heads[index](hidden)
        if not self.refiners:
            return result
        if first is not None:
            hidden = torch.cat([hidden, fixed_point.asinh(first)], dim=1)
        return result + self.refiners[level - 1](hidden, embedding)

    def _embed(self, position: Tensor, taste_position: int) -> Tensor:
        square = _product(position, position)
        cube = _product(square, position)
        embedding = _chain(self.entries, [position, square, cube])
        if self.tastes:
            side = torch.full_like(
                position, taste_position * 2.0 ** (FRACTION_BITS - POSITION_BITS)
            )
            squared = _product(side, side)
            mixed = [_product(side, position), _product(side, square), squared]
            embedding += _chain(self.tastes, [side, *mixed, _product(squared, position)])
        return embedding

    def _unfold_top(self, top: Tensor, embedding: Tensor) -> Tensor:
        hidden = fixed_point.leaky_relu(self.top_decoder(top, embedding))
        return functional.pixel_shuffle(self.top_up(hidden), 2)
