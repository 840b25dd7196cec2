"""The convolutional networks of the families, written once for floats and integers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from laconic.errors import ConfigError
from laconic.networks.gated import (
    Layers,
    SameTransposed,
    gated,
    gated_convolution,
    gated_transposed,
    stack,
)
from laconic.networks.pixel_cnn import PAPER, SMALL, PixelCNNConfig

LEAST_VARIANCE = 1e-6
"""Added to every posterior's variance, so that no weight can produce an infinite rate."""


@dataclass(frozen=True)
class FamilySizes:
    """Sizes of all parts that families have.

    Attributes:
        latents: length of z.
        encoder: depth, kernel and stride of the gated convolutions.
        read_out: depth of the last, which sees all that is left of the picture.
        decoder_start: depth of the first gated deconvolution, from one position to all of them.
        decoder: depth, kernel and stride of the gated deconvolutions that follow.
        last: kernel and stride of the deconvolution to the pixels' logits.
        flow_steps: steps of a flow.
        flow_hidden: widths of the masked networks' hidden layers.
        pseudo_inputs: components of the mixture.
        pixels: of the autoregressive decoder.
    """

    latents: int
    encoder: Layers
    read_out: int
    decoder_start: int
    decoder: Layers
    last: tuple[int, int]
    flow_steps: int
    flow_hidden: tuple[int, ...]
    pseudo_inputs: int
    pixels: PixelCNNConfig

    @property
    def shrinkage(self) -> int:
        """Product of the encoder's strides."""
        return math.prod(stride for _, _, stride in self.encoder)

    @property
    def growth(self) -> int:
        """Product of the decoder's strides."""
        return self.last[1] * math.prod(stride for _, _, stride in self.decoder)


PRESETS: dict[str, FamilySizes] = {
    "paper": FamilySizes(
        latents=64,
        encoder=((32, 5, 1), (32, 5, 2), (64, 5, 1), (64, 5, 2)),
        read_out=256,
        decoder_start=64,
        decoder=((64, 5, 1), (64, 5, 2), (32, 5, 1), (32, 5, 2), (32, 4, 1)),
        last=(5, 1),
        flow_steps=4,
        flow_hidden=(640, 640, 640),
        pseudo_inputs=500,
        pixels=PAPER,
    ),
    "small": FamilySizes(
        latents=64,
        encoder=((24, 4, 2), (48, 4, 2)),
        read_out=192,
        decoder_start=48,
        decoder=((48, 4, 2), (24, 3, 1)),
        last=(6, 2),
        flow_steps=4,
        flow_hidden=(160, 160, 160),
        pseudo_inputs=128,
        pixels=SMALL,
    ),
}
"""The source's sizes (it does not name the number of pseudo-inputs: Tomczak and Welling's), and
sizes that two CPU cores train in minutes."""


@dataclass(frozen=True)
class FamilyConfig:
    """Which family, how large.

    Attributes:
        family: encoder, decoder and marginal, such as "-+v".
        preset: a name of `PRESETS`.
        sizes: what differs from the preset, by the names of `FamilySizes`; `pixels` is a mapping.
        side: rows and columns of the pictures.
    """

    family: str = "---"
    preset: str = "small"
    sizes: Mapping[str, Any] = field(default_factory=dict)
    side: int = 28

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a family that does not exist or sizes that cannot be."""
        choices = ("-+", "-+", "-+v")
        if len(self.family) != 3 or any(
            kind not in known for kind, known in zip(self.family, choices, strict=False)
        ):
            raise ConfigError(
                f"model.family: '{self.family}' is no family; write encoder (- or +), decoder "
                "(- or +) and marginal (-, + or v), such as '-+v'"
            )
        if self.preset not in PRESETS:
            raise ConfigError(f"model.preset: '{self.preset}' is not one of {', '.join(PRESETS)}")
        _ = self.resolved

    @property
    def resolved(self) -> FamilySizes:
        """The preset with its changes."""
        preset, changes = PRESETS[self.preset], dict(self.sizes)
        unknown = set(changes) - set(preset.__dataclass_fields__)
        if unknown:
            known = ", ".join(preset.__dataclass_fields__)
            raise ConfigError(f"model.sizes.{min(unknown)}: unknown key; known are {known}")
        pixels = _frozen(changes.pop("pixels", {}))
        sizes = replace(preset, **_frozen(changes))
        if self.side % sizes.shrinkage or self.side % sizes.growth:
            raise ConfigError(
                f"model.side: {self.side} is no multiple of the strides' products, "
                f"{sizes.shrinkage} (encoder) and {sizes.growth} (decoder)"
            )
        try:
            return replace(sizes, pixels=replace(sizes.pixels, **{"side": self.side, **pixels}))
        except TypeError as error:
            raise ConfigError(f"model.sizes.pixels: {error}") from error


def _frozen(value: Any) -> Any:
    """YAML's lists as tuples, all the way down."""
    if isinstance(value, Mapping):
        return {name: _frozen(item) for name, item in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


class Encoder(nn.Module):
    """Pictures -> mean of a diagonal normal, and what its variance is computed from.

    Args:
        sizes: of the family.
        side: of the pictures.
    """

    def __init__(self, sizes: FamilySizes, side: int) -> None:
        super().__init__()
        self.layers = stack(gated_convolution, 1, sizes.encoder)
        depth, left = sizes.encoder[-1][0], side // sizes.shrinkage
        self.read_out = gated(nn.Conv2d(depth, 2 * sizes.read_out, left))
        self.mean = nn.Linear(sizes.read_out, sizes.latents)
        self.variance = nn.Linear(sizes.read_out, sizes.latents)

    def forward(self, centred: Tensor) -> tuple[Tensor, Tensor]:
        """`(batch, 1, side, side)` from -1 to 1 -> means and logits of variances."""
        hidden = self.read_out(self.layers(centred)).flatten(1)
        return self.mean(hidden), self.variance(hidden)


class Decoder(nn.Module):
    """Latents -> logits of every pixel.

    Args:
        sizes: of the family.
        side: of the pictures.
    """

    def __init__(self, sizes: FamilySizes, side: int) -> None:
        super().__init__()
        first = side // sizes.growth
        start = nn.ConvTranspose2d(sizes.latents, 2 * sizes.decoder_start, first)
        self.start = gated(start)
        self.layers = stack(gated_transposed, sizes.decoder_start, sizes.decoder)
        self.last = SameTransposed(sizes.decoder[-1][0], 1, *sizes.last)

    def forward(self, z: Tensor) -> Tensor:
        """`(batch, latents)` -> `(batch, 1, side, side)`."""
        logits: Tensor = self.last(self.layers(self.start(z[:, :, None, None])))
        return logits
