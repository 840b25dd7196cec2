"""How much error each tensor of a network bears, measured, and shared out at least cost.

For small errors the loss grows with their square: relative noise of size t in a tensor adds about
s t². Told at high rate, a tensor of n numbers takes n log2(1/t) bits more or less; least loss for a
given number of bits then asks for the same slope everywhere, s t² / n, hence t = c sqrt(n / s).

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
        net: the network; its parameters are put back as they were, also where `loss` fails.
        loss: the loss of `net` as it stands; the same for the same weights, so that differences
            are those of the weights.
        names: parameters to measure, as `net.named_parameters()` calls them.
        noise: root mean square of the noise over that of the parameter.
        draws: how often each parameter is disturbed, each time with both signs: what is linear in
            the noise cancels.
        seed: of the noise.

    Returns:
        (mean of loss(w + e) and loss(w - e), minus loss(w)) / noise², by name; may be negative
        where the loss hardly depends on the parameter.
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
    """Tolerances that together add a given loss and take the fewest bits.

    Args:
        sensitivity: what `sensitivities` gave.
        counts: numbers in each tensor.
        added_loss: sum of s t² over all tensors, before `bounds`.
        least_share: measurements are noisy: a tensor's sensitivity counts as at least this share
            of them all, times its share of the numbers.
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
