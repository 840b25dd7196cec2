"""The causal likelihood in integers, wave by wave for both sides."""

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from laconic.distributions.logistic_mixture import CENTRE, LEAST_LOG_SCALE
from laconic.models.exact import Integers, MixtureParameters, PixelParameters, Shape, to_integers
from laconic.models.pixel_ladder.causal import CausalContext, components
from laconic.models.pixel_ladder.wave_kernels import (
    Convolutions,
    Network,
    Rings,
    Taps,
    Wave,
    forget,
    learn,
    look,
    mixtures,
)
from laconic.networks.fixed_point.arithmetic import FIXED_POINT
from laconic.networks.fixed_point.convolution import FixedConvolution
from laconic.networks.fixed_point.product import COLUMNS
from laconic.networks.residual import Block


class CausalLikelihood:
    """Every pixel given those before it, wave by wave along slanted diagonals.

    A kernel of side k looks (k - 1) / 2 columns to the right in rows above. Pixels with equal
    column + (k + 1) / 2 row form a wave: all that they see lies in waves before theirs.
    Activations of every layer are kept, so that every layer runs once for every pixel
    (`wave_kernels`). `context(centred(pixels), base, features)` gives the same from whole maps.

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
        """All pixels, wave by wave as the receiver will do it."""
        flat, parts = pixels.flatten(2).numpy(), []
        for wave, parameters in zip(self.waves(), self.read(), strict=True):
            parts.append(parameters)
            self.put([picture[:, wave].T for picture in flat])
        return [_join(parts_of_image) for parts_of_image in zip(*parts, strict=True)]

    def waves(self) -> list[Integers]:
        """Positions of every wave, top to bottom."""
        return [
            rows * self.shape.width + wave.number - self.slope * rows
            for wave in self._waves()
            for rows in (np.arange(wave.first, wave.first + wave.size),)
        ]

    def _waves(self) -> Iterator[Wave]:
        """Every wave that has pixels."""
        height, width = self.shape.height, self.shape.width
        for number in range(width + self.slope * (height - 1)):
            first = max(0, -((width - 1 - number) // self.slope))
            last = min(height - 1, number // self.slope)
            if first <= last:
                yield Wave(number, first, last - first + 1)

    def read(self) -> Iterator[Sequence[MixtureParameters]]:
        """Parameters of one wave after the other; the pixels arrive by `put` in between."""
        self._reader = _WaveReader(self.context, self.base, self.features, self.shape)
        for wave in self._waves():
            yield self._reader.look(wave)

    def put(self, values: Sequence[NDArray[np.float64]]) -> None:
        """Continue from the pixels of the wave just read."""
        self._reader.learn(np.stack(values))


class _WaveReader:
    """The causal network at one wave after the other (`wave_kernels`); see `CausalLikelihood`."""

    def __init__(
        self, context: CausalContext, base: Tensor | None, features: Tensor | None, shape: Shape
    ) -> None:
        self.shape, self.slope = shape, (context.kernel + 1) // 2
        self.network = _network(context, self.slope)
        self.margin = context.kernel // 2
        self.outputs = cast(FixedConvolution, context.head).outputs
        self.base, self.features = _by_pixel(base), _by_pixel(features)
        far, near = (1 - int(taps.waves.min()) for taps in self.network[:2])
        rows, width = self.margin + shape.height, self.network.head.weight.shape[1]
        self.rings = Rings(
            np.zeros((shape.batch, far, rows, 3)),
            np.zeros((shape.batch, far, rows, 7)),
            np.zeros((len(self.network.inner.weight), shape.batch, near, rows, width)),
        )
        self.next = 0

    def look(self, wave: Wave) -> list[MixtureParameters]:
        """Parameters of every image at a wave whose past is known."""
        for number in range(self.next, wave.number + 1):
            forget(self.rings, self.margin, number, self.slope, self.shape.width)
        self.wave, self.next = wave, wave.number + 1
        width, size = self.network.head.weight.shape[1], (self.shape.batch, wave.size)
        self.pivots, parameters = (
            np.empty((*size, layers.bias.shape[1]))
            for layers in (self.network.linear, self.network.head)
        )
        shares = (self._share(self.base, 3), self._share(self.features, width))
        look(self.network, self.rings, self.margin, wave, *shares, self.pivots, parameters)
        colours, count = self.shape.colours, self.outputs // 12
        logits, means, log_scales = (np.empty((*size, colours, count), np.int32) for _ in range(3))
        couplings = np.empty((*size, 3 if colours == 3 else 0, count), np.int32)
        mixtures(self.pivots, parameters, logits, means, log_scales, couplings)
        found = map(MixtureParameters, logits, means, log_scales, couplings)
        return [one if colours == 3 else one._replace(couplings=None) for one in found]

    def learn(self, values: NDArray[np.float64]) -> None:
        """`values`: `(batch, n, colours)` in steps, at the wave last looked at."""
        learn(self.rings, self.margin, self.wave, values, self.pivots)

    def _share(self, maps: NDArray[np.float64] | None, channels: int) -> NDArray[np.float64]:
        """The latents' share at the wave: `(batch, n, channels)`."""
        wave = self.wave
        if maps is None:
            return np.zeros((self.shape.batch, wave.size, channels))
        rows = np.arange(wave.first, wave.first + wave.size)
        return np.ascontiguousarray(maps[:, rows, wave.number - self.slope * rows])


def _join(parts: Sequence[MixtureParameters]) -> MixtureParameters:
    """The parameters of all waves of an image."""

    def joined(field: int) -> Integers:
        whole: Integers = np.concatenate([part[field] for part in parts])
        return whole

    has_couplings = parts[0].couplings is not None
    return MixtureParameters(joined(0), joined(1), joined(2), joined(3) if has_couplings else None)


def _network(context: CausalContext, slope: int) -> Network:
    """The layers of an integer network as arrays."""
    blocks = cast(list[Block], context.blocks)
    inner = [cast(FixedConvolution, block.inner) for block in blocks]
    outer = [cast(FixedConvolution, block.outer) for block in blocks]
    enter, linear = cast(FixedConvolution, context.enter), cast(FixedConvolution, context.linear)
    head = cast(FixedConvolution, context.head)
    return Network(
        far=_taps(enter.offsets, slope),
        near=_taps(inner[0].offsets if inner else [(0, 0)], slope),
        linear=_convolutions([linear], COLUMNS),
        enter=_convolutions([enter]),
        inner=_convolutions(inner),
        outer=_convolutions(outer),
        head=_convolutions([head], COLUMNS),
    )


def _taps(offsets: Sequence[tuple[int, int]], slope: int) -> Taps:
    rows, columns = np.array(offsets, np.int64).T
    return Taps(columns + slope * rows, np.ascontiguousarray(rows))


def _convolutions(layers: Sequence[FixedConvolution], multiple: int = 1) -> Convolutions:
    """Layers of one size; none is as one of no inputs. Outputs are filled up with zeros."""
    if not layers:
        return Convolutions(np.zeros((0, 0, 0)), np.zeros((0, 0)))
    missing = -layers[0].outputs % multiple
    return Convolutions(
        np.stack([np.pad(layer.gathered.numpy(), ((0, 0), (0, missing))) for layer in layers]),
        np.stack([np.pad(layer.bias.numpy(), (0, missing)) for layer in layers]),
    )


def _by_pixel(maps: Tensor | None) -> NDArray[np.float64] | None:
    """`(batch, channels, h, w)` -> `(batch, h, w, channels)`."""
    if maps is None:
        return None
    moved: NDArray[np.float64] = maps.permute(0, 2, 3, 1).contiguous().numpy()
    return moved


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
