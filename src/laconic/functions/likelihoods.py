"""What is predicted: a class, or real numbers. How targets are checked, encoded and scored."""

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, Normal
from torch.nn import functional

from laconic.distributions.prediction import AnyPrediction, Prediction, RegressionPrediction
from laconic.errors import InputError


class Likelihood(ABC):
    """p(y | outputs of a network).

    Attributes:
        encoded: numbers that encode one target.
        outputs: numbers that a network has to compute for one input.
    """

    encoded: int
    outputs: int

    @abstractmethod
    def check(self, y: Tensor, name: str) -> None:
        """Raise `InputError` for targets of another kind, naming them `name`."""

    @abstractmethod
    def encode(self, y: Tensor) -> Tensor:
        """Targets as a network takes them, `(count, encoded)`."""

    @abstractmethod
    def distribution(self, outputs: Tensor) -> Distribution:
        """Over targets `(...)` of outputs `(..., outputs)`."""

    @abstractmethod
    def prediction(self, outputs: Tensor) -> AnyPrediction:
        """Of outputs under several draws, `(samples, batch, outputs)`."""

    def nll(self, outputs: Tensor, y: Tensor) -> Tensor:
        """-log p(y | outputs) in nats, one for each example."""
        nats: Tensor = -self.distribution(outputs).log_prob(y)
        return nats


@final
class Classes(Likelihood):
    """One of several classes; outputs are logits.

    Args:
        count: number of classes, at least 2.
    """

    def __init__(self, count: int) -> None:
        if count < 2:
            raise InputError(f"classes: {count}; a classifier needs at least 2")
        self.encoded = self.outputs = count

    def check(self, y: Tensor, name: str) -> None:
        """Labels are integers from 0 to classes - 1, one for each example."""
        if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
            raise InputError(
                f"{name}: targets of type {y.dtype} for a classifier; give integer labels, or "
                "references with real targets"
            )
        if y.dim() != 1:
            raise InputError(f"{name}: labels of shape {tuple(y.shape)}; give one for each example")
        if len(y) and not 0 <= int(y.min()) <= int(y.max()) < self.outputs:
            raise InputError(
                f"{name}: labels from {int(y.min())} to {int(y.max())}; with {self.outputs} "
                f"classes they are 0 to {self.outputs - 1}"
            )

    def encode(self, y: Tensor) -> Tensor:
        """One-hot."""
        return functional.one_hot(y.long(), self.encoded).float()

    def distribution(self, outputs: Tensor) -> Categorical:
        """Of the class."""
        return Categorical(logits=outputs, validate_args=False)

    def prediction(self, outputs: Tensor) -> Prediction:
        """Probabilities of the classes."""
        return Prediction.from_logits(outputs)


@final
class Reals(Likelihood):
    """Real numbers under Gaussian noise whose scale depends on the input.

    Outputs are means and, for each, a number d that gives the scale.
    Formula: scale = s + (1 - s) softplus(d), s the least scale; Louizos 10.3.1 has s = 0.1.

    Args:
        targets: numbers that are predicted for one input.
        least_scale: s, in units of the targets; from 0 to below 1.
        vector: whether targets have an axis of their own; otherwise there is one, `(count,)`.
    """

    def __init__(self, targets: int, least_scale: float, vector: bool) -> None:
        if not 0 <= least_scale < 1:
            raise InputError(f"least_scale: {least_scale:g}; give a number from 0 to below 1")
        self.encoded, self.outputs = targets, 2 * targets
        self.least_scale, self.vector = least_scale, vector

    def check(self, y: Tensor, name: str) -> None:
        """Targets are finite floating-point numbers in the shape of the references' targets."""
        if not y.is_floating_point():
            raise InputError(
                f"{name}: targets of type {y.dtype} for a regression; give floating-point numbers, "
                "or references with integer labels"
            )
        expected = (len(y), self.encoded) if self.vector else (len(y),)
        if tuple(y.shape) != expected:
            raise InputError(f"{name}: targets of shape {tuple(y.shape)} instead of {expected}")
        if not bool(y.isfinite().all()):
            raise InputError(f"{name}: targets have NaN or infinite values")

    def encode(self, y: Tensor) -> Tensor:
        """The numbers themselves."""
        return y if self.vector else y[:, None]

    def distribution(self, outputs: Tensor) -> Distribution:
        """Independent Gaussians."""
        mean, scale = self._moments(outputs)
        if not self.vector:
            return Normal(mean[..., 0], scale[..., 0], validate_args=False)
        return Independent(Normal(mean, scale, validate_args=False), 1, validate_args=False)

    def prediction(self, outputs: Tensor) -> RegressionPrediction:
        """Means and variances of the noise."""
        mean, scale = self._moments(outputs)
        return RegressionPrediction(mean, scale.square())

    def _moments(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale, `(..., targets)` each."""
        mean, d = outputs.chunk(2, -1)
        return mean, self.least_scale + (1 - self.least_scale) * functional.softplus(d)


def likelihood_of(y: Tensor, classes: int, least_scale: float) -> Likelihood:
    """The likelihood of these targets.

    Args:
        y: integer labels `(count,)`, or real targets `(count,)` or `(count, targets)`.
        classes: number of classes; 0: the largest label and one.
        least_scale: see `Reals`.

    Raises:
        InputError: targets of another kind or shape.
    """
    if y.is_floating_point():
        if classes:
            raise InputError(
                f"classes: {classes}, but the references' targets are real numbers; give integer "
                "labels for a classifier"
            )
        if y.dim() not in (1, 2):
            raise InputError(f"references: targets of shape {tuple(y.shape)}; give one axis or two")
        return Reals(1 if y.dim() == 1 else y.shape[1], least_scale, y.dim() == 2)
    return Classes(classes or (int(y.max()) + 1 if len(y) else 0))
