"""What the training loop asks of a loss."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn


class Loss(Protocol):
    """The function that training minimises."""

    def __call__(self, batch: Sequence[Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """A scalar with gradients, and numbers for the log; draws come from torch's generator.

        The loop seeds torch by the step, so that a resumed run draws the same numbers as an
        uninterrupted one.
        """
        ...


class LossState(nn.Module):
    """What a loss keeps beside the weights: buffers that checkpoints store."""

    def after_step(self) -> None:
        """Update the buffers after a change of the weights."""

    def report(self) -> dict[str, float]:
        """What a result should say about the buffers, by name."""
        return {}
