"""How good a stochastic gradient is: its mean and variance, estimator beside estimator."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class GradientMoments:
    """Of one estimator, over independent draws; one entry for each parameter, flattened.

    Attributes:
        mean: of the gradient.
        variance: of a single draw's gradient.
        draws: how many.
    """

    mean: Tensor
    variance: Tensor
    draws: int

    @property
    def error(self) -> Tensor:
        """Standard error of the mean."""
        return (self.variance / self.draws).sqrt()

    @property
    def total_variance(self) -> float:
        """Summed over the parameters."""
        return float(self.variance.sum())


def gradient_comparison(
    losses: Mapping[str, Callable[[], Tensor]],
    parameters: Sequence[Tensor],
    draws: int,
    seed: int = 0,
) -> dict[str, GradientMoments]:
    """Gradients of several estimators of one loss, such as "reparametrised" and "reinforce".

    Args:
        losses: scalars with gradients, drawn anew at each call.
        parameters: that the gradient is taken by.
        draws: calls of each, at least 2.
        seed: of torch's generator, set anew for each estimator and put back afterwards.
    """
    with torch.random.fork_rng():
        return {name: _moments(loss, parameters, draws, seed) for name, loss in losses.items()}


def _moments(
    loss: Callable[[], Tensor], parameters: Sequence[Tensor], draws: int, seed: int
) -> GradientMoments:
    """By Welford's sums, so that only two gradients are held at a time."""
    torch.manual_seed(seed)
    mean = torch.cat([torch.zeros_like(p).flatten() for p in parameters]).double()
    squares = torch.zeros_like(mean)
    for count in range(1, draws + 1):
        found = torch.autograd.grad(loss(), parameters, allow_unused=True, materialize_grads=True)
        gradient = torch.cat([part.flatten() for part in found]).double()
        change = gradient - mean
        mean = mean + change / count
        squares = squares + change * (gradient - mean)
    return GradientMoments(mean, squares / (draws - 1), draws)
