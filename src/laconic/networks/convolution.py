"""Flamich's convolutions: 5x5, mirror padding, exactly half or double the size."""

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from laconic.types import FeatureMap

KERNEL = 5


def mirror(x: FeatureMap, margin: int) -> FeatureMap:
    """Continue a map on all sides by reflection about its outermost pixels.

    A side of `margin` pixels or fewer is too short to reflect: there the outermost pixel repeats.

    >>> mirror(torch.arange(3.0).reshape(1, 1, 1, 3), 1)[0, 0, 1]
    tensor([1., 0., 1., 2., 1.])
    """
    modes = ["reflect" if size > margin else "replicate" for size in x.shape[-2:]]
    if modes[0] == modes[1]:
        return functional.pad(x, (margin, margin, margin, margin), mode=modes[0])
    x = functional.pad(x, (0, 0, margin, margin), mode=modes[0])
    return functional.pad(x, (margin, margin, 0, 0), mode=modes[1])


@final
class Convolution(nn.Module):
    """A 5x5 convolution with mirror padding: `size` -> ceil(`size` / `stride`).

    The initial weights keep the variance of the signal; the initial biases are zero.

    Args:
        inputs: channels in.
        outputs: channels out.
        stride: 1 keeps the size, 2 halves it.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.layer = nn.Conv2d(inputs, outputs, KERNEL, stride)
        nn.init.normal_(self.layer.weight, std=(inputs * KERNEL**2) ** -0.5)
        nn.init.zeros_(_bias(self.layer))

    def forward(self, x: FeatureMap) -> FeatureMap:
        """`(batch, inputs, h, w)` -> `(batch, outputs, ceil(h / stride), ceil(w / stride))`."""
        result: Tensor = self.layer(mirror(x, KERNEL // 2))
        return result


@final
class UpConvolution(nn.Module):
    """Double the size by zeros between the pixels, then a 5x5 convolution; mirror padding.

    The same as a transposed convolution of a map continued by one pixel, cropped to twice its size.

    Args:
        inputs: channels in.
        outputs: channels out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        # One padded pixel is two rows of output; two more belong to the kernel's own margin.
        self.layer = nn.ConvTranspose2d(
            inputs, outputs, KERNEL, stride=2, padding=2 + KERNEL // 2, output_padding=1
        )
        # A quarter of the kernel lies on pixels, the rest on zeros.
        nn.init.normal_(self.layer.weight, std=(inputs * KERNEL**2 / 4) ** -0.5)
        nn.init.zeros_(_bias(self.layer))

    def forward(self, x: FeatureMap) -> FeatureMap:
        """`(batch, inputs, h, w)` -> `(batch, outputs, 2 h, 2 w)`."""
        result: Tensor = self.layer(mirror(x, 1))
        return result


@final
class NormalHead(nn.Module):
    """Two convolutions side by side: a mean, and the logarithm or logit of a scale.

    Both have the dtype of the weights, even if autocast computes in a smaller one: later steps
    divide and square them.

    Args:
        inputs: channels in.
        outputs: channels of each result.
        stride: 2 halves the size.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.mean = Convolution(inputs, outputs, stride)
        self.scale = Convolution(inputs, outputs, stride)
        nn.init.normal_(self.scale.layer.weight, std=0.1 * (inputs * KERNEL**2) ** -0.5)

    def forward(self, x: FeatureMap) -> tuple[FeatureMap, FeatureMap]:
        """Mean, and scale before its exp or sigmoid."""
        kind = self.mean.layer.weight.dtype
        return self.mean(x).to(kind), self.scale(x).to(kind)


@final
class ChannelGain(nn.Module):
    """Multiply each channel by exp(a linear map of the operating point); initially by 1.

    Args:
        channels: channels of the map.
        embedding: channels of the operating point's embedding.
    """

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.layer = nn.Linear(embedding, channels)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, x: FeatureMap, embedding: Tensor) -> FeatureMap:
        """`x`: `(batch, channels, h, w)`; `embedding`: `(batch, embedding)`."""
        return x * torch.exp(self.layer(embedding))[:, :, None, None].to(x.dtype)


def _bias(layer: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias
