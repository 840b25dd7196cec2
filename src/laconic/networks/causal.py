"""Causal convolutions: an output depends on the rows above and on the left part of its row."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def causal_taps(kernel: int, centre: bool) -> list[tuple[int, int]]:
    """Offsets (row, column) of the inputs of a causal kernel, in reading order.

    >>> causal_taps(3, centre=True)
    [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 0)]
    """
    reach = kernel // 2
    above = [(row, column) for row in range(-reach, 0) for column in range(-reach, reach + 1)]
    return above + [(0, column) for column in range(-reach, centre)]


class CausalConvolution(nn.Module):
    """A convolution over the causal half of a square kernel; zeros beyond the border.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: side of the square, odd.
        centre: whether the pixel itself is an input (not in the first layer).
        stride: pixels from one output to the next, along both axes.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, centre: bool, stride: int = 1
    ) -> None:
        super().__init__()
        self.kernel, self.taps, self.stride = kernel, causal_taps(kernel, centre), stride
        spread = (inputs * len(self.taps)) ** -0.5
        self.weight = nn.Parameter(torch.randn(outputs, inputs, len(self.taps)) * spread)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, inputs, h, w)` -> `(batch, outputs, h / stride, w / stride)`."""
        reach = self.kernel // 2
        x = functional.pad(x, (reach, reach, reach, 0))
        return functional.conv2d(x, self.rectangle, self.bias, self.stride)

    @property
    def rectangle(self) -> Tensor:
        """Weights `(outputs, inputs, kernel // 2 + 1, kernel)`, zero outside the causal half."""
        rows = self.kernel // 2 + 1
        flat = functional.pad(self.weight, (0, self.kernel * rows - len(self.taps)))
        return flat.reshape(*flat.shape[:2], rows, self.kernel)
