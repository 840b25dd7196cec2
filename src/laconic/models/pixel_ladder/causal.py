"""The likelihood of pixels: from latents alone, or from the pixels before each as well.

Source: Lecture (compression with a learned autoregressive model); van den Oord et al. 2016 and
Salimans et al. 2017 (PixelCNN, PixelCNN++).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from laconic.distributions.logistic_mixture import CENTRE, ColourMixture
from laconic.networks.arithmetic import FLOAT, Arithmetic, Network
from laconic.networks.causal import CausalConvolution
from laconic.networks.residual import Block, Head

SPREAD_BITS = 6
"""Networks see and predict pixels in units of 2^6 = 64 pixel steps."""
FINE_BITS = 4
"""Differences (causal residuals, components around their pivot) have units of 16 pixel steps."""


class CausalContext(Network):
    """The network over the pixels that are known already.

    Args:
        width: channels.
        kernel: side of the first kernel.
        blocks: residual blocks.
        parameters: numbers of a pixel's distribution.
    """

    def __init__(self, width: int, kernel: int, blocks: int, parameters: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.linear = CausalConvolution(3, 3, kernel, centre=False)
        self.enter = CausalConvolution(7, width, kernel, centre=False)
        self.blocks = nn.ModuleList(
            Block(CausalConvolution(width, width, 3, centre=True), width) for _ in range(blocks)
        )
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
        """Pivots and parameters of all pixels at once.

        Args:
            x: pixels around 0 in pixel steps, `(batch, 3, h, w)`.
            base: the latents' share of the pivots, the same shape, or None.
            features: the latents' share of the first layer, `(batch, width, h, w)`, or None.

        Returns:
            Pivots in pixel steps, `(batch, 3, h, w)`, and `(batch, parameters, h, w)`.
        """
        pivot = self.pivot(x, base)
        return pivot, self.parameters_from(self.seen(x, pivot), features)

    def pivot(self, x: Tensor, base: Tensor | None) -> Tensor:
        """A linear prediction of every pixel, in full precision."""
        with torch.autocast(x.device.type, enabled=False):
            pivot: Tensor = self.linear(x)
            return pivot if base is None else pivot + base

    def seen(self, x: Tensor, pivot: Tensor) -> Tensor:
        """What the first layer sees of known pixels: value, residual, and a 1 inside the image."""
        a = self.arithmetic
        ones = torch.full_like(x[:, :1], a.one)
        return torch.cat([a.divide(x, SPREAD_BITS), a.divide(x - pivot, FINE_BITS), ones], dim=1)

    def parameters_from(self, seen: Tensor, features: Tensor | None) -> Tensor:
        """Parameters of every pixel; `seen` of those before it, its own share of the latents."""
        hidden = self.enter(seen)
        if features is not None:
            hidden = hidden + features
        for block in self.blocks:
            hidden = block(hidden)
        return self.arithmetic.apply(self.head, hidden, True, False)


class Components(NamedTuple):
    """K logistics for every pixel and colour, `(n, 3, K, ...)` each; couplings not yet added."""

    logits: Tensor
    means: Tensor
    log_scales: Tensor
    couplings: Tensor


def components(arithmetic: Arithmetic, pivot: Tensor, parameters: Tensor) -> Components:
    """The mixture of every pixel.

    Args:
        arithmetic: of the numbers.
        pivot: `(n, 3, ...)`, around 0 in pixel steps: what means and couplings are relative to.
        parameters: `(n, 12 K, ...)`: weights, distances, log-scales, couplings.
    """
    one, rescale = arithmetic.one, arithmetic.rescale
    split = parameters.reshape(len(parameters), 4, 3, -1, *parameters.shape[2:])
    logits, distance, log_scale, couplings = split.unbind(1)
    centre = pivot[:, :, None]
    shift = [
        torch.zeros_like(couplings[:, 0]),
        rescale(couplings[:, 0] * centre[:, 0]),
        rescale(couplings[:, 1] * centre[:, 0] + couplings[:, 2] * centre[:, 1]),
    ]
    means = CENTRE * one + centre + 2.0**FINE_BITS * distance - torch.stack(shift, dim=1)
    return Components(logits, means, log_scale + one, couplings)


def mixture(pivot: Tensor, parameters: Tensor) -> ColourMixture:
    """The pixels' distribution in floats; shapes as in `components`."""
    return ColourMixture(*components(FLOAT, pivot.float(), parameters.float()))


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
