"""The price of a constrained quantity: it rises while the quantity exceeds its target.

min f(w) subject to c(w) = target: descend f + price x c in w, ascend in the price.
Source: Gallego-Posada et al. 2022 (arXiv 2208.04425) for ascent with restarts; the augmented
Lagrangian of Hestenes 1969 and Powell 1969 for the stiffness.
"""

import torch
from torch import Tensor


@torch.no_grad()
def update_multiplier(
    multiplier: Tensor,
    excess: Tensor,
    rate: float,
    *,
    inequality: bool = False,
    restarts: bool = False,
) -> None:
    """One step of ascent, in place; a step whose excess is not finite changes nothing.

    Formula: multiplier += rate excess.

    Args:
        multiplier: any shape, one entry per problem.
        excess: the quantity minus its target, of the same shape.
        rate: step size.
        inequality: less than the target is allowed, too: the multiplier is at least 0.
        restarts: the multiplier is set to 0 as soon as the target is met.
    """
    excess = torch.nan_to_num(excess.to(multiplier), nan=0.0, posinf=0.0, neginf=0.0)
    multiplier.add_(rate * excess)
    if inequality:
        multiplier.clamp_(min=0)
    if restarts:
        multiplier.masked_fill_(excess <= 0, 0.0)


@torch.no_grad()
def price(multiplier: Tensor, excess: Tensor, stiffness: float) -> Tensor:
    """The current price of a unit of the quantity, by the augmented Lagrangian.

    f + multiplier c + stiffness (c - target)² / 2 has the gradient of f + price x c. If the
    frontier is straight, as Alemi's diagonal D = H - R, training with the multiplier alone would
    oscillate between its ends; the stiffness keeps it at the target.

    Formula: multiplier + stiffness excess.
    """
    return multiplier + stiffness * excess
