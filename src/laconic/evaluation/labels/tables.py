"""Labels under the probabilities of a classifier, as symbols on a stack.

The classifier computes in integers (`laconic.networks.fixed_point`), so that both sides have the
same frequency tables on every machine.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from laconic.coding.stack.ans import Stack
from laconic.coding.stack.symbols import Categorical
from laconic.networks.fixed_point.arithmetic import exp, from_float, shift
from laconic.networks.fixed_point.conversion import to_fixed_point
from laconic.training.modes import evaluation

COUNT_BITS = 20
"""The most probable class has a frequency of 2^20, the others at least 1."""

LIMIT_NATS = 16
"""Differences of logits beyond this count as this."""

SHARPNESS_BITS = 4
"""Sharpness, the factor on all logits, counts in units of 2^-4."""

SHARPEST = 255
"""The largest sharpness: it is one byte in a file."""

BATCH = 2000
"""Examples that are computed together; the tables do not depend on it."""


@dataclass(frozen=True)
class Tables:
    """Frequencies of the classes for every example.

    Attributes:
        counts: `(examples, classes)`, integers of at least 1.
    """

    counts: NDArray[np.int64]

    def bits(self, labels: NDArray[np.int64]) -> float:
        """What labels `(examples,)` take: -sum log2 p(label)."""
        chosen = self.counts[np.arange(len(labels)), labels]
        return float(np.log2(self.counts.sum(1) / chosen).sum())

    def push(self, stack: Stack, labels: NDArray[np.int64]) -> None:
        """Put labels on a stack."""
        Categorical(self.counts, np.arange(len(self.counts))).push(stack, labels)

    def pop(self, stack: Stack) -> NDArray[np.int64]:
        """Take them off."""
        symbols = Categorical(self.counts, np.arange(len(self.counts))).pop(stack)
        return np.asarray(symbols, np.int64)


@torch.no_grad()
def integer_logits(net: nn.Module, inputs: Tensor) -> Tensor:
    """Logits of a classifier in units of 2^-16, the same on every machine.

    Args:
        net: linear layers, rectifiers and flattening, in float32.
        inputs: `(examples, ...)`, in float32.

    Returns:
        Integers in float64, `(examples, classes)`.

    Raises:
        ConfigError: its weights are too large for exact arithmetic.
    """
    with evaluation(net):
        fixed = to_fixed_point(net)
        parts = [fixed(from_float(part)) for part in torch.split(inputs, BATCH)]
    return torch.cat(parts)


def tables_of(logits: Tensor, sharpness: int) -> Tables:
    """Frequencies of the classes.

    Formula: 1 + floor(2^20 exp(sharpness 2^-4 (logit - largest logit))), in exact arithmetic.

    Args:
        logits: of `integer_logits`.
        sharpness: factor on the logits, in units of 2^-4, 1 to 255.
    """
    below = logits - logits.amax(1, keepdim=True)
    scaled = shift(below * sharpness, SHARPNESS_BITS)
    counts = torch.floor(exp(scaled, LIMIT_NATS) * 2.0**COUNT_BITS) + 1
    return Tables(counts.long().numpy())


def uniform(examples: int, classes: int) -> Tables:
    """Every class alike."""
    return Tables(np.ones((examples, classes), np.int64))


def best_sharpness(logits: Tensor, labels: NDArray[np.int64]) -> int:
    """The sharpness that labels take the fewest bits with: the sender's choice.

    Args:
        logits: of `integer_logits`.
        labels: `(examples,)`.
    """
    tried = {min(SHARPEST, round(2 ** (k / 4))) for k in range(33)}
    return min(sorted(tried), key=lambda one: tables_of(logits, one).bits(labels))
