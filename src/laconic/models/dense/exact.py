"""The dense VAE in integers: what a lossless file is encoded and decoded with."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from laconic.distributions.logistic_mixture import CENTRE, LEAST_LOG_SCALE, LOGIT_LIMIT
from laconic.models.dense.networks import LOG_SCALES, DenseNetworks
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
from laconic.networks.fixed_point.arithmetic import FIXED_POINT, from_float
from laconic.networks.fixed_point.conversion import to_fixed_point

_ONE = FIXED_POINT.one
_LOGIT_LIMIT = LOGIT_LIMIT * _ONE


class IntegerDenseVAE(StandardCells):
    """A `DenseVAE` in integers; later changes of its weights are not seen.

    Binary pixels are 0 and 255 of 8 bits.

    Args:
        networks: of the model, in float32 or float64.

    Raises:
        ConfigError: the weights are too large for exact arithmetic.
    """

    def __init__(self, networks: DenseNetworks) -> None:
        super().__init__(networks.stride, networks.config.latents)
        self.networks = to_fixed_point(networks)
        self.components: list[NDArray[np.int32]] = []
        if networks.config.likelihood == "mixture":
            means, log_scales = networks.components()
            parts = means, log_scales.clamp_min(LEAST_LOG_SCALE)
            self.components = [to_integers(from_float(part.detach())) for part in parts]

    def encode(self, pixels: Tensor) -> Tensor:
        """Means and log-scales, `(batch, 2 latents, rows, columns)` of cells."""
        return self.networks.posteriors((pixels - CENTRE) * (_ONE / CENTRE))

    def posterior(self, level: int, known: Known, features: Any) -> tuple[Tensor, Tensor]:
        """Mean and log-scale of the latent, both in units of 2^-16."""
        mean, log_scale = super().posterior(level, known, features)
        return mean, log_scale.clamp(*(limit * _ONE for limit in LOG_SCALES))

    def likelihood(self, state: Any, shape: Shape) -> ExactLikelihood:
        """Of the pixels of images before padding."""
        parameters = self.networks.parameters_of_pixels(state)[..., : shape.height, : shape.width]
        images = parameters.flatten(2).transpose(1, 2)
        return OneWave([self._of_image(image) for image in images], shape)

    def _of_image(self, parameters: Tensor) -> PixelParameters:
        """`parameters`: `(pixels, parameters)`."""
        if not self.components:
            return BernoulliParameters(to_integers(parameters))
        logits = to_integers(parameters.clamp(-_LOGIT_LIMIT, _LOGIT_LIMIT))[:, None]
        means, log_scales = (np.tile(part, (len(parameters), 1, 1)) for part in self.components)
        return MixtureParameters(logits, means, log_scales, None)
