"""The loss of a process, as the training loop takes it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from laconic.functions.base import FunctionPosterior
from laconic.functions.likelihoods import Classes
from laconic.training.classification import Augment


@dataclass
class ProcessLoss:
    """The negative bound in nats per example, with the KL's weight of `FreeNats`.

    Attributes:
        process: what is trained.
        examples: number of training examples that are not references.
        augment: what is done to the references' inputs in every step; None for nothing. Those of
            the batch are changed where batches are made.
    """

    process: FunctionPosterior
    examples: int
    augment: Augment | None = None

    def __call__(self, batch: Sequence[Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss and its parts."""
        x, y = batch
        references = None
        if self.augment is not None:
            generator = torch.Generator().manual_seed(step)
            references = self.augment(self.process.reference_inputs, generator)
        bound = self.process.bound(x, y, self.examples, references)
        numbers = {
            "nll": float(bound.nll_nats.detach()) / bound.examples,
            "kl_nats": float(bound.kl_nats.detach()) / bound.examples,
        }
        if isinstance(self.process.likelihood, Classes) and len(bound.outputs) == len(y):
            wrong = bound.outputs.argmax(1) != y
            numbers["error_percent"] = 100 * float(wrong.float().mean())
        return bound.loss, numbers
