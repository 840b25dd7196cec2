"""Linearly gated layers, h(x) = (W₁ x + b₁) σ(W₂ x + b₂), in pictures of any even size.

Source: Alemi, appendix F (after Dauphin et al. 2017).
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional


class Gate(nn.Module):
    """The first half of the channels times the sigmoid of the second half."""

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, 2 n, ...)`, values and logits of their gates -> `(batch, n, ...)`."""
        # Channels last, the order of convolutions' outputs: five times as fast as the second axis.
        return functional.glu(x.movedim(1, -1), dim=-1).movedim(-1, 1)


def gated(layer: nn.Module) -> nn.Sequential:
    """A layer that returns values and logits of their gates, `(batch, 2 n, ...)`, then the gate.

    Formula: values σ(logits), `(batch, n, ...)`.
    """
    return nn.Sequential(layer, Gate())


def same_convolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Conv2d:
    """A convolution whose output has 1 / stride of the input's rows and columns."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=(kernel - 1) // 2)


class SameTransposed(nn.Module):
    """A transposed convolution whose output has `stride` times the input's rows and columns.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: side of the kernel, at least the stride.
        stride: how much larger the output is.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        padding = (kernel - stride) // 2
        self.convolution = nn.ConvTranspose2d(inputs, outputs, kernel, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, inputs, h, w)` -> `(batch, outputs, stride h, stride w)`."""
        grown: Tensor = self.convolution(x)
        rows, columns = self.stride * x.shape[-2], self.stride * x.shape[-1]
        return grown[..., :rows, :columns]


def gated_convolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    """A gated convolution with "same" padding."""
    return gated(same_convolution(inputs, 2 * outputs, kernel, stride))


def gated_transposed(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    """A gated transposed convolution with "same" padding."""
    return gated(SameTransposed(inputs, 2 * outputs, kernel, stride))


Layers = tuple[tuple[int, int, int], ...]
"""Depth, kernel and stride of convolutions, one after the other."""


def stack(make: Any, inputs: int, layers: Layers) -> nn.Sequential:
    """Layers one after the other.

    Args:
        make: `gated_convolution` or `gated_transposed`.
        inputs: input channels of the first layer.
        layers: see `Layers`.
    """
    depths = [inputs, *(depth for depth, _, _ in layers)]
    made = [
        make(before, depth, kernel, stride)
        for before, (depth, kernel, stride) in zip(depths, layers, strict=False)
    ]
    return nn.Sequential(*made)
