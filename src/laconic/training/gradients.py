"""The mean and variance of stochastic gradients, to compare estimators."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class GradientMoments:
    """Moments of one gradient estimator over independent draws; one entry per parameter, flat.

    Attributes:
        mean: mean of the gradient.
        variance: variance of a single draw's gradient.
        draws: number of draws.
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
        """The variance, summed over the parameters."""
        return float(self.variance.sum())


def gradient_comparison(
    losses: Mapping[str, Callable[[], Tensor]],
    parameters: Sequence[Tensor],
    draws: int,
    seed: int = 0,
) -> dict[str, GradientMoments]:
    """Gradients of several estimators of one loss, such as "reparametrised" and "reinforce".

    Args:
        losses: functions that draw a scalar with gradients at each call.
        parameters: the parameters of the gradient.
        draws: calls of each function, at least 2.
        seed: seed of torch's generator, set for each estimator; the old state is restored at the
            end.
    """
    with torch.random.fork_rng():
        return {name: _moments(loss, parameters, draws, seed) for name, loss in losses.items()}


def _moments(
    loss: Callable[[], Tensor], parameters: Sequence[Tensor], draws: int, seed: int
) -> GradientMoments:
    """The moments by Welford's sums, which keep only two gradients in memory."""
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
