"""The networks of the dense VAE, written once for floats and integers."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from laconic.distributions.logistic_mixture import LEVELS
from laconic.errors import ConfigError
from laconic.models.cells import cut, join
from laconic.networks.arithmetic import Network
from laconic.networks.residual import Block, Head

LOG_SCALES = (-3.5, 1.0)
"""Range of a posterior's log-scale in nats: 2^12 bins of equal prior mass resolve the least of
them up to 2.75 standard deviations from the prior's mean."""
_OFFSET_UNIT = 64.0
"""Pixel steps in a unit of a component's learned shift."""


@dataclass(frozen=True)
class DenseConfig:
    """Sizes.

    Attributes:
        side: of a cell in pixels, even.
        latents: of a cell.
        hidden: widths of the encoder's dense layers; the decoder has them in reverse.
        planes: maps at half resolution that the dense decoder ends in.
        width: channels of the convolutions.
        likelihood: "bernoulli" for pixels that are 0 or 1, "mixture" for 8 bits.
        mixtures: shared logistics of a mixture, at least 3.
        beta_range: kept at 1: the objective is the code length.
    """

    side: int = 28
    latents: int = 40
    hidden: tuple[int, ...] = (512, 256)
    planes: int = 6
    width: int = 16
    likelihood: str = "mixture"
    mixtures: int = 8
    beta_range: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        """Raise `ConfigError` for sizes that cannot be."""
        if self.side % 2 or not self.hidden:
            raise ConfigError("model: the side must be even and hidden name a width or more")
        if self.likelihood not in ("bernoulli", "mixture"):
            raise ConfigError(
                f"model.likelihood: '{self.likelihood}' is not one of bernoulli, mixture"
            )
        if self.likelihood == "mixture" and self.mixtures < 3:
            raise ConfigError("model.mixtures: there must be 3 or more")

    @property
    def parameters(self) -> int:
        """Numbers of a pixel's distribution."""
        return self.mixtures if self.likelihood == "mixture" else 1


class DenseStack(Network):
    """Linear layers with leaky ReLUs in between.

    Args:
        widths: inputs, hidden layers, outputs.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(map(nn.Linear, widths[:-1], widths[1:]))

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, inputs)` -> `(batch, outputs)`."""
        x = self.layers[0](x)
        for layer in self.layers[1:]:
            x = layer(self.arithmetic.leaky_relu(x))
        return x


class Planes(Network):
    """From maps at half resolution to every pixel's parameters.

    Args:
        config: of the VAE.
    """

    def __init__(self, config: DenseConfig) -> None:
        super().__init__()
        self.enter = nn.Conv2d(config.planes, config.width, 3, padding=1)
        self.block = Block(nn.Conv2d(config.width, config.width, 3, padding=1), config.width)
        self.leave = Head(config.width, 4 * config.parameters)
        nn.init.normal_(self.leave.project.weight, std=0.3 * config.width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """`(cells, planes, side / 2, side / 2)` -> `(cells, parameters, side, side)`."""
        hidden = self.block(self.arithmetic.apply(self.enter, x, True, False))
        return functional.pixel_shuffle(self.arithmetic.apply(self.leave, hidden, True, False), 2)


class Components(nn.Module):
    """The logistics that every pixel weighs: one for 0, one for ink, the others spread evenly.

    Args:
        count: K.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        spread = torch.linspace(0, LEVELS, count - 2)
        self.first_means = [-20.0, 253.0, *spread.tolist()]
        first_scales = [1.0, 0.4] + [LEVELS / (2 * count - 2)] * (count - 2)
        self.offsets = nn.Parameter(torch.zeros(count))
        self.log_scales = nn.Parameter(torch.tensor(first_scales).log())

    def forward(self) -> tuple[Tensor, Tensor]:
        """Means in pixel steps and natural logs of scales, both `(K,)`."""
        first = self.offsets.new_tensor(self.first_means)
        return first + _OFFSET_UNIT * self.offsets, self.log_scales


class DenseNetworks(Network):
    """All networks of a dense VAE, and what both arithmetics do alike.

    Args:
        config: sizes.
    """

    def __init__(self, config: DenseConfig) -> None:
        super().__init__()
        self.config, self.stride = config, config.side
        half = config.side // 2
        self.encoder = DenseStack([config.side**2, *config.hidden, 2 * config.latents])
        self.decoder = DenseStack([config.latents, *config.hidden[::-1], config.planes * half**2])
        self.planes = Planes(config)
        if config.likelihood == "mixture":
            self.components = Components(config.mixtures)

    def posteriors(self, centred: Tensor) -> Tensor:
        """Means and log-scales of the latent, not yet limited.

        Args:
            centred: pixels from -1 to 1, `(batch, 1, h, w)`.

        Returns:
            `(batch, 2 latents, h / side, w / side)`.
        """
        hidden = self.encoder(cut(centred, self.stride).flatten(1))
        return join(hidden[:, :, None, None], *(side // self.stride for side in centred.shape[2:]))

    def parameters_of_pixels(self, latent: Tensor) -> Tensor:
        """`(batch, latents, rows, columns)` -> `(batch, parameters, rows side, columns side)`."""
        half = self.stride // 2
        dense = self.decoder(cut(latent, 1).flatten(1))
        return join(self.planes(dense.reshape(len(dense), -1, half, half)), *latent.shape[2:])
