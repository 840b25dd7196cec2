"""The pixel ladder in integers: what a lossless file is written and read with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from laconic.distributions.logistic_mixture import CENTRE, LEAST_LOG_SCALE
from laconic.models.exact import (
    ExactLikelihood,
    Integers,
    Known,
    MixtureParameters,
    OneWave,
    PixelParameters,
    Shape,
    to_integers,
)
from laconic.networks.fixed_point import arithmetic as fixed_point
from laconic.networks.fixed_point.arithmetic import FRACTION_BITS, LIMIT, leaky_relu, shift
from laconic.networks.fixed_point.convolution import FixedConvolution

if TYPE_CHECKING:
    from laconic.models.pixel_ladder.ladder import PixelLadder

LOG_SCALE_LIMIT = 8
"""Bound of a prior's log-scale in nats."""
_ONE = 2.0**FRACTION_BITS
_LEAST_LOG_SCALE = LEAST_LOG_SCALE * _ONE
_SPREAD_BITS = 6
_FINE_BITS = 4
_COARSE_BITS = 4


class _Features(NamedTuple):
    hidden: Tensor
    picture: Tensor


class _State(NamedTuple):
    hidden: Tensor
    base: Tensor


class _Block:
    """x + outer(leaky(inner(leaky(x)))), of images or at positions."""

    def __init__(self, block: nn.Module) -> None:
        self.inner = FixedConvolution(block.get_submodule("inner"))
        self.outer = FixedConvolution(block.get_submodule("outer"))

    def __call__(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x, before=True, after=True)).add_(x)


class _Level:
    """One latent's networks."""

    def __init__(self, level: nn.Module, doubled: bool) -> None:
        self.doubled = doubled
        self.enter, self.look, self.merge, self.inject = (
            FixedConvolution(level.get_submodule(name))
            for name in ("enter", "look", "merge", "inject")
        )
        self.prior_head, self.posterior_head = (
            FixedConvolution(level.get_submodule(f"{name}.project"))
            for name in ("prior_head", "posterior_head")
        )
        self.block = _Block(level.get_submodule("block"))
        log_step = level.get_parameter("log_step").detach().double()
        units = fixed_point.from_float(log_step)
        self.step = fixed_point.from_float(fixed_point.exp(units, LOG_SCALE_LIMIT))
        self.inverse_step = fixed_point.from_float(fixed_point.exp(-units, LOG_SCALE_LIMIT))

    def descend(self, state: _State) -> _State:
        hidden, base = self.enter(state.hidden), state.base
        if self.doubled:
            hidden, base = functional.pixel_shuffle(hidden, 2), _enlarge(base, 2)
        return _State(self.block(hidden + self.look(shift(base, _SPREAD_BITS))), base)

    def prior(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        loc, log_scale = self.prior_head(hidden, before=True).chunk(2, dim=1)
        return loc, fixed_point.exp(log_scale, LOG_SCALE_LIMIT)

    def posterior(self, known: Known, feature: _Features) -> tuple[Tensor, Tensor]:
        hidden, base = known.state
        merged = self.merge(torch.cat([hidden, feature.hidden], dim=1))
        distance = self.posterior_head(merged, before=True)
        lacking = shift((feature.picture - base) * self.inverse_step, FRACTION_BITS)
        distance[:, :3] += lacking - known.loc[:, :3]
        # Products, quotients and sums of float64 are correctly rounded on every machine.
        variance = known.scale * known.scale + 1
        mean = torch.floor(known.scale / variance * distance + 0.5)
        return mean, -shift(fixed_point.log(variance), 1)

    def take_in(self, state: _State, latent: Tensor) -> _State:
        seen = torch.cat([fixed_point.asinh(latent), shift(latent, _COARSE_BITS)], dim=1)
        step = shift(latent[:, :3] * self.step, FRACTION_BITS)
        return _State(state.hidden + self.inject(seen), state.base + step)


class _Climber:
    """Bottom-up features, top first."""

    def __init__(self, climber: nn.Module, strides: Sequence[int]) -> None:
        self.strides = strides
        self.enter = FixedConvolution(climber.get_submodule("enter"))
        self.ups = [FixedConvolution(up) for up in climber.get_submodule("ups").children()]
        self.blocks = [_Block(block) for block in climber.get_submodule("blocks").children()]

    def __call__(self, x: Tensor) -> list[_Features]:
        hidden = functional.pixel_unshuffle(shift(x, _SPREAD_BITS), self.strides[-1])
        hidden = self.blocks[0](self.enter(hidden))
        features = [hidden]
        for depth, (up, block) in enumerate(zip(self.ups, self.blocks[1:], strict=True), start=1):
            if self.strides[-1 - depth] > self.strides[-depth]:
                hidden = functional.pixel_unshuffle(hidden, 2)
            hidden = block(up(hidden))
            features.append(hidden)
        # Strides are powers of two: means over their squares are exact before the one rounding.
        pictures = [torch.floor(functional.avg_pool2d(x, s) + 0.5) for s in self.strides]
        return list(map(_Features, features[::-1], pictures))


class _Context:
    """The causal network's layers."""

    def __init__(self, context: nn.Module) -> None:
        self.linear = FixedConvolution(context.get_submodule("linear"))
        self.enter = FixedConvolution(context.get_submodule("enter"))
        self.blocks = [_Block(block) for block in context.get_submodule("blocks").children()]
        self.head = FixedConvolution(context.get_submodule("head.project"))
        self.kernel = 2 * self.enter.margin + 1


class IntegerPixelLadder:
    """A `PixelLadder` in integers; later changes of its weights are not seen.

    Args:
        model: in float32 or float64.

    Raises:
        ConfigError: the weights are too large for exact arithmetic.
    """

    colours = 3

    def __init__(self, model: PixelLadder) -> None:
        config = model.config
        self.levels, self.stride, self.config = model.levels, model.stride, config
        self.context = _Context(model.context_network) if config.context_width else None
        if self.levels:
            self.climber = _Climber(model.climber, config.strides)
            self.rungs = [
                _Level(rung, bool(rung.doubled)) for rung in model.get_submodule("rungs").children()
            ]
            self.last = _Block(model.last)
            self.leave = FixedConvolution(model.leave.project)

    def climb(self, pixels: Tensor) -> Any:
        """Bottom-up features of padded images, three colours or one, steps of 8 bits."""
        return self.climber(_centred(pixels)) if self.levels else []

    def start(self, batch: int, height: int, width: int) -> Any:
        """State before the first level, for padded sizes."""
        size = height // self.stride, width // self.stride
        hidden = torch.full((batch, 1, *size), _ONE, dtype=torch.float64)
        return _State(hidden, torch.zeros(batch, 3, *size, dtype=torch.float64))

    def prior(self, level: int, state: Any) -> Known:
        """What both sides know before `level`."""
        state = self.rungs[level].descend(state)
        return Known(state, *self.rungs[level].prior(state.hidden))

    def posterior(self, level: int, known: Known, features: Any) -> tuple[Tensor, Tensor]:
        """Mean and log-scale of the standardised latent, both in units of 2^-16."""
        return self.rungs[level].posterior(known, features[level])

    def take_in(self, level: int, known: Known, latent: Tensor) -> Any:
        """State after `level`; `latent` in units of 2^-16."""
        return self.rungs[level].take_in(known.state, latent)

    def likelihood(self, state: Any, shape: Shape) -> ExactLikelihood:
        """Of the pixels of images before padding."""
        pivot, said = None, None
        if self.levels:
            stride = self.config.strides[-1]
            told = self.leave(self.last(state.hidden), before=True)
            told = functional.pixel_shuffle(told, stride)[..., : shape.height, : shape.width]
            pivot = _enlarge(state.base, stride)[..., : shape.height, : shape.width]
            pivot, said = pivot + told[:, :3] * 2**_FINE_BITS, told[:, 3:]
        if self.context is not None:
            return CausalLikelihood(self.context, pivot, said, shape)
        assert pivot is not None
        assert said is not None
        pairs = zip(pivot, said, strict=True)
        likely = [_parameters(p.flatten(1).T, s.flatten(1).T, shape.colours) for p, s in pairs]
        return OneWave(likely, shape)


class CausalLikelihood:
    """Every pixel given those before it, wave by wave along slanted diagonals.

    A kernel of side k looks (k - 1) / 2 columns to the right in rows above. Pixels with equal
    column + (k + 1) / 2 row form a wave: all that they see lies in waves before theirs.
    Activations of every layer are kept, so that a pixel's share of the network runs once.
    """

    def __init__(
        self, context: _Context, pivot: Tensor | None, said: Tensor | None, shape: Shape
    ) -> None:
        self.context, self.pivot, self.said, self.shape = context, pivot, said, shape
        self.slope = (context.kernel + 1) // 2

    def given(self, pixels: Tensor) -> Sequence[PixelParameters]:
        """All pixels at once by whole convolutions, then sorted into waves."""
        net, x = self.context, _centred(pixels)
        pivot = net.linear(x)
        if self.pivot is not None:
            pivot = pivot + self.pivot
        ones = torch.full_like(x[:, :1], _ONE)
        seen = [shift(x, _SPREAD_BITS), shift(x - pivot, _FINE_BITS), ones]
        hidden = net.enter(torch.cat(seen, dim=1))
        if self.said is not None:
            hidden = hidden + self.said
        for block in net.blocks:
            hidden = block(hidden)
        parameters = net.head(hidden, before=True)
        order = torch.from_numpy(np.concatenate(self.waves()))
        return [
            _parameters(p.flatten(1).T[order], s.flatten(1).T[order], self.shape.colours)
            for p, s in zip(pivot, parameters, strict=True)
        ]

    def waves(self) -> list[Integers]:
        """Positions of every wave, top to bottom."""
        height, width = self.shape.height, self.shape.width
        rows = np.arange(height)
        waves = []
        for number in range(width + self.slope * (height - 1)):
            columns = number - self.slope * rows
            inside = (columns >= 0) & (columns < width)
            waves.append(rows[inside] * width + columns[inside])
        return [wave for wave in waves if wave.size]

    def read(self) -> Iterator[Sequence[PixelParameters]]:
        """Parameters of one wave after the other; the pixels arrive by `put` in between."""
        reader = _WaveReader(self.context, self.shape)
        for wave in self.waves():
            places = torch.from_numpy(wave)
            base = None if self.pivot is None else _pick(self.pivot, places)
            features = None if self.said is None else _pick(self.said, places)
            pivot, said = reader.look(places, base, features)
            self._reader = reader
            yield [_parameters(p, s, self.shape.colours) for p, s in zip(pivot, said, strict=True)]

    def put(self, values: Sequence[NDArray[np.float64]]) -> None:
        """Take in the pixels of the wave just read."""
        self._reader.learn(torch.from_numpy(np.stack(values)))


class _WaveReader:
    """Padded maps of every layer's input, filled as pixels become known.

    Maps are `(places, channels)`, the images of a batch one after the other.
    """

    def __init__(self, context: _Context, shape: Shape) -> None:
        self.context, self.shape = context, shape
        margin = context.enter.margin
        self.wide, high = shape.width + 2 * margin, shape.height + margin
        self.margin, self.image_places = margin, high * self.wide
        places = shape.batch * self.image_places + margin
        width = context.enter.outputs
        self.x = torch.zeros(places, 3, dtype=torch.float64)
        self.seen = torch.zeros(places, 7, dtype=torch.float64)
        self.hidden = [torch.zeros(places, width, dtype=torch.float64) for _ in context.blocks]

    def look(
        self, positions: Tensor, base: Tensor | None, features: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Pivots and parameters, `(batch, n, channels)`, at positions whose past is known."""
        net, places = self.context, self._places(positions)
        self._now, self._pivot = places, net.linear.at(self.x, places, self.wide)
        if base is not None:
            self._pivot = self._pivot + base
        hidden = net.enter.at(self.seen, places, self.wide)
        if features is not None:
            hidden = hidden + features
        for block, kept in zip(net.blocks, self.hidden, strict=True):
            kept[places] = leaky_relu(hidden).clamp(-LIMIT, LIMIT)
            inner = leaky_relu(block.inner.at(kept, places, self.wide)).clamp(-LIMIT, LIMIT)
            hidden = hidden + block.outer.combine(inner)
        said = net.head.combine(leaky_relu(hidden).clamp(-LIMIT, LIMIT))
        count = (self.shape.batch, len(positions), -1)
        return self._pivot.reshape(count), said.reshape(count)

    def learn(self, values: Tensor) -> None:
        """`values`: `(batch, n, colours)` in steps, at the positions last looked at."""
        x = ((values - CENTRE) * _ONE).expand(-1, -1, 3).flatten(0, 1)
        self.x[self._now] = x
        ones = torch.full_like(x[:, :1], _ONE)
        seen = [shift(x, _SPREAD_BITS), shift(x - self._pivot, _FINE_BITS), ones]
        self.seen[self._now] = torch.cat(seen, dim=1).clamp(-LIMIT, LIMIT)

    def _places(self, positions: Tensor) -> Tensor:
        row, column = positions // self.shape.width, positions % self.shape.width
        first = (row + self.margin) * self.wide + column + self.margin
        images = torch.arange(self.shape.batch)[:, None] * self.image_places
        return (images + first).flatten()


def _pick(maps: Tensor, positions: Tensor) -> Tensor:
    """`(batch, channels, h, w)` at positions -> `(batch n, channels)`."""
    return maps.flatten(2)[:, :, positions].permute(0, 2, 1).flatten(0, 1)


def _centred(pixels: Tensor) -> Tensor:
    """Steps of 8 bits to units around 0; one colour becomes three."""
    return ((pixels - CENTRE) * _ONE).expand(-1, 3, -1, -1)


def _enlarge(x: Tensor, factor: int) -> Tensor:
    return x.repeat_interleave(factor, 2).repeat_interleave(factor, 3)


def _parameters(pivot: Tensor, said: Tensor, colours: int) -> MixtureParameters:
    """`pivot`: `(n, 3)`; `said`: `(n, 12 K)`; as `pixel_ladder.mixture` in floats."""
    logits, distance, log_scale, couplings = said.reshape(len(said), 4, 3, -1).unbind(1)
    centre = pivot[:, :, None]
    log_scale = (log_scale + _ONE).clamp_min(_LEAST_LOG_SCALE)
    means = CENTRE * _ONE + centre + distance * 2**_FINE_BITS
    if colours == 1:
        first = [to_integers(part[:, :1]) for part in (logits, means, log_scale)]
        return MixtureParameters(first[0], first[1], first[2], None)
    green = shift(couplings[:, 0] * centre[:, 0], FRACTION_BITS)
    blue = shift(couplings[:, 1] * centre[:, 0] + couplings[:, 2] * centre[:, 1], FRACTION_BITS)
    means = means - torch.stack([torch.zeros_like(green), green, blue], dim=1)
    return MixtureParameters(
        to_integers(logits), to_integers(means), to_integers(log_scale), to_integers(couplings)
    )
