"""Distributions over functions: the contract of every process.

A process is given a network's torso, which computes features of inputs, and a reference set. It is
trained by `bound(x, y, examples).loss` and `constrain()`. `predictive` gives draws of p(y | x, the
training data); `forward` is one of them, as the logits that ordinary classifiers compute.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Normal

from laconic.distributions.prediction import AnyPrediction
from laconic.errors import InputError
from laconic.functions.likelihoods import Likelihood
from laconic.functions.references import Pair, check_inputs, check_pair
from laconic.training.classification import pixel_by_pixel
from laconic.training.modes import evaluation

MOST_NUMBERS = 1 << 24
"""Numbers that one block of draws may hold: draws are made in blocks of so many together."""


@dataclass(frozen=True)
class Bound:
    """The negative variational bound of a training set, estimated from one batch, in nats.

    Attributes:
        nll_nats: -E_q[log p(y | z)] of all training examples, a scalar with gradients.
        kl_nats: KL(q || p) of all latents, a scalar with gradients.
        weighted_kl_nats: the same with the weight of `FreeNats`.
        examples: number of training examples.
        outputs: of the likelihood, for the batch, `(batch, outputs)`.
    """

    nll_nats: Tensor
    kl_nats: Tensor
    weighted_kl_nats: Tensor
    examples: int
    outputs: Tensor

    @property
    def negative_nats(self) -> Tensor:
        """Minus the bound: an upper bound on -log p(y | x) of the training set."""
        return self.nll_nats + self.kl_nats

    @property
    def loss(self) -> Tensor:
        """What is minimised, in nats per example."""
        return (self.nll_nats + self.weighted_kl_nats) / self.examples


class FunctionPosterior(nn.Module, ABC):
    """A distribution over functions, given a training set.

    Args:
        torso: computes features `(batch, ...)` of inputs `(batch, ...)`; flattened.
        references: inputs and targets of the reference set.
        likelihood: of targets.

    Raises:
        InputError: the references are empty, NaN, or of another kind than the likelihood.
    """

    reference_inputs: Tensor
    reference_targets: Tensor

    def __init__(self, torso: nn.Module, references: Pair, likelihood: Likelihood) -> None:
        super().__init__()
        x, y = references
        check_pair(x, y, "references")
        likelihood.check(y, "references")
        self.torso, self.likelihood = torso, likelihood
        self.register_buffer("reference_inputs", x.detach().clone())
        self.register_buffer("reference_targets", y.detach().clone())
        with torch.no_grad(), evaluation(torso):
            self.features_count = self.features(x[:1]).shape[1]

    @property
    def references(self) -> Pair:
        """Inputs and targets of the reference set."""
        return self.reference_inputs, self.reference_targets

    @abstractmethod
    def bound(
        self, x: Tensor, y: Tensor, examples: int, reference_inputs: Tensor | None = None
    ) -> Bound:
        """The bound, estimated from a batch. In training mode edges are relaxed.

        Args:
            x: inputs of training examples that are not references, `(batch, ...)`.
            y: their targets.
            examples: number of training examples that are not references.
            reference_inputs: in place of the process's own, for example shifted at random.

        Raises:
            InputError: NaN, or targets that the likelihood does not take.
        """

    @abstractmethod
    def outputs(self, x: Tensor, samples: int, seen: bool = False) -> Tensor:
        """Outputs of the likelihood under draws of the posterior predictive distribution.

        Args:
            x: inputs `(batch, ...)`.
            samples: number of draws, at least 1.
            seen: whether the inputs are training examples; then their latents are drawn from the
                posterior q(z | x), which knows their targets.

        Returns:
            `(samples, batch, outputs)`: logits, or means and scale parameters.

        Raises:
            InputError: NaN, or less than one draw.
        """

    def constrain(self) -> None:
        """Call this after every step of the optimiser."""

    def predictive(self, x: Tensor, samples: int, seen: bool = False) -> Distribution:
        """p(y | x, function) for functions drawn from the posterior.

        Their mixture over the first axis is the posterior predictive distribution.

        Args:
            x: inputs `(batch, ...)`.
            samples: number of draws.
            seen: see `outputs`.

        Returns:
            Over `(samples, batch)` classes or numbers; `(samples, batch, targets)` for vectors.
        """
        return self.likelihood.distribution(self.outputs(x, samples, seen))

    def predict(self, x: Tensor, samples: int) -> AnyPrediction:
        """What `laconic.predict` calls with each batch of inputs."""
        return self.likelihood.prediction(self.outputs(x, samples))

    def forward(self, x: Tensor) -> Tensor:
        """One draw of the outputs, `(batch, outputs)`."""
        return self.outputs(x, 1)[0]

    def features(self, x: Tensor) -> Tensor:
        """What the torso computes, `(batch, features)`, float32 or float64."""
        found: Tensor = self.torso(pixel_by_pixel(x))
        flat = found.flatten(1)
        return flat if flat.dtype == torch.float64 else flat.float()

    def _check_batch(self, x: Tensor, y: Tensor, examples: int) -> None:
        check_pair(x, y, "the batch")
        self.likelihood.check(y, "the batch")
        if examples < 1:
            raise InputError(f"examples: {examples}; give the size of the training set")

    def _check_draws(self, x: Tensor, samples: int) -> None:
        check_inputs(x, "x")
        if samples < 1:
            raise InputError(f"samples: {samples}; give the number of draws, 1 or more")


def in_full(x: Tensor) -> AbstractContextManager[None]:
    """Without autocast: graphs and KLs need more digits than bfloat16 has."""
    context: AbstractContextManager[None] = torch.autocast(x.device.type, enabled=False)
    return context


def normal(parameters: Tensor) -> Normal:
    """A Gaussian from means and log scales side by side, `(..., 2 dim)`."""
    mean, log_scale = parameters.chunk(2, -1)
    return Normal(mean, log_scale.exp(), validate_args=False)


def blocks(samples: int, numbers: int) -> Iterator[int]:
    """Sizes of blocks of draws, so that none holds more than `MOST_NUMBERS`.

    Args:
        samples: number of draws.
        numbers: that one draw holds.
    """
    size = max(1, MOST_NUMBERS // max(1, numbers))
    for first in range(0, samples, size):
        yield min(size, samples - first)
