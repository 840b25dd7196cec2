"""Flamich's transforms between pictures and latents, optionally conditioned on log beta."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from laconic.networks.arithmetic import LEAK
from laconic.networks.convolution import (
    ChannelGain,
    Convolution,
    NormalHead,
    UpConvolution,
)
from laconic.networks.gdn import GDN, IGDN
from laconic.types import FeatureMap, Images

LATENT_STRIDE = 16
"""Pixels along a side per level-1 latent: four halvings."""


@final
class Stage(nn.Module):
    """A convolution, a non-linearity and, if conditioned, per-channel gains.

    Args:
        convolution: `(batch, inputs, h, w)` to `(batch, channels, ...)`.
        nonlinearity: keeps the shape.
        channels: channels out.
        embedding: channels of the operating point's embedding; 0 for no gains.
    """

    def __init__(
        self, convolution: nn.Module, nonlinearity: nn.Module, channels: int, embedding: int
    ) -> None:
        super().__init__()
        self.convolution = convolution
        self.nonlinearity = nonlinearity
        self.gain = ChannelGain(channels, embedding) if embedding else None

    def forward(self, x: FeatureMap, point: Tensor | None) -> FeatureMap:
        """`point`: `(batch, embedding)`, the embedded log beta; unused without gains."""
        x = self.nonlinearity(self.convolution(x))
        return x if self.gain is None or point is None else self.gain(x, point)


class Stages(nn.Module):
    """A chain of stages."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, x: FeatureMap, point: Tensor | None) -> FeatureMap:
        """Every stage in turn."""
        for stage in self.stages:
            x = stage(x, point)
        return x


@final
class ImageAnalysis(nn.Module):
    """Picture -> mean and log-scale of the level-1 encoder, at 1/16 of the size.

    3 x [convolution 5x5, `width`, /2, GDN], then two heads 5x5, `latents`, /2.
    Source: Flamich fig. 3.2.
    """

    def __init__(self, width: int, latents: int, embedding: int = 0) -> None:
        super().__init__()
        self.body = Stages(
            [
                Stage(Convolution(inputs, width, 2), GDN(width), width, embedding)
                for inputs in (3, width, width)
            ]
        )
        self.head = NormalHead(width, latents, 2)

    def forward(self, x: Images, point: Tensor | None = None) -> tuple[FeatureMap, FeatureMap]:
        """Mean and log-scale, each `(batch, latents, height / 16, width / 16)`."""
        mean, log_scale = self.head(self.body(x - 0.5, point))
        return mean, log_scale


@final
class ImageSynthesis(nn.Module):
    """Level-1 latents -> picture: 4 up-convolutions with IGDN between, sigmoid at the end.

    Source: Flamich fig. 3.2.
    """

    def __init__(self, width: int, latents: int, embedding: int = 0) -> None:
        super().__init__()
        self.body = Stages(
            [
                Stage(UpConvolution(inputs, width), IGDN(width), width, embedding)
                for inputs in (latents, width, width)
            ]
        )
        self.last = UpConvolution(width, 3)

    def forward(self, latents: FeatureMap, point: Tensor | None = None) -> Images:
        """`(batch, latents, h, w)` -> `(batch, 3, 16 h, 16 w)` in (0, 1)."""
        picture = self.last(self.body(latents, point))
        return torch.sigmoid(picture.to(self.last.layer.weight.dtype))


@final
class LatentAnalysis(nn.Module):
    """Level-1 mean -> mean and logit of the scale of level 2, at half the size.

    2 x [convolution 5x5, `width`, leaky ReLU 0.2], then two heads 5x5, `outputs`, /2.
    Source: Flamich fig. 3.2.
    """

    def __init__(self, inputs: int, width: int, outputs: int, embedding: int = 0) -> None:
        super().__init__()
        self.body = Stages(
            [
                Stage(Convolution(channels, width), nn.LeakyReLU(LEAK), width, embedding)
                for channels in (inputs, width)
            ]
        )
        self.head = NormalHead(width, outputs, 2)

    def forward(self, x: FeatureMap, point: Tensor | None = None) -> tuple[FeatureMap, FeatureMap]:
        """Mean and scale before its sigmoid, each `(batch, outputs, h / 2, w / 2)`."""
        mean, logit = self.head(self.body(x, point))
        return mean, logit


@final
class LatentSynthesis(nn.Module):
    """Level-2 latents -> mean and log-scale of the level-1 prior, at twice the size.

    [up-convolution 5x5, leaky ReLU, convolution 5x5, leaky ReLU], then two heads 5x5, `outputs`.
    Source: Flamich fig. 3.2.
    """

    def __init__(self, inputs: int, width: int, outputs: int, embedding: int = 0) -> None:
        super().__init__()
        self.body = Stages(
            [
                Stage(UpConvolution(inputs, width), nn.LeakyReLU(LEAK), width, embedding),
                Stage(Convolution(width, width), nn.LeakyReLU(LEAK), width, embedding),
            ]
        )
        self.head = NormalHead(width, outputs)

    def forward(self, z: FeatureMap, point: Tensor | None = None) -> tuple[FeatureMap, FeatureMap]:
        """Mean and log-scale, each `(batch, outputs, 2 h, 2 w)`."""
        mean, log_scale = self.head(self.body(z, point))
        return mean, log_scale
