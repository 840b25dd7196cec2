"""The Markov ladder in integers: what a lossless file is encoded and decoded with."""

from typing import Any

import torch
from torch import Tensor

from laconic.models.exact import ExactLikelihood, Known, OneWave, Shape
from laconic.models.markov.networks import MarkovNetworks
from laconic.models.pixel_ladder.waves import centred, mixture_parameters
from laconic.networks.fixed_point.conversion import to_fixed_point


class IntegerMarkovLadder:
    """A `MarkovLadder` in integers; later changes of its weights are not seen.

    As an `ExactLadder` it has one level: z_1 under N(0, 1). So the pictures are coded that find too
    few bits on their stack. The others are coded by Bit-Swap with all levels.

    Args:
        networks: of the ladder, in float32 or float64.

    Raises:
        ConfigError: the weights are too large for exact arithmetic.
    """

    colours, levels = 3, 1

    def __init__(self, networks: MarkovNetworks) -> None:
        self.networks = to_fixed_point(networks)
        self.stride, self.swaps = networks.stride, len(networks.config.strides) - 1

    def encode(self, pixels: Tensor) -> Any:
        """Mean and log-scale of z_1 given padded images, three colours or one, steps of 8 bits."""
        return self.networks.upward[0].normal(self.networks.seen(centred(pixels)))

    def start(self, batch: int, height: int, width: int) -> Any:
        """The shape of z_1."""
        return batch, *self.networks.shapes((height, width))[0]

    def prior(self, level: int, state: Any) -> Known:
        """N(0, 1)."""
        loc = torch.zeros(state, dtype=torch.float64)
        return Known(state, loc, torch.ones_like(loc))

    def posterior(self, level: int, known: Known, features: Any) -> tuple[Tensor, Tensor]:
        """Mean and log-scale of z_1, both in units of 2^-16."""
        mean, log_scale = features
        return mean, log_scale

    def take_in(self, level: int, known: Known, latent: Tensor) -> Any:
        """The state is z_1."""
        return latent

    def likelihood(self, state: Any, shape: Shape) -> ExactLikelihood:
        """Of the pixels of images before padding."""
        pivot, parameters = (
            part[..., : shape.height, : shape.width] for part in self.networks.pixels(state)
        )
        pairs = zip(pivot, parameters, strict=True)
        images = [
            mixture_parameters(p.flatten(1).T, s.flatten(1).T, shape.colours) for p, s in pairs
        ]
        return OneWave(images, shape)

    def shapes(self, height: int, width: int) -> list[torch.Size]:
        """Of z_1, z_2, ... without the batch, for padded sizes."""
        return self.networks.shapes((height, width))

    def rise(self, swap: int, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-scale of z_(swap + 2) given z_(swap + 1); units of 2^-16."""
        mean, log_scale = self.networks.upward[swap + 1].normal(latent)
        return mean, log_scale

    def fall(self, swap: int, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-scale of z_(swap + 1) given z_(swap + 2); units of 2^-16."""
        mean, log_scale = self.networks.downward[swap + 1].normal(latent)
        return mean, log_scale
