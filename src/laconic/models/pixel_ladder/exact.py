"""The pixel ladder in integers: what a lossless file is encoded and decoded with."""

from typing import Any

import torch
from torch import Tensor

from laconic.models.exact import ExactLikelihood, Known, OneWave, Shape
from laconic.models.pixel_ladder.networks import PixelNetworks
from laconic.models.pixel_ladder.waves import CausalLikelihood, centred, mixture_parameters
from laconic.networks.fixed_point import arithmetic as fixed_point
from laconic.networks.fixed_point.conversion import to_fixed_point


class IntegerPixelLadder:
    """A `PixelLadder` in integers; later changes of its weights are not seen.

    Args:
        networks: of the ladder, in float32 or float64.

    Raises:
        ConfigError: the weights are too large for exact arithmetic.
    """

    colours = 3

    def __init__(self, networks: PixelNetworks) -> None:
        self.networks = to_fixed_point(networks)
        self.levels, self.stride = networks.levels, networks.stride
        self.rungs = self.networks.ladder if self.levels else []

    def encode(self, pixels: Tensor) -> Any:
        """Bottom-up features of padded images, three colours or one, steps of 8 bits."""
        return self.networks.climber(centred(pixels)) if self.levels else []

    def start(self, batch: int, height: int, width: int) -> Any:
        """State before the first level, for padded sizes."""
        return self.networks.start(torch.zeros(0, dtype=torch.float64), batch, (height, width))

    def prior(self, level: int, state: Any) -> Known:
        """What both sides know before `level`."""
        state = self.rungs[level].descend(state)
        return Known(state, *self.rungs[level].prior(state))

    def posterior(self, level: int, known: Known, features: Any) -> tuple[Tensor, Tensor]:
        """Mean and log-scale of the standardised latent, both in units of 2^-16."""
        distance = self.rungs[level].distance(known.state, features[level], known.loc)
        # Products, quotients and sums of float64 are correctly rounded on every machine.
        variance = known.scale * known.scale + 1
        mean = torch.floor(known.scale / variance * distance + 0.5)
        return mean, -fixed_point.shift(fixed_point.log(variance), 1)

    def take_in(self, level: int, known: Known, latent: Tensor) -> Any:
        """State after `level`; `latent` in units of 2^-16."""
        return self.rungs[level].take_in(known.state, latent)

    def likelihood(self, state: Any, shape: Shape) -> ExactLikelihood:
        """Of the pixels of images before padding."""
        pivot, parameters = None, None
        if self.levels:
            pivot, parameters = (
                part[..., : shape.height, : shape.width] for part in self.networks.pixels(state)
            )
        if self.networks.config.context_width:
            return CausalLikelihood(self.networks.context_network, pivot, parameters, shape)
        assert pivot is not None
        assert parameters is not None
        pairs = zip(pivot, parameters, strict=True)
        images = [
            mixture_parameters(p.flatten(1).T, s.flatten(1).T, shape.colours) for p, s in pairs
        ]
        return OneWave(images, shape)
