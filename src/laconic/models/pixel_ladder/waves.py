"""The causal likelihood in integers: all pixels at once to encode, wave by wave to decode."""

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from laconic.distributions.logistic_mixture import CENTRE, LEAST_LOG_SCALE
from laconic.models.exact import Integers, MixtureParameters, PixelParameters, Shape, to_integers
from laconic.models.pixel_ladder.causal import CausalContext, components
from laconic.networks.fixed_point.arithmetic import FIXED_POINT, LIMIT, leaky_relu
from laconic.networks.fixed_point.conversion import with_layers
from laconic.networks.fixed_point.convolution import FixedConvolution


class CausalLikelihood:
    """Every pixel given those before it, wave by wave along slanted diagonals.

    A kernel of side k looks (k - 1) / 2 columns to the right in rows above. Pixels with equal
    column + (k + 1) / 2 row form a wave: all that they see lies in waves before theirs.
    Activations of every layer are kept, so that every layer runs once for every pixel.

    Args:
        context: the causal network in integers.
        base: the latents' share of the pivots, `(batch, 3, h, w)`, or None.
        features: the latents' share of the first layer, `(batch, width, h, w)`, or None.
        shape: of the images.
    """

    def __init__(
        self, context: CausalContext, base: Tensor | None, features: Tensor | None, shape: Shape
    ) -> None:
        self.context, self.base, self.features, self.shape = context, base, features, shape
        self.slope = (context.kernel + 1) // 2

    def given(self, pixels: Tensor) -> Sequence[PixelParameters]:
        """All pixels at once by whole convolutions, then sorted into waves."""
        pivot, parameters = self.context(centred(pixels), self.base, self.features)
        order = torch.from_numpy(np.concatenate(self.waves()))
        return [
            mixture_parameters(p.flatten(1).T[order], s.flatten(1).T[order], self.shape.colours)
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
        self._reader = _WaveReader(self.context, self.shape)
        for wave in self.waves():
            places = torch.from_numpy(wave)
            base = None if self.base is None else _pick(self.base, places)
            features = None if self.features is None else _pick(self.features, places)
            pivot, parameters = self._reader.look(places, base, features)
            yield [
                mixture_parameters(p, s, self.shape.colours)
                for p, s in zip(pivot, parameters, strict=True)
            ]

    def put(self, values: Sequence[NDArray[np.float64]]) -> None:
        """Continue from the pixels of the wave just read."""
        self._reader.learn(torch.from_numpy(np.stack(values)))


class _Layer:
    """A convolution at the places of one wave; it keeps what it has seen of the waves before.

    Maps are `(places, channels)`, the padded images of a batch one after the other.

    Args:
        layer: the convolution.
        reader: knows the places.
    """

    def __init__(self, layer: FixedConvolution, reader: "_WaveReader") -> None:
        self.layer, self.reader = layer, reader
        self.sees_itself = (0, 0) in layer.offsets
        self.shifts = layer.shifts(reader.wide)
        places = reader.places if layer.margin else 0
        self.maps = torch.zeros(places, layer.inputs, dtype=torch.float64)

    def __call__(self, x: Tensor, before: bool = False, after: bool = False) -> Tensor:
        """`(n, in)` -> `(n, out)`; `x` is not used by a layer that sees earlier waves only."""
        if self.sees_itself:
            x = (leaky_relu(x) if before else x).clamp(-LIMIT, LIMIT)
        if self.layer.margin:
            now = self.reader.now
            if self.sees_itself:
                self.maps[now] = x
            result = self.layer.at(self.maps, now, self.shifts)
        else:
            result = self.layer.combine(x)
        return leaky_relu(result) if after else result


class _WaveReader:
    """The causal network with layers that keep what they have seen."""

    now: Tensor
    """Places of the wave, for all images."""

    def __init__(self, context: CausalContext, shape: Shape) -> None:
        self.shape, self.margin = shape, context.kernel // 2
        self.wide, high = shape.width + 2 * self.margin, shape.height + self.margin
        self.image_places = high * self.wide
        self.places = shape.batch * self.image_places + self.margin
        self.context = with_layers(
            context,
            lambda part: _Layer(part, self) if isinstance(part, FixedConvolution) else None,
        )
        self.unknown = torch.zeros(0, dtype=torch.float64)

    def look(
        self, positions: Tensor, base: Tensor | None, features: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Pivots and parameters, `(batch, n, channels)`, at positions whose past is known."""
        self.now = self._places(positions)
        self.pivot = self.context.pivot(self.unknown, base)
        parameters = self.context.parameters_from(self.unknown, features)
        count = (self.shape.batch, len(positions), -1)
        return self.pivot.reshape(count), parameters.reshape(count)

    def learn(self, values: Tensor) -> None:
        """`values`: `(batch, n, colours)` in steps, at the positions last looked at."""
        x = centred(values.flatten(0, 1))
        seen = self.context.seen(x, self.pivot)
        for layer, kept in ((self.context.linear, x), (self.context.enter, seen)):
            cast(_Layer, layer).maps[self.now] = kept.clamp(-LIMIT, LIMIT)

    def _places(self, positions: Tensor) -> Tensor:
        row, column = positions // self.shape.width, positions % self.shape.width
        first = (row + self.margin) * self.wide + column + self.margin
        images = torch.arange(self.shape.batch)[:, None] * self.image_places
        return (images + first).flatten()


def _pick(maps: Tensor, positions: Tensor) -> Tensor:
    """`(batch, channels, h, w)` at positions -> `(batch n, channels)`."""
    return maps.flatten(2)[:, :, positions].permute(0, 2, 1).flatten(0, 1)


def centred(pixels: Tensor) -> Tensor:
    """Steps of 8 bits to units around 0; one colour becomes three: `(n, colours, ...)`."""
    return ((pixels - CENTRE) * FIXED_POINT.one).expand(-1, 3, *pixels.shape[2:])


def mixture_parameters(pivot: Tensor, parameters: Tensor, colours: int) -> MixtureParameters:
    """What coders take: `pivot` `(n, 3)`, `parameters` `(n, 12 K)`, as `causal.components`."""
    mixture = components(FIXED_POINT, pivot, parameters)
    least = LEAST_LOG_SCALE * FIXED_POINT.one
    return MixtureParameters(
        to_integers(mixture.logits[:, :colours]),
        to_integers(mixture.means[:, :colours]),
        to_integers(mixture.log_scales[:, :colours].clamp_min(least)),
        to_integers(mixture.couplings) if colours == 3 else None,
    )
