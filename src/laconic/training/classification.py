"""Classifiers for the training loop: batches, loss with a penalty, error."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from laconic.training.modes import evaluation
from laconic.training.objectives.base import kl_warmup

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""Inputs of a batch, changed at random in ways that do not touch their labels."""


class LabelledBatches:
    """Inputs and labels in memory, shuffled again for every pass.

    Args:
        inputs: shape `(count, ...)`.
        labels: shape `(count,)`.
        batch: examples in a batch; the last ones of a pass that do not fill one are left out.
        seed: of the order, and of `augment`.
        augment: what is done to the inputs of every batch; None for nothing.
    """

    def __init__(
        self, inputs: Tensor, labels: Tensor, batch: int, seed: int = 0,
        augment: Augment | None = None,
    ) -> None:  # fmt: skip
        self.inputs, self.labels, self.size, self.seed = inputs, labels, batch, seed
        self.augment = augment
        self._pass, self._order = -1, torch.arange(0)

    @property
    def steps(self) -> int:
        """Batches in one pass."""
        return len(self.inputs) // self.size

    def batch(self, index: int) -> tuple[Tensor, Tensor]:
        """Batch number `index`, a function of the index alone."""
        number, place = divmod(index, self.steps)
        if number != self._pass:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
            self._order = torch.randperm(len(self.inputs), generator=generator)
            self._pass = number
        chosen = self._order[place * self.size : (place + 1) * self.size]
        inputs = self.inputs[chosen]
        if self.augment is not None:
            generator = torch.Generator().manual_seed((self.seed + 1) * 1_000_003 + index)
            inputs = self.augment(inputs, generator)
        return inputs, self.labels[chosen]


def pixel_by_pixel(pictures: Tensor) -> Tensor:
    """The same numbers in torch's `channels_last` order, of one channel too.

    Convolutions of few channels and pooling take half the time on a CPU, and so on through the
    network. With one channel torch treats both orders as equal; only the strides differ.

    Args:
        pictures: shape `(batch, channels, height, width)`; others are returned as they are.
    """
    if pictures.dim() != 4:
        return pictures
    channels, height, width = pictures.shape[1:]
    strides = (channels * height * width, 1, channels * width, channels)
    return pictures.movedim(1, -1).contiguous().as_strided(pictures.shape, strides)


@dataclass
class ClassifierLoss:
    """Mean cross-entropy + warm-up x penalty / N, in nats per example.

    Attributes:
        net: inputs to logits. Pictures come `pixel_by_pixel`, which `view` cannot flatten if they
            have several channels; `flatten` can.
        penalty: nats of the whole network; None for none.
        examples: N, the training set's size.
        warmup_steps: steps over which the penalty's weight rises to 1.
        start: step at which it begins to rise from 0.
    """

    net: nn.Module
    penalty: Callable[[], Tensor] | None
    examples: int
    warmup_steps: int = 0
    start: int = 0

    def __call__(self, batch: Sequence[Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss and its parts."""
        inputs, labels = batch
        logits = self.net(pixel_by_pixel(inputs))
        loss = functional.cross_entropy(logits, labels)
        numbers = {
            "nll": float(loss.detach()),
            "error_percent": 100 * float((logits.argmax(1) != labels).float().mean()),
        }
        if self.penalty is not None:
            cost = self.penalty()
            weight = kl_warmup(max(0, step - self.start), self.warmup_steps)
            loss = loss + weight * cost / self.examples
            numbers["penalty_nats"] = float(cost.detach())
        return loss, numbers


@torch.no_grad()
def error_percent(net: nn.Module, inputs: Tensor, labels: Tensor, batch: int = 1000) -> float:
    """Share of wrong answers in evaluation mode; the modules' modes are put back."""
    wrong = 0
    with evaluation(net):
        for first in range(0, len(inputs), batch):
            rows = slice(first, first + batch)
            wrong += int((net(inputs[rows]).argmax(1) != labels[rows]).sum())
    return 100 * wrong / len(inputs)
