"""A differentiable quantiser: noise turns a number into a distribution over grid points.

The grid is `step x {low, ..., high}`, without an offset, so that zero stays exactly zero. Logistic
noise around a number gives every point the probability of the interval that is centred there; the
noise is truncated to the grid. A draw from this categorical distribution is relaxed to a concrete
one, or has a straight-through gradient. After training, numbers are rounded to the nearest point.

Source: Louizos 8.2, algorithms 3 and 4, appendix 10.6.1.
"""

import math

import torch
from torch import Tensor, nn

from laconic.distributions.relaxed_draw import Points, relaxed_draw, round_half_up

REACH = 3.0
"""A local grid reaches this many scales of the noise (delta in eq. 117; 10.6.1)."""

FULL_BITS = 2
"""Grids of at most this many bits are used in full, finer ones locally (10.6.1)."""

NOISE_START = 1 / 3
"""Initial scale of the noise over the step (10.6.1)."""

NOISE_RANGE = (0.02, 1.0)
"""Bounds of this ratio in training: the gradient grows as its inverse."""

NARROWINGS = 33
"""Steps that `narrow` tries, 2^(1/8) apart: down to a sixteenth of the step of the full range."""

STEP_FACTOR = 64.0
"""Largest factor between the learned step and its initial value, up or down."""


def nearest(x: Tensor, step: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The nearest point of a grid, in units of its step (algorithm 4)."""
    return round_half_up(x / step).clamp(low, high)


class Rounding(nn.Module):
    """Rounds to the nearest point of a grid.

    Args:
        step: distance between points, a scalar.
        low: first point in units of the step.
        high: last point.
    """

    step: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, step: Tensor, low: Tensor, high: Tensor) -> None:
        super().__init__()
        for name, value in (("step", step), ("low", low), ("high", high)):
            self.register_buffer(name, value)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return nearest(x, self.step, self.low, self.high) * self.step


class RelaxedGrid(nn.Module):
    """One quantiser with learned step, noise and, optionally, temperature.

    Args:
        bits: 2^bits points.
        temperature: initial temperature of the concrete distribution.
        straight_through: see `relaxed_draw`.
        learn_temperature: whether the temperature is a parameter.
        noise: initial scale of the noise over the step.

    Attributes:
        low: first point in units of the step; a buffer.
        high: last point; both are 0 until `fit` has run.
    """

    low: Tensor
    high: Tensor
    start: Tensor

    def __init__(
        self,
        bits: int,
        temperature: float,
        straight_through: bool,
        learn_temperature: bool = False,
        noise: float = NOISE_START,
    ) -> None:
        super().__init__()
        self.bits, self.straight_through = bits, straight_through
        self.log_step = nn.Parameter(torch.zeros(()))
        self.log_noise = nn.Parameter(torch.tensor(math.log(noise)))
        logarithm = torch.tensor(math.log(temperature))
        self.log_temperature: Tensor
        if learn_temperature:
            self.log_temperature = nn.Parameter(logarithm)
        else:
            self.register_buffer("log_temperature", logarithm)
        for name in ("low", "high", "start"):
            self.register_buffer(name, torch.zeros(()))

    @property
    def fitted(self) -> bool:
        """Whether `fit` has set the range."""
        return bool(self.high > self.low)

    @property
    def step(self) -> Tensor:
        """Distance between points, a scalar."""
        return self.log_step.exp()

    @torch.no_grad()
    def fit(self, x: Tensor, signed: bool, widening: float) -> None:
        """Set range and step for numbers that are to be quantised.

        Args:
            x: the numbers; the step is 1 if all are equal.
            signed: points from -2^(bits - 1) to 2^(bits - 1) - 1 rather than 0 to 2^bits - 1.
            widening: factor of the step over the range divided by the number of points.

        Formula: step = (max - min) / 2^bits x widening (10.6.1). The grid has no offset: an
            unsigned grid begins at 0, so its min is 0; for a signed one, max - min is twice the
            largest size.
        """
        spread = float(x.abs().max()) * 2 if signed else float(x.max())
        step = spread / 2**self.bits * widening if spread > 0 else 1.0
        self.log_step.fill_(math.log(step))
        self.start.copy_(self.log_step)
        self.low.fill_(-(2.0 ** (self.bits - 1)) if signed else 0.0)
        self.high.copy_(self.low + 2.0**self.bits - 1)

    @torch.no_grad()
    def narrow(self, x: Tensor) -> None:
        """Shrink the step to the one with the least squared rounding error of these numbers.

        A trained layer has few large weights: a grid of 2 bits over the whole range rounds almost
        all weights to zero.
        """
        widest = self.step
        steps = [widest * 2 ** (-index / 8) for index in range(NARROWINGS)]
        errors = [float((nearest(x, s, self.low, self.high) * s - x).square().sum()) for s in steps]
        self.log_step.copy_(steps[errors.index(min(errors))].log())
        self.start.copy_(self.log_step)

    def forward(self, x: Tensor) -> Tensor:
        """A relaxed draw, of the same shape and type."""
        precise = x.to(torch.promote_types(x.dtype, self.log_step.dtype))
        drawn = relaxed_draw(
            precise * torch.exp(-self.log_step), self.log_noise, self.log_temperature.exp(),
            self._points(), self.straight_through,
        )  # fmt: skip
        return (self.step * drawn).to(x.dtype)

    def _points(self) -> Points:
        """All points, or those around each number (eq. 117, 118)."""
        low, high = float(self.low), float(self.high)
        if self.bits <= FULL_BITS:
            return Points(low, high)
        return Points(low, high, max(1, round(REACH * float(self.log_noise.detach().exp()))))

    def integers(self, x: Tensor) -> Tensor:
        """The nearest points in units of the step."""
        return nearest(x, self.step, self.low, self.high)

    def round(self, x: Tensor) -> Tensor:
        """The nearest points."""
        return self.integers(x) * self.step

    def plain(self) -> "Rounding":
        """The same rounding, without parameters."""
        return Rounding(self.step.detach().clone(), self.low.clone(), self.high.clone())

    @torch.no_grad()
    def constrain(self) -> None:
        """Clip the parameters to their bounds; call this after every step of the optimiser."""
        reach = math.log(STEP_FACTOR)
        self.log_step.copy_(self.log_step.clamp(self.start - reach, self.start + reach))
        self.log_noise.clamp_(*(math.log(bound) for bound in NOISE_RANGE))
        self.log_temperature.clamp_(math.log(0.1), math.log(10.0))
