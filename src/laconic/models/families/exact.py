"""The family of normals and independent pixels, "---", in integers: what a file is written with."""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeVar

import torch
from torch import Tensor, nn

from laconic.models.cells import cut, join
from laconic.models.exact import (
    BernoulliParameters,
    ExactLikelihood,
    OneWave,
    Shape,
    StandardCells,
    to_integers,
)
from laconic.networks.fixed_point.arithmetic import FRACTION_BITS, FixedAffine, from_float
from laconic.networks.fixed_point.gated import Curve, DownConvolution, UpConvolution, gate
from laconic.networks.gated import SameTransposed

if TYPE_CHECKING:
    from laconic.models.families.family import Family

T = TypeVar("T", bound=nn.Module)

_MIDDLE: Final = 127.5
_VARIANCE_LIMIT: Final = 24
"""Logits of variances are kept within +-24."""


@cache
def log_scale(least_variance: str) -> Curve:
    """½ ln(softplus(x) + least_variance), units of 2^-16.

    Args:
        least_variance: a decimal number.
    """

    def curve(x: Decimal) -> Decimal:
        return ((1 + x.exp()).ln() + Decimal(least_variance)).ln() / 2

    return Curve(curve, _VARIANCE_LIMIT, FRACTION_BITS)


class IntegerFamily(StandardCells):
    """A family in integers; later changes of its weights are not seen.

    Binary pixels are 0 and 255 of 8 bits. Pictures larger than the family's are cells of their own.

    Args:
        model: of the family "---", in float32 or float64.
        least_variance: that the encoder adds, as a decimal number.

    Raises:
        ConfigError: the weights are too large for exact arithmetic.
    """

    def __init__(self, model: Family, least_variance: str) -> None:
        super().__init__(model.config.side, model.sizes.latents)
        encoder, decoder = model.encoder, model.decoder
        read = [*encoder.layers, encoder.read_out]
        self._read = [DownConvolution(_first(layer, nn.Conv2d)) for layer in read]
        self._mean, self._variance = FixedAffine(encoder.mean), FixedAffine(encoder.variance)
        self._log_scale = log_scale(least_variance)
        self._start = UpConvolution(_first(decoder.start, nn.ConvTranspose2d))
        self._grow = [_Same(_first(layer, SameTransposed)) for layer in decoder.layers]
        self._last = _Same(decoder.last)

    def climb(self, pixels: Tensor) -> Tensor:
        """Means and log-scales, `(batch, 2 latents, rows, columns)` of cells."""
        x = cut(from_float((pixels - _MIDDLE) / _MIDDLE), self.stride)
        for layer in self._read:
            x = gate(layer(x))
        hidden = x.flatten(1)
        told = torch.cat([self._mean(hidden), self._log_scale(self._variance(hidden))], 1)
        rows, columns = (side // self.stride for side in pixels.shape[2:])
        return join(told[:, :, None, None], rows, columns)

    def likelihood(self, state: Any, shape: Shape) -> ExactLikelihood:
        """Of the pixels of images before padding."""
        hidden = gate(self._start(cut(state, 1)))
        for layer in self._grow:
            hidden = gate(layer(hidden))
        told = join(self._last(hidden), *state.shape[2:])[:, :, : shape.height, : shape.width]
        images = told.flatten(2).transpose(1, 2)
        return OneWave([BernoulliParameters(to_integers(image)) for image in images], shape)


class _Same:
    """A `SameTransposed` in integers."""

    def __init__(self, layer: nn.Module) -> None:
        assert isinstance(layer, SameTransposed)
        self._stride, self._convolution = layer.stride, UpConvolution(layer.convolution)

    def __call__(self, x: Tensor) -> Tensor:
        rows, columns = (self._stride * side for side in x.shape[2:])
        return self._convolution(x)[..., :rows, :columns]


def _first(layer: nn.Module, kind: type[T]) -> T:
    """What a gated layer begins with."""
    assert isinstance(layer, nn.Sequential)
    inner = layer[0]
    assert isinstance(inner, kind)
    return inner
