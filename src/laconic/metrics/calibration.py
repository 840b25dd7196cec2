"""How well predicted probabilities fit what happens: likelihood, Brier score, calibration errors.

Expected calibration error is torchmetrics', with equally wide bins of the confidence. Its adaptive
version has bins with equally many examples.

Source: Naeini et al. 2015; Nguyen & O'Connor 2015; conventions of torch-uncertainty.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from laconic.errors import MissingPackageError

BINS = 15
"""Of the calibration errors and the reliability diagram."""


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: bins of equal width over the confidence.

    Attributes:
        confidence: mean in each bin, shape `(bins,)`; 0 in an empty one.
        accuracy: share of right answers in each bin.
        count: examples in each bin.
    """

    confidence: Tensor
    accuracy: Tensor
    count: Tensor


def brier_score(probs: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]) -> float:
    """Mean squared distance between probabilities and the one-hot labels; 0 is best, 2 worst.

    Formula: mean over examples of sum over classes of (p - [class = label])².
    """
    wanted = torch.nn.functional.one_hot(labels.long(), probs.shape[1])
    return float((probs - wanted).square().sum(1).double().mean())


def expected_calibration_error(
    probs: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"], bins: int = BINS
) -> float:
    """Mean distance between confidence and accuracy over bins of equal width, by torchmetrics.

    Raises:
        MissingPackageError: torchmetrics is not installed.
    """
    try:
        from torchmetrics.functional.classification import multiclass_calibration_error
    except ImportError as error:
        raise MissingPackageError("calibration errors need", "torchmetrics", "eval") from error
    return float(multiclass_calibration_error(probs, labels, probs.shape[1], bins))


def adaptive_calibration_error(
    probs: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"], bins: int = BINS
) -> float:
    """The same over bins with equally many examples, by rising confidence.

    Formula: sum over bins of (examples in the bin / examples) |accuracy - confidence|.
    """
    confidence, right = _answers(probs, labels)
    order = confidence.argsort()
    parts = zip(
        torch.tensor_split(confidence[order], bins),
        torch.tensor_split(right[order], bins),
        strict=True,
    )
    gaps = [(own.sum() - hits.sum()).abs() for own, hits in parts]
    return float(torch.stack(gaps).sum() / len(labels))


def reliability(
    probs: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"], bins: int = BINS
) -> Reliability:
    """The reliability diagram."""
    confidence, right = _answers(probs, labels)
    place = (confidence * bins).long().clamp_max(bins - 1)
    count = torch.bincount(place, minlength=bins)
    filled = count.clamp_min(1)
    means = [torch.bincount(place, values, bins) / filled for values in (confidence, right)]
    return Reliability(means[0], means[1], count)


def interval_coverage(low: Tensor, high: Tensor, values: Tensor) -> float:
    """Share of the values that are within their intervals, ends included."""
    return float(((values >= low) & (values <= high)).double().mean())


def _answers(probs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Confidence of every answer, and 1.0 where it is right, in double precision."""
    confidence, answers = probs.double().max(1)
    return confidence, (answers == labels).double()
