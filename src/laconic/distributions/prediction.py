"""Predictions as several draws: of the probabilities of classes, or of the moments of values.

Each draw is the prediction of one network (or one function) from the posterior. The mean over draws
is the predictive distribution. How much the draws disagree is what the model does not know.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from laconic.errors import InputError

TINY = 1e-12
"""Added to variances before a logarithm."""


@dataclass(frozen=True)
class Prediction:
    """Probabilities of classes under several draws.

    Attributes:
        log_probs: logarithms of the probabilities, in nats; each draw's probabilities have sum 1.
    """

    log_probs: Float[Tensor, "samples batch classes"]

    @classmethod
    def from_logits(cls, logits: Float[Tensor, "samples batch classes"]) -> "Prediction":
        """A prediction from the outputs of classifiers before the softmax."""
        return cls(torch.log_softmax(logits, -1))

    @cached_property
    def probs(self) -> Float[Tensor, "samples batch classes"]:
        """Probabilities under each draw."""
        return self.log_probs.exp()

    @cached_property
    def log_mean(self) -> Float[Tensor, "batch classes"]:
        """Logarithms of `mean`, accurate for probabilities near 0, too."""
        return torch.logsumexp(self.log_probs, 0) - math.log(len(self.log_probs))

    @cached_property
    def mean(self) -> Float[Tensor, "batch classes"]:
        """Probabilities of the predictive distribution: the mean over draws."""
        return self.log_mean.exp()

    @property
    def labels(self) -> Tensor:
        """The most probable class of every example; integers, shape `(batch,)`."""
        return self.log_mean.argmax(-1)

    @property
    def confidence(self) -> Float[Tensor, " batch"]:
        """Probability of the most probable class."""
        return self.mean.amax(-1)

    @cached_property
    def entropy(self) -> Float[Tensor, " batch"]:
        """Entropy of the predictive distribution, in nats: the total uncertainty."""
        return entropy_nats(self.log_mean)

    @cached_property
    def aleatoric(self) -> Float[Tensor, " batch"]:
        """Mean entropy of the draws, in nats: what remains if the weights are known."""
        return entropy_nats(self.log_probs).mean(0)

    @property
    def mutual_information(self) -> Float[Tensor, " batch"]:
        """Information between label and weights, in nats: 0 if all draws agree.

        Formula: entropy of the mean - mean entropy.
        """
        return (self.entropy - self.aleatoric).clamp_min(0)

    @property
    def epistemic(self) -> Float[Tensor, " batch"]:
        """Another name of `mutual_information`: what more data would remove."""
        return self.mutual_information

    def log_likelihood(self, labels: Tensor) -> Float[Tensor, " batch"]:
        """Logarithm of the predictive probability of each label, in nats.

        Args:
            labels: integers, shape `(batch,)`.

        Raises:
            InputError: labels of another count, no integers, or out of range.
        """
        check_labels(labels, *self.log_mean.shape)
        return self.log_mean.gather(-1, labels.long().unsqueeze(-1)).squeeze(-1)


@dataclass(frozen=True)
class RegressionPrediction:
    """Means and noise of values under several draws: a mixture of Gaussians with equal weights.

    Attributes:
        means: under each draw.
        variances: of the noise under each draw; broadcastable to `means`.
    """

    means: Float[Tensor, "samples batch outputs"]
    variances: Float[Tensor, "#samples #batch #outputs"]

    @cached_property
    def mean(self) -> Float[Tensor, "batch outputs"]:
        """Mean of the predictive distribution."""
        return self.means.mean(0)

    @cached_property
    def aleatoric(self) -> Float[Tensor, "batch outputs"]:
        """Variance of the noise, as a mean over draws, in squared units of the values."""
        return self.variances.expand_as(self.means).mean(0)

    @cached_property
    def epistemic(self) -> Float[Tensor, "batch outputs"]:
        """Variance of the means over draws, in squared units of the values."""
        return self.means.var(0, correction=0)

    @property
    def variance(self) -> Float[Tensor, "batch outputs"]:
        """Variance of the predictive distribution: `aleatoric` + `epistemic`."""
        return self.aleatoric + self.epistemic

    @property
    def entropy(self) -> Float[Tensor, " batch"]:
        """Entropy in nats of the Gaussians with mean and variance of the outputs, summed up.

        Formula: ½ log(2 pi e variance). It is an upper bound: the mixture itself has no closed one.
        """
        return 0.5 * torch.log(2 * math.pi * math.e * (self.variance + TINY)).sum(-1)

    @property
    def mutual_information(self) -> Float[Tensor, " batch"]:
        """Nats between values and weights, if mixture and draws were Gaussian with these variances.

        Formula: ½ log((aleatoric + epistemic) / aleatoric), summed over outputs.
        """
        ratio = (self.variance + TINY) / (self.aleatoric + TINY)
        return 0.5 * torch.log(ratio).sum(-1)

    def log_likelihood(self, values: Float[Tensor, "batch outputs"]) -> Float[Tensor, " batch"]:
        """Logarithm of the predictive density, in nats, summed over outputs.

        Formula: log mean over draws of prod over outputs N(value; mean, variance).

        Raises:
            InputError: values of another shape, or NaN or infinite ones.
        """
        _check_values(values, self.mean)
        spread = self.variances.expand_as(self.means)
        error = (values - self.means).square() / spread
        each = -0.5 * (error + torch.log(2 * math.pi * spread)).sum(-1)
        return torch.logsumexp(each, 0) - math.log(len(each))

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """Central intervals that hold this share of the predictive distribution.

        Args:
            level: share, between 0 and 1.

        Returns:
            Lower and upper ends, `(batch, outputs)` each: quantiles of the mixture, by bisection.

        Raises:
            InputError: the level is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise InputError(f"level is {level}: give a share between 0 and 1")
        tail = (1 - level) / 2
        return self._quantile(tail), self._quantile(1 - tail)

    def _quantile(self, share: float) -> Tensor:
        """Where the mixture's distribution function reaches `share`, within 1e-6 deviations."""
        scales = self.variances.sqrt().expand_as(self.means)
        reach = 8 * scales
        low, high = (self.means - reach).amin(0), (self.means + reach).amax(0)
        for _ in range(40):
            middle = (low + high) / 2
            below = torch.special.ndtr((middle - self.means) / scales).mean(0) < share
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2


AnyPrediction = Prediction | RegressionPrediction


@runtime_checkable
class Predictor(Protocol):
    """A module that predicts by itself, such as an ensemble or a process over functions."""

    def predict(self, x: Tensor, samples: int) -> AnyPrediction:
        """The prediction for one batch of inputs.

        Args:
            x: inputs, `(batch, ...)`.
            samples: number of draws wanted; a module with fewer members returns as many as it has.
        """
        ...


def entropy_nats(log_probs: Float[Tensor, "*batch classes"]) -> Float[Tensor, "*batch"]:
    """Entropy in nats of distributions over classes; a probability of 0 adds nothing."""
    result: Tensor = torch.special.entr(log_probs.exp()).sum(-1)
    return result


def check_labels(labels: Tensor, count: int, classes: int) -> None:
    """Check the labels of a classifier.

    Args:
        labels: to be checked; integers, shape `(count,)`.
        count: of examples.
        classes: of the classifier.

    Raises:
        InputError: the labels are no integers, of another count, or out of range.
    """
    if labels.is_floating_point() or labels.dim() != 1:
        raise InputError(
            f"labels are {str(labels.dtype).removeprefix('torch.')} of shape "
            f"{tuple(labels.shape)}: a classifier needs integers of shape (count,). If these are "
            "values of a regression, give predict the noise of the values"
        )
    if len(labels) != count:
        raise InputError(f"there are {len(labels)} labels for {count} examples")
    if count and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise InputError(
            f"labels go from {int(labels.min())} to {int(labels.max())}, and the classifier has "
            f"{classes} classes: 0 to {classes - 1}"
        )


def _check_values(values: Tensor, mean: Tensor) -> None:
    if values.shape != mean.shape:
        raise InputError(
            f"values have shape {tuple(values.shape)}, and the prediction {tuple(mean.shape)}"
        )
    if not bool(values.isfinite().all()):
        raise InputError("some values are NaN or infinite")
