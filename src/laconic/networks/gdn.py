"""Generalised divisive normalisation and its approximate inverse."""

from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from laconic.types import FeatureMap

BETA_FLOOR = 1e-6
"""Smallest beta, so that the argument of the square root is positive."""

PEDESTAL = 2.0**-36
"""Added before the square root of the parametrisation, so that its derivative exists at zero."""

GAMMA_START = 0.1
"""Diagonal of the initial gamma."""


class _LowerBound(torch.autograd.Function):
    """max(x, bound); below the bound, it passes gradients that raise x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp_min(bound)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        (gradient,) = gradients
        return gradient * ((x >= ctx.bound) | (gradient < 0)), None


class NonNegative(nn.Module):
    """A parameter kept at or above `floor`: value = max(r, sqrt(floor + pedestal))² - pedestal.

    The free parameter r starts at sqrt(value + pedestal). A value that starts at zero gets a
    gradient; with a plain square it would not.

    Args:
        start: initial value, of any shape.
        floor: smallest value that `forward` returns.
    """

    def __init__(self, start: Tensor, floor: float = 0.0) -> None:
        super().__init__()
        self.bound = (floor + PEDESTAL) ** 0.5
        self.root = nn.Parameter((start.clamp_min(floor) + PEDESTAL).sqrt())

    def forward(self) -> Tensor:
        """The value, in the shape of `start`."""
        root: Tensor = _LowerBound.apply(self.root, self.bound)  # type: ignore[no-untyped-call]
        return root.square() - PEDESTAL


class _Normalisation(nn.Module):
    """The base of both directions: beta > 0, gamma >= 0, and the energy under the square root."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.beta = NonNegative(torch.ones(channels), BETA_FLOOR)
        self.gamma = NonNegative(GAMMA_START * torch.eye(channels))

    def forward(self, x: Tensor) -> Tensor:
        """beta_i + sum_j gamma_ij x_j², per pixel."""
        return functional.conv2d(x.square(), self.gamma()[:, :, None, None], self.beta())


@final
class GDN(nn.Module):
    """Divide every channel by a learned measure of the energy of all channels.

    Formula: u_i = w_i / sqrt(beta_i + Σ_j gamma_ij w_j²), per pixel.
    Source: Flamich 2.1 (ERRATA 2: the printed formula lacks its square root).

    Args:
        channels: channels in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = _Normalisation(channels)

    def forward(self, w: FeatureMap) -> FeatureMap:
        """Normalise; keeps the shape."""
        return w * torch.rsqrt(self.pool(w))


@final
class IGDN(nn.Module):
    """Multiply every channel by a learned measure of the energy: approximately GDN's inverse.

    With GDN's beta and gamma it is the first step, from w = u, of the fixed-point iteration
    w <- u sqrt(beta + gamma w²) that inverts GDN.

    Formula: w_i = u_i sqrt(beta_i + Σ_j gamma_ij u_j²), per pixel.
    Source: Flamich 2.1 (ERRATA 2).

    Args:
        channels: channels in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = _Normalisation(channels)

    def forward(self, u: FeatureMap) -> FeatureMap:
        """Denormalise; keeps the shape."""
        return u * torch.sqrt(self.pool(u))
