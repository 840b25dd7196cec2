"""Gated residual blocks with depthwise kernels: many channels, a large field, few operations.

They use no normalisation and no transcendental function, so that they have an exact integer form
(`laconic.models.sliced.prior`). The pattern is that of ConvNeXt (Liu et al. 2022) with the gated
unit of Dauphin et al. 2017, whose sigmoid is made piecewise linear.
"""

import torch
from torch import Tensor, nn

from laconic.networks.arithmetic import Network
from laconic.networks.depthwise import DepthwiseConv2d
from laconic.types import FeatureMap

GATE_SHIFT = 2
"""The gate's slope is 2^-2: it opens from 0 to 1 between -2 and 2."""

START = 0.3
"""Initial spread of a block's last layer over the usual one: small, so that deep stacks train."""


STRIP = 1 << 18
"""Numbers of a map that a block computes at once without gradients: they stay in a core's cache,
and large pictures take less memory."""


class GatedBlock(Network):
    """x + W_3 (v * gate), (v, g) = W_2 (depthwise x), v conditioned on the operating point.

    Formula: v <- (1 + gain) v + shift, gate = min(max(g / 4 + 1/2, 0), 1).

    Args:
        width: channels in and out.
        embedding: channels of the operating point's embedding.
        kernel: side of the depthwise kernels, odd.
    """

    def __init__(self, width: int, embedding: int, kernel: int) -> None:
        super().__init__()
        self.spread = DepthwiseConv2d(width, kernel)
        self.inner = nn.Conv2d(width, 2 * width, 1)
        self.outer = nn.Conv2d(width, width, 1)
        self.steer = nn.Linear(embedding, 2 * width)
        with torch.no_grad():
            self.spread.weight[:, :, kernel // 2, kernel // 2] += 1
            self.outer.weight *= START
        for parameter in self.steer.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: FeatureMap, embedding: Tensor) -> FeatureMap:
        """`x`: `(batch, width, h, w)`; `embedding`: `(batch, embedding)`."""
        gain, shift = self.steer(embedding)[:, :, None, None].chunk(2, dim=1)
        spread = self.spread(x)
        rows = max(1, STRIP // (x.shape[0] * x.shape[1] * x.shape[3]))
        if torch.is_grad_enabled() or x.device.type != "cpu" or rows >= x.shape[2]:
            return self._mix(x, spread, gain, shift)
        out = torch.empty_like(x)
        for top in range(0, x.shape[2], rows):
            part = slice(top, top + rows)
            out[:, :, part] = self._mix(x[:, :, part], spread[:, :, part], gain, shift)
        return out

    def _mix(self, x: FeatureMap, spread: FeatureMap, gain: Tensor, shift: Tensor) -> FeatureMap:
        """What follows the depthwise layer: every place by itself."""
        a = self.arithmetic
        value, gate = a.limit(self.inner(spread)).chunk(2, dim=1)
        opening = (a.divide(gate, GATE_SHIFT) + a.one / 2).clamp(0, a.one)
        steered = a.rescale(value * (a.one + gain)) + shift
        return a.add(x, self.outer(a.rescale(a.limit(steered) * opening)))


class GatedStack(nn.Module):
    """A convolution to `width` channels, then a chain of `GatedBlock`s.

    On a CPU all of it is computed with the channels last, which depthwise layers need: training
    takes two thirds of the time.

    Args:
        inputs: channels in.
        width: channels out.
        blocks: length of the chain.
        embedding: channels of the operating point's embedding.
        kernel: side of the depthwise kernels, odd.
        enter: side of the first convolution's kernel, odd.
    """

    def __init__(
        self, inputs: int, width: int, blocks: int, embedding: int, kernel: int, enter: int = 1
    ) -> None:
        super().__init__()
        self.enter = nn.Conv2d(inputs, width, enter, padding=enter // 2)
        self.blocks = nn.ModuleList(GatedBlock(width, embedding, kernel) for _ in range(blocks))

    def forward(self, x: FeatureMap, embedding: Tensor) -> FeatureMap:
        """`x`: `(batch, inputs, h, w)` -> `(batch, width, h, w)`."""
        if x.device.type == "cpu":
            x = x.contiguous(memory_format=torch.channels_last)
        x = self.enter(x)
        for block in self.blocks:
            x = block(x, embedding)
        return x.contiguous()
