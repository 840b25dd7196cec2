"""Tolerances of a network's tensors: the loss that errors add, measured, and the best allocation.

For small errors the loss grows with their square: relative noise of size t in a tensor adds about
s t². At high rate a tensor of n numbers takes about n log2(1/t) bits. The least loss for a given
number of bits then has the same slope s t² / n in every tensor, hence t = c sqrt(n / s).

Source: the usual argument of optimal bit allocation (Huang & Schultheiss 1963), with the
sensitivities measured rather than taken from a Hessian.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn


@torch.no_grad()
def sensitivities(
    net: nn.Module,
    loss: Callable[[], float],
    names: Sequence[str],
    noise: float = 0.03,
    draws: int = 2,
    seed: int = 0,
) -> dict[str, float]:
    """The loss that relative noise adds, per unit of its square, for each parameter.

    Args:
        net: the network; its parameters keep their values, also if `loss` fails.
        loss: the loss of `net` with its current weights; must be deterministic.
        names: parameters to measure, with their names in `net.named_parameters()`.
        noise: root mean square of the noise over that of the parameter.
        draws: draws of noise for each parameter. Each is added and subtracted, so that terms linear
            in the noise cancel.
        seed: of the noise.

    Returns:
        (mean of loss(w + e) and loss(w - e), minus loss(w)) / noise², by name; may be negative
        if the loss hardly depends on the parameter.
    """
    generator = torch.Generator().manual_seed(seed)
    parameters = dict(net.named_parameters())
    found = {}
    start = loss()
    for name in names:
        parameter = parameters[name]
        kept = parameter.detach().clone()
        size = noise * float(kept.square().mean().sqrt())
        added = 0.0
        try:
            for _ in range(draws):
                error = size * torch.randn(kept.shape, generator=generator).to(kept)
                for sign in (1, -1):
                    parameter.copy_(kept + sign * error)
                    added += (loss() - start) / (2 * draws)
        finally:
            parameter.copy_(kept)
        found[name] = added / noise**2
    return found


def allocate(
    sensitivity: Mapping[str, float],
    counts: Mapping[str, int],
    added_loss: float,
    least_share: float = 1e-3,
    bounds: tuple[float, float] = (1e-4, 0.3),
) -> dict[str, float]:
    """Tolerances that add a given loss and take the fewest bits.

    Args:
        sensitivity: result of `sensitivities`.
        counts: numbers in each tensor.
        added_loss: sum of s t² over all tensors, before `bounds` apply.
        least_share: lower bound of a sensitivity, since measurements are noisy: this share of the
            sum of all, times the tensor's share of the numbers.
        bounds: smallest and largest tolerance.

    Formula: t = sqrt(added_loss / N) sqrt(n / s), N all numbers.
    """
    total, numbers = sum(max(s, 0.0) for s in sensitivity.values()), sum(counts.values())
    found = {}
    for name, value in sensitivity.items():
        floor = least_share * total * counts[name] / numbers
        known = max(value, floor, 1e-300)
        tolerance = math.sqrt(added_loss / numbers * counts[name] / known)
        found[name] = min(max(tolerance, bounds[0]), bounds[1])
    return found
