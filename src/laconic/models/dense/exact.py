"""The dense VAE in integers: what a lossless file is written and read with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from laconic.distributions.logistic_mixture import CENTRE, LEAST_LOG_SCALE, LOGIT_LIMIT
from laconic.models.cells import cut, join
from laconic.models.exact import (
    BernoulliParameters,
    ExactLikelihood,
    Known,
    MixtureParameters,
    OneWave,
    PixelParameters,
    Shape,
    StandardCells,
    to_integers,
)
from laconic.networks.fixed_point.arithmetic import (
    FRACTION_BITS,
    FixedAffine,
    from_float,
    leaky_relu,
)
from laconic.networks.fixed_point.convolution import FixedConvolution

if TYPE_CHECKING:
    from laconic.models.dense.vae import DenseVAE

LOG_SCALES = (-3.5, 1.0)
"""Range of a posterior's log-scale in nats: 2^12 bins of equal prior mass resolve the least of
them up to 2.75 standard deviations from the prior's mean."""
_ONE = 2.0**FRACTION_BITS
_LOGIT_LIMIT = LOGIT_LIMIT * _ONE


class _DenseStack:
    """Linear layers with leaky ReLUs in between; a batch is one map, a vector a place of it."""

    def __init__(self, stack: nn.Module) -> None:
        self.layers = [FixedAffine(layer) for layer in stack.get_submodule("layers").children()]

    def __call__(self, x: Tensor) -> Tensor:
        """`(batch, inputs)` -> `(batch, outputs)`."""
        x = self.layers[0](x.T[None, :, :, None])
        for layer in self.layers[1:]:
            x = layer(leaky_relu(x))
        return x[0, :, :, 0].T


class _Planes:
    """Convolutions over all cells at once: one above the other, a row of zeros between them."""

    def __init__(self, planes: nn.Module) -> None:
        self.enter, self.inner, self.outer, self.leave = (
            FixedConvolution(cast(nn.Conv2d, planes.get_submodule(name)))
            for name in ("enter", "block.inner", "block.outer", "leave.project")
        )

    def __call__(self, x: Tensor) -> Tensor:
        """`(cells, planes, h, w)` -> `(cells, parameters, 2 h, 2 w)`."""
        cells, _, height, width = x.shape
        tower = functional.pad(x, (0, 0, 0, 1)).transpose(0, 1).flatten(1, 2)[None]
        hidden = self.enter(tower, before=True)
        hidden[:, :, height :: height + 1] = 0
        hidden = self.outer(self.inner(hidden, before=True, after=True)).add_(hidden)
        told = self.leave(hidden, before=True)[0].reshape(-1, cells, height + 1, width)
        return functional.pixel_shuffle(told[:, :, :height].transpose(0, 1), 2)


class IntegerDenseVAE(StandardCells):
    """A `DenseVAE` in integers; later changes of its weights are not seen.

    Binary pixels are 0 and 255 of 8 bits.

    Args:
        model: in float32 or float64.

    Raises:
        ConfigError: the weights are too large for exact arithmetic.
    """

    def __init__(self, model: DenseVAE) -> None:
        super().__init__(model.stride, model.config.latents)
        self.encoder, self.decoder = _DenseStack(model.encoder), _DenseStack(model.decoder)
        self.planes = _Planes(model.planes)
        self.components: list[NDArray[np.int32]] = []
        if model.config.likelihood == "mixture":
            means, log_scales = model.components()
            parts = means, log_scales.clamp_min(LEAST_LOG_SCALE)
            self.components = [to_integers(from_float(part.detach())) for part in parts]

    def climb(self, pixels: Tensor) -> Tensor:
        """Means and log-scales, `(batch, 2 latents, rows, columns)` of cells."""
        centred = (pixels - CENTRE) * (_ONE / CENTRE)
        told = self.encoder(cut(centred, self.stride).flatten(1))
        rows, columns = (side // self.stride for side in pixels.shape[2:])
        return join(told[:, :, None, None], rows, columns)

    def posterior(self, level: int, known: Known, features: Any) -> tuple[Tensor, Tensor]:
        """Mean and log-scale of the latent, both in units of 2^-16."""
        mean, log_scale = super().posterior(level, known, features)
        return mean, log_scale.clamp(*(limit * _ONE for limit in LOG_SCALES))

    def likelihood(self, state: Any, shape: Shape) -> ExactLikelihood:
        """Of the pixels of images before padding."""
        half = self.stride // 2
        dense = self.decoder(cut(state, 1).flatten(1))
        told = self.planes(dense.reshape(len(dense), -1, half, half))
        told = join(told, *state.shape[2:])[:, :, : shape.height, : shape.width]
        images = told.flatten(2).transpose(1, 2)
        return OneWave([self._parameters(image) for image in images], shape)

    def _parameters(self, told: Tensor) -> PixelParameters:
        """Of one image, `told`: `(pixels, parameters)`."""
        if not self.components:
            return BernoulliParameters(to_integers(told))
        logits = to_integers(told.clamp(-_LOGIT_LIMIT, _LOGIT_LIMIT))[:, None]
        means, log_scales = (np.tile(part, (len(told), 1, 1)) for part in self.components)
        return MixtureParameters(logits, means, log_scales, None)
