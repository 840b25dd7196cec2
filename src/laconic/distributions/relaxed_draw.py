"""A relaxed draw of a grid point for every number, with its gradients, block by block.

Logistic noise around a number gives every point of a grid the probability of the interval that is
centred there; a concrete draw of this categorical distribution is an average of points. The
forward pass computes the derivatives of each draw, too, so that no array of size numbers x points
is kept or leaves the processor's cache.

Source: Louizos 8.2, algorithm 3, eq. 114 to 118.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

FUZZ = 1e-6
"""Added to every probability on the grid, so that its logarithm has a finite value and gradient."""

FAR = 80.0
"""Largest distance of an edge, in scales of the noise: e^80 and e^-80 are float32 numbers."""

BLOCK = 32768
"""Numbers in a block on a CPU."""


class Points(NamedTuple):
    """The integers that may be drawn.

    Attributes:
        low: the first point of the grid.
        high: the last point.
        reach: number of points to each side of a number's nearest one (eq. 117); None for all.
    """

    low: float
    high: float
    reach: int | None = None

    def around(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Centres, of the shape of `x` or a scalar, and offsets from them, shape `(count, 1)`."""
        if self.reach is None:
            offsets = torch.arange(self.high - self.low + 1, dtype=x.dtype, device=x.device)
            return x.new_tensor(self.low), offsets[:, None]
        offsets = torch.arange(-self.reach, self.reach + 1, dtype=x.dtype, device=x.device)
        return round_half_up(x).clamp(self.low, self.high), offsets[:, None]


def round_half_up(x: Tensor) -> Tensor:
    """The nearest integer.  Formula: floor(x + 1/2), Louizos 8.2."""
    return torch.floor(x + 0.5)


def relaxed_draw(
    x: Tensor, log_noise: Tensor, temperature: Tensor, points: Points, straight_through: bool
) -> Tensor:
    """Draw one point for every number, with gradients for numbers, noise and temperature.

    Args:
        x: any shape, in units of the grid's step.
        log_noise: logarithm of the logistic noise's scale, a scalar.
        temperature: of the concrete distribution, a scalar above 0.
        points: the points of the grid.
        straight_through: draw points, and use the concrete draw for gradients only (RQ-ST);
            otherwise the draw is an average of points (RQ).

    Returns:
        The shape of `x`.

    Formula: p_i ~ F((i + ½ - x) / noise) - F((i - ½ - x) / noise) over their sum (eq. 114, 115),
        plus FUZZ; z = softmax((log p + gumbel) / temperature); sum z_i point_i (eq. 116).
    """
    drawn: Tensor = _Draw.apply(  # type: ignore[no-untyped-call]
        x, log_noise, temperature, points, straight_through
    )
    return drawn


class _Draw(torch.autograd.Function):
    """The forward pass computes the derivatives, too; the backward pass weights them."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, log_noise: Tensor, temperature: Tensor, points: Points, hard: bool
    ) -> Tensor:
        """Draw all blocks."""
        flat = x.reshape(-1)
        by_temperature = ctx.needs_input_grad[2]
        result = flat.new_empty(4 if by_temperature else 3, len(flat))
        size = BLOCK if x.device.type == "cpu" else max(1, len(flat))
        for first in range(0, len(flat), size):
            block = slice(first, first + size)
            _draw(flat[block], log_noise.exp(), temperature, points, hard, result[:, block])
        ctx.save_for_backward(result[1:])
        return result[0].view(x.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The chain rule; summed for parameters that all numbers share."""
        (slopes,) = ctx.saved_tensors
        gradient = gradients[0].reshape(-1)
        by_x = (gradient * slopes[0]).view(gradients[0].shape)
        by_noise = gradient @ slopes[1]
        by_temperature = gradient @ slopes[2] if len(slopes) > 2 else None
        return by_x, by_noise, by_temperature, None, None


class _Cells(NamedTuple):
    """Probabilities of the grid points around a block of numbers; first axis: points or edges.

    Attributes:
        edges: (edge of a point's interval - number) / noise; one more than points.
        above: F(-edge).
        below: F(edge).
        shares: probabilities of the points.
        grid: the points.
        inside: whether a point is on the grid; None if all are.
    """

    edges: Tensor
    above: Tensor
    below: Tensor
    shares: Tensor
    grid: Tensor
    inside: Tensor | None


def _cells(x: Tensor, noise: Tensor, points: Points) -> _Cells:
    """The cells by F(b) - F(a) = F(b) F(-a) (1 - e^(a - b)); the last factor cancels in the shares.

    Direct differences of F underflow to 0 for numbers far above or below the grid, and the fuzz
    alone would move them to arbitrary points. For the same reason the fuzz is added after the
    truncation; algorithm 3 adds it before. Beyond half of `FAR` from the grid the shares of its
    points stay constant, so farther numbers are clipped to that distance.
    """
    beyond = FAR / 2 * noise
    x = torch.minimum(torch.maximum(x, points.low - beyond), points.high + beyond)
    centres, offsets = points.around(x)
    edges = torch.cat([offsets - 0.5, offsets[-1:] + 0.5]) / noise + (centres - x) / noise
    grown = edges.clamp(-FAR, FAR).exp_()
    above = (1 + grown).reciprocal_()
    below = grown.mul_(above)
    shares = below[1:] * above[:-1]
    grid = centres + offsets
    inside = None if points.reach is None else (grid >= points.low) & (grid <= points.high)
    if inside is not None:
        shares *= inside
    shares /= shares.sum(0)
    return _Cells(edges, above, below, shares, grid, inside)


def _scores(chances: Tensor, inside: Tensor | None) -> Tensor:
    """Probability over an exponential draw, for every point, scaled so that the largest is 1.

    -log U, U uniform, is an exponential draw E; -log E is a Gumbel one. U = 0 can come out, and
    E = 0 where U rounds to 1. Torch's own exponential draws take five times as long on a CPU.
    """
    exponential = torch.rand_like(chances).clamp_min_(1e-30).log_().neg_().clamp_min_(1e-30)
    scores = chances / exponential
    if inside is not None:
        scores *= inside
    scores /= scores.amax(0)
    return scores


def _draw(
    x: Tensor, noise: Tensor, temperature: Tensor, points: Points, hard: bool, result: Tensor
) -> None:
    """Fill in `result`: the draw and its derivatives by x, log noise and, if asked, temperature."""
    cells = _cells(x, noise, points)
    chances = cells.shares + FUZZ
    scores = _scores(chances, cells.inside)
    soft = _power(scores, 1 / float(temperature))
    soft /= soft.sum(0)
    mean = (soft * cells.grid).sum(0)
    result[0] = _best(scores, cells.grid) if hard else mean
    slope = soft.mul_(cells.grid - mean)  # By the logarithm of a score.
    if len(result) > 3:
        logs = scores.clamp_min(torch.finfo(x.dtype).tiny).log_()
        result[3] = -(slope * logs).sum(0) / temperature**2
    slope /= chances * temperature
    slope -= (slope * cells.shares).sum(0)
    slope *= cells.shares
    by_edge = torch.zeros_like(cells.edges)
    by_edge[1:] = slope * cells.above[1:]
    by_edge[:-1] -= slope * cells.below[:-1]
    result[1] = by_edge.sum(0).div_(-noise)
    result[2] = -(by_edge * cells.edges).sum(0)


def _power(x: Tensor, exponent: float) -> Tensor:
    """`x ** exponent`, without logarithms for the source's temperatures; always a new tensor."""
    if exponent == 1:
        return x.clone()
    return x.sqrt() if exponent == 0.5 else x.pow(exponent)


def _best(scores: Tensor, points: Tensor) -> Tensor:
    """The point of the largest score; several times as fast as argmax over the first axis."""
    best, chosen = scores[0], points[0].expand_as(scores[0])
    for score, point in zip(scores[1:], points[1:], strict=True):
        chosen = torch.where(score > best, point, chosen)
        best = torch.maximum(best, score)
    return chosen
