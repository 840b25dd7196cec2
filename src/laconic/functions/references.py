"""The reference set: examples that every prediction is based on."""

import torch
from torch import Tensor

from laconic.errors import InputError

Pair = tuple[Tensor, Tensor]
"""Inputs `(count, ...)` and targets `(count,)` or `(count, targets)`."""


def check_inputs(x: Tensor, name: str) -> None:
    """Raise `InputError` for inputs that are not finite floating-point numbers."""
    if not x.is_floating_point():
        raise InputError(f"{name}: inputs of type {x.dtype}; give floating-point numbers")
    if not bool(x.isfinite().all()):
        raise InputError(f"{name}: inputs have NaN or infinite values")


def check_pair(x: Tensor, y: Tensor, name: str) -> None:
    """Raise `InputError` for an empty set, or one of several lengths."""
    if x.dim() < 2 or y.dim() < 1 or len(x) != len(y) or not len(x):
        raise InputError(
            f"{name}: inputs of shape {tuple(x.shape)} and targets of shape {tuple(y.shape)}; give "
            "one target for each input, at least one, inputs with an axis for their numbers"
        )
    check_inputs(x, name)


def choose_references(
    x: Tensor, y: Tensor, count: int, seed: int = 0, fewest_others: int = 1
) -> tuple[Pair, Pair]:
    """Divide a training set at random into a reference set R and the others M.

    Source: Louizos 5.4: random points of the training set.

    Args:
        x: inputs `(examples, ...)`.
        y: targets `(examples, ...)`.
        count: points in R.
        seed: of the choice.
        fewest_others: points that must be left.

    Returns:
        The reference set, and the others in their order.

    Raises:
        InputError: there are not so many examples.
    """
    most = len(x) - fewest_others
    if not 1 <= count <= most:
        raise InputError(
            f"references: {count} of {len(x)} examples; give a number from 1 to {most}"
        )
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    chosen, others = order[:count], order[count:].sort().values
    return (x[chosen], y[chosen]), (x[others], y[others])
