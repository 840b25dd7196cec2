"""A quantiser that gradients pass: noise turns a number into a distribution over grid points.

The grid is `step x {low, ..., high}`, without an offset, so that zero stays exactly zero. Logistic
noise around a number gives every point the probability of the interval that is centred there; the
noise is truncated to the grid. A draw from this categorical distribution is relaxed to a concrete
one, or passed straight through. After training, numbers are rounded to the nearest point.

Source: Louizos 8.2, algorithms 3 and 4, appendix 10.6.1.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

FUZZ = 1e-6
"""Added to every probability: keeps its logarithm and that one's gradient finite."""

BARRIER = -1e9
"""Log probability of points off the grid: infinity would make a learned temperature NaN."""

REACH = 3.0
"""A local grid reaches so many scales of the noise (delta in eq. 117; 10.6.1)."""

FULL_BITS = 2
"""Grids of at most so many bits are used in full, finer ones locally (10.6.1)."""

NOISE_START = 1 / 3
"""The noise's scale over the step where training starts (10.6.1)."""

NOISE_RANGE = (0.02, 1.0)
"""Bounds of the same while it learns: the gradient grows as its inverse."""

NARROWINGS = 33
"""Steps that are tried, 2^(1/8) apart: down to a sixteenth of the range's."""

STEP_FACTOR = 64.0
"""The step learns within so large a factor of where it started, either way."""


def round_half_up(x: Tensor) -> Tensor:
    """The nearest integer.  Formula: floor(x + 1/2), Louizos 8.2."""
    return torch.floor(x + 0.5)


def point_logits(x: Tensor, points: Tensor, log_noise: Tensor, low: float, high: float) -> Tensor:
    """How likely logistic noise takes numbers to grid points; all in units of the step.

    Args:
        x: any shape `s`.
        points: consecutive integers along the first axis, shape `(count, s)`, or ones in place of
            `s`.
        log_noise: logarithm of the logistic noise's scale, a scalar.
        low: first point of the grid.
        high: last point; points outside have probability 0.

    Returns:
        Log probabilities up to a constant for every number, shape `(count, s)`.

    Formula: p_i ~ F((i + ½ - x) / noise) - F((i - ½ - x) / noise), over their sum (eq. 114, 115);
        then log(p_i + FUZZ). F(b) - F(a) is computed as F(b) F(-a) (1 - e^(a - b)), whose last
        factor cancels: differences of F itself vanish for numbers far above or below the grid, and
        the fuzz alone would send them to any point at all. For the same reason it comes after the
        truncation, where algorithm 3 has it before.
    """
    edges = (torch.cat([points - 0.5, points[-1:] + 0.5]) - x) * torch.exp(-log_noise)
    below = functional.logsigmoid(edges)
    masses = below[1:] + below[:-1] - edges[:-1]
    if bool((points[0] >= low).all()) and bool((points[-1] <= high).all()):
        return torch.log(torch.softmax(masses, 0) + FUZZ)
    outside = (points < low) | (points > high)
    barrier = torch.zeros_like(points).masked_fill_(outside, BARRIER)
    return torch.log(torch.softmax(masses + barrier, 0) + FUZZ) + barrier


def relaxed_choice(
    logits: Tensor, points: Tensor, temperature: Tensor, straight_through: bool
) -> Tensor:
    """Draw one point for every number, such that gradients reach the logits.

    Args:
        logits: log probabilities, shape `(count, s)`.
        points: shape `(count, s)`, or ones in place of `s`.
        temperature: of the concrete distribution, a scalar above 0.
        straight_through: draw points, and use the concrete draw for gradients only (RQ-ST);
            otherwise the draw is an average of points (RQ).

    Returns:
        Shape `s`.

    Formula: z = softmax((log p + gumbel) / temperature), sum z_i point_i (eq. 116).
    """
    # -log U, U uniform, is an exponential draw E; -log E is a Gumbel one. U = 0 can come out, and
    # E = 0 where U rounds to 1. Torch's own exponential draws take five times as long on a CPU.
    exponential = torch.rand_like(logits).clamp_min_(1e-30).log_().neg_()
    scores = logits - exponential.clamp_min_(1e-30).log_()
    soft = (torch.softmax(scores * (1 / temperature), 0) * points).sum(0)
    if not straight_through:
        return soft
    return _best(scores, points) + (soft - soft.detach())


@torch.no_grad()
def _best(scores: Tensor, points: Tensor) -> Tensor:
    """The point of the largest score; several times as fast as argmax over a first axis."""
    best, chosen = scores[0], points[0].expand_as(scores[0])
    for score, point in zip(scores[1:], points[1:], strict=True):
        chosen = torch.where(score > best, point, chosen)
        best = torch.maximum(best, score)
    return chosen


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
    """One quantiser: step, noise and, if wanted, temperature are learned.

    Args:
        bits: 2^bits points.
        temperature: of the concrete distribution, where it starts.
        straight_through: see `relaxed_choice`.
        learn_temperature: whether it is a parameter.
        noise: scale of the noise over the step, where it starts.

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
        """Whether the grid knows its range."""
        return bool(self.high > self.low)

    @property
    def step(self) -> Tensor:
        """Distance between points, a scalar."""
        return self.log_step.exp()

    @torch.no_grad()
    def fit(self, x: Tensor, signed: bool, widening: float) -> None:
        """Take range and step from numbers that are to be quantised.

        Args:
            x: numbers; all equal ones get a step of 1.
            signed: points from -2^(bits - 1) to 2^(bits - 1) - 1 rather than 0 to 2^bits - 1.
            widening: how much wider the step is than the range over the number of points.

        Formula: step = (max - min) / 2^bits x widening (10.6.1). Without an offset only the
            positive half of an unsigned grid is there, so that its min is 0; on a signed one,
            max - min is twice the largest size.
        """
        spread = float(x.abs().max()) * 2 if signed else float(x.max())
        step = spread / 2**self.bits * widening if spread > 0 else 1.0
        self.log_step.fill_(math.log(step))
        self.start.copy_(self.log_step)
        self.low.fill_(-(2.0 ** (self.bits - 1)) if signed else 0.0)
        self.high.copy_(self.low + 2.0**self.bits - 1)

    @torch.no_grad()
    def narrow(self, x: Tensor) -> None:
        """Shrink the step to where rounding these numbers errs least, in squares.

        A trained layer has few large weights: a grid over their whole range has, with 2 bits, no
        other point than zero for almost all of them.
        """
        widest = self.step
        steps = [widest * 2 ** (-index / 8) for index in range(NARROWINGS)]
        errors = [float((nearest(x, s, self.low, self.high) * s - x).square().sum()) for s in steps]
        self.log_step.copy_(steps[errors.index(min(errors))].log())
        self.start.copy_(self.log_step)

    def forward(self, x: Tensor) -> Tensor:
        """A relaxed draw, of the same shape."""
        scaled = x * torch.exp(-self.log_step)
        points = self._points(scaled.detach())
        low, high = float(self.low), float(self.high)
        logits = point_logits(scaled, points, self.log_noise, low, high)
        temperature = self.log_temperature.exp()
        return self.step * relaxed_choice(logits, points, temperature, self.straight_through)

    @torch.no_grad()
    def _points(self, scaled: Tensor) -> Tensor:
        """All points, or those around each number (eq. 117, 118)."""
        axes = (-1, *[1] * scaled.ndim)
        if self.bits <= FULL_BITS:
            return (torch.arange(2**self.bits, device=scaled.device) + self.low).view(axes)
        reach = max(1, round(REACH * float(self.log_noise.exp())))
        offsets = torch.arange(-reach, reach + 1, device=scaled.device).view(axes)
        return round_half_up(scaled).clamp(self.low, self.high) + offsets

    def integers(self, x: Tensor) -> Tensor:
        """The nearest points in units of the step."""
        return nearest(x, self.step, self.low, self.high)

    def round(self, x: Tensor) -> Tensor:
        """The nearest points."""
        return self.integers(x) * self.step

    def plain(self) -> "Rounding":
        """The same rounding with nothing left to learn."""
        return Rounding(self.step.detach().clone(), self.low.clone(), self.high.clone())

    @torch.no_grad()
    def constrain(self) -> None:
        """Keep what learns within its bounds; call this after every step of the optimiser."""
        reach = math.log(STEP_FACTOR)
        self.log_step.copy_(self.log_step.clamp(self.start - reach, self.start + reach))
        self.log_noise.clamp_(*(math.log(bound) for bound in NOISE_RANGE))
        self.log_temperature.clamp_(math.log(0.1), math.log(10.0))
