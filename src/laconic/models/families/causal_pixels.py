"""The likelihood of pixels: from latents alone, or from the pixels before each as well.

Source: Lecture (compression with a learned autoregressive model); van den Oord et al. 2016 and
Salimans et al. 2017 (PixelCNN, PixelCNN++).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import functional

from laconic.distributions.logistic_mixture import CENTRE, ColourMixture
from laconic.networks.causal import CausalBlock, CausalConvolution
from laconic.networks.residual import LEAK, Head

SPREAD = 64.0
"""Pixel steps in a unit of what networks see and say."""
FINE_SPREAD = 16.0
"""Pixel steps in a unit of differences: causal residuals, components around their pivot."""


class CausalContext(nn.Module):
    """The network over the pixels that are known already.

    Args:
        width: channels.
        kernel: side of the first kernel.
        blocks: residual blocks.
        parameters: numbers that tell a pixel's distribution.
    """

    def __init__(self, width: int, kernel: int, blocks: int, parameters: int) -> None:
        super().__init__()
        self.linear = CausalConvolution(3, 3, kernel, centre=False)
        self.enter = CausalConvolution(7, width, kernel, centre=False)
        self.blocks = nn.ModuleList(CausalBlock(width) for _ in range(blocks))
        self.head = Head(width, parameters)
        self._start_linear()

    def _start_linear(self) -> None:
        """Begin as west + north - north-west, a plane through the neighbours."""
        with torch.no_grad():
            self.linear.weight.zero_()
            for offset, value in {(0, -1): 0.8, (-1, 0): 0.8, (-1, -1): -0.6}.items():
                place = self.linear.taps.index(offset)
                self.linear.weight[:, :, place] = value * torch.eye(3)

    def forward(
        self, x: Tensor, base: Tensor | None, features: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Pixels around 0 in steps of 1, the latents' share -> pivots in steps, parameters."""
        with torch.autocast(x.device.type, enabled=False):
            pivot = self.linear(x)
            if base is not None:
                pivot = pivot + base
        residual = (x - pivot) / FINE_SPREAD
        seen = torch.cat([x / SPREAD, residual, torch.ones_like(x[:, :1])], dim=1)
        hidden = self.enter(seen)
        if features is not None:
            hidden = hidden + features
        for block in self.blocks:
            hidden = block(hidden)
        return pivot, self.head(functional.leaky_relu(hidden, LEAK))


def mixture(pivot: Tensor, parameters: Tensor) -> ColourMixture:
    """The pixels' distribution.

    Args:
        pivot: `(batch, 3, h, w)`, around 0 in steps: what components and couplings are told from.
        parameters: `(batch, 12 K, h, w)`: weights, distances, log-scales, couplings.
    """
    batch, channels, height, width = parameters.shape
    shape = (batch, 4, 3, channels // 12, height, width)
    logits, distance, log_scale, couplings = parameters.float().reshape(shape).unbind(1)
    centre = pivot.float()[:, :, None]
    shift = [
        torch.zeros_like(couplings[:, 0]),
        couplings[:, 0] * centre[:, 0],
        couplings[:, 1] * centre[:, 0] + couplings[:, 2] * centre[:, 1],
    ]
    means = CENTRE + centre + FINE_SPREAD * distance - torch.stack(shift, dim=1)
    return ColourMixture(logits, means, log_scale + 1, couplings)


class CausalPixels(Distribution):
    """p(x | z) with every pixel given the ones before it; only its density is known at once.

    Args:
        network: the causal network.
        base: the latents' share of the pivots, in steps, or None.
        features: the latents' share of the first layer, or None.
        shape: `(batch, 3, h, w)`.
    """

    has_rsample = False

    def __init__(
        self,
        network: CausalContext,
        base: Tensor | None,
        features: Tensor | None,
        shape: Sequence[int],
    ) -> None:
        self.network, self.base, self.features = network, base, features
        super().__init__(torch.Size(shape[:1]), torch.Size(shape[1:]), validate_args=False)

    def given(self, x: Tensor) -> ColourMixture:
        """Every pixel's distribution given those of `x`, in [0, 1], before it."""
        steps = torch.round(x.float() * 255) - CENTRE
        return mixture(*self.network(steps, self.base, self.features))

    def log_prob(self, x: Tensor) -> Tensor:
        """Nats of every image, `(batch,)`."""
        return self.given(x).log_prob(x)
