"""Adversarial examples by the fast gradient sign method, and training with them.

Source: Goodfellow et al. 2015; Lakshminarayanan et al. 2017; Louizos 4.4.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from laconic.errors import InputError
from laconic.training.classification import pixel_by_pixel

Loss = Callable[[Tensor, Tensor], Tensor]
"""Loss of inputs and labels, a scalar."""


def fast_sign(
    loss: Loss, x: Tensor, labels: Tensor, epsilon: float, bounds: tuple[float, float] | None = None
) -> Tensor:
    """Inputs moved by `epsilon` in the direction in which the loss rises fastest.

    Args:
        loss: of inputs and labels, with gradients.
        x: inputs, `(batch, ...)`.
        labels: of the inputs.
        epsilon: how far every number is moved, in units of the inputs.
        bounds: least and greatest value of an input; None for none.

    Formula: x + epsilon sign(gradient of the loss in x).

    Raises:
        InputError: epsilon is below 0 or not finite.
    """
    if not 0 <= epsilon < float("inf"):
        raise InputError(f"epsilon is {epsilon}: give a finite number, 0 or more")
    if not epsilon:
        return x
    with torch.enable_grad():
        moved = x.detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad(loss(moved, labels), moved)
    found = x + epsilon * slope.sign()
    return found if bounds is None else found.clamp(*bounds)


@dataclass
class EnsembleLoss:
    """Mean cross-entropy of the members of an ensemble, and of adversarial examples with it.

    Attributes:
        logits: inputs to the logits of all members, `(members, batch, classes)`.
        epsilon: of the adversarial examples, in units of the inputs; 0 for none.
        decay: penalty of the weights, added to the loss; None for none.
    """

    logits: Callable[[Tensor], Tensor]
    epsilon: float = 0.0
    decay: Callable[[], Tensor] | None = None

    def __call__(self, batch: Sequence[Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss and its parts."""
        x, labels = pixel_by_pixel(batch[0]), batch[1]
        logits = self.logits(x)
        loss = self._of_logits(logits, labels)
        wrong = (logits.softmax(-1).mean(0).argmax(-1) != labels).float().mean()
        numbers = {"nll": float(loss.detach()), "error_percent": 100 * float(wrong)}
        if self.epsilon:
            hard = fast_sign(self._of_inputs, x, labels, self.epsilon)
            loss = 0.5 * (loss + self._of_inputs(hard, labels))
        return loss if self.decay is None else loss + self.decay(), numbers

    def _of_inputs(self, x: Tensor, labels: Tensor) -> Tensor:
        return self._of_logits(self.logits(x), labels)

    def _of_logits(self, logits: Tensor, labels: Tensor) -> Tensor:
        members = len(logits)
        return functional.cross_entropy(logits.flatten(0, 1), labels.repeat(members))
