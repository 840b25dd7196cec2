"""The family of normals and independent pixels, "---", in integers: what a file is written with."""

from decimal import Decimal
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor

from laconic.models.cells import cut, join
from laconic.models.exact import (
    BernoulliParameters,
    ExactLikelihood,
    OneWave,
    Shape,
    StandardCells,
    to_integers,
)
from laconic.models.families.networks import LEAST_VARIANCE, Decoder, Encoder, FamilySizes
from laconic.networks.fixed_point.arithmetic import FRACTION_BITS, from_float
from laconic.networks.fixed_point.conversion import to_fixed_point
from laconic.networks.fixed_point.gated import Curve

_MIDDLE: Final = 127.5
_VARIANCE_LIMIT: Final = 24
"""Logits of variances are kept within +-24."""


@cache
def log_scale() -> Curve:
    """½ ln(softplus(x) + LEAST_VARIANCE), units of 2^-16."""

    def curve(x: Decimal) -> Decimal:
        return ((1 + x.exp()).ln() + Decimal(str(LEAST_VARIANCE))).ln() / 2

    return Curve(curve, _VARIANCE_LIMIT, FRACTION_BITS)


class IntegerFamily(StandardCells):
    """A family in integers; later changes of its weights are not seen.

    Binary pixels are 0 and 255 of 8 bits. Pictures larger than the family's are cells of their own.

    Args:
        side: of the family's pictures.
        sizes: of the family "---".
        encoder: in float32 or float64.
        decoder: in float32 or float64.

    Raises:
        ConfigError: the weights are too large for exact arithmetic.
    """

    def __init__(self, side: int, sizes: FamilySizes, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__(side, sizes.latents)
        self._encoder, self._decoder = to_fixed_point(encoder), to_fixed_point(decoder)

    def encode(self, pixels: Tensor) -> Tensor:
        """Means and log-scales, `(batch, 2 latents, rows, columns)` of cells."""
        mean, variance = self._encoder(cut(from_float((pixels - _MIDDLE) / _MIDDLE), self.stride))
        cells = torch.cat([mean, log_scale()(variance)], 1)
        return join(cells[:, :, None, None], *(side // self.stride for side in pixels.shape[2:]))

    def likelihood(self, state: Any, shape: Shape) -> ExactLikelihood:
        """Of the pixels of images before padding."""
        logits = join(self._decoder(cut(state, 1).flatten(1)), *state.shape[2:])
        images = logits[..., : shape.height, : shape.width].flatten(2).transpose(1, 2)
        return OneWave([BernoulliParameters(to_integers(image)) for image in images], shape)
