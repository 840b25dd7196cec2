"""How well uncertainty finds errors and inputs of another kind.

Scores rise with uncertainty. Inputs of another kind (out of distribution, OOD) have the label 1.

Source: Geifman & El-Yaniv 2017 (risk and coverage); Hendrycks & Gimpel 2017 (detection);
conventions of torch-uncertainty.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from laconic.errors import InputError, MissingPackageError


@dataclass(frozen=True)
class Detection:
    """How well scores divide two sets of inputs, as shares from 0 to 1.

    Attributes:
        auroc: area under the receiver's operating characteristic; 0.5 by chance.
        aupr: average precision with OOD as the class to be found.
        fpr95: share of ordinary inputs above the threshold that finds 95 % of the others.
    """

    auroc: float
    aupr: float
    fpr95: float


def detect(inside: Float[Tensor, " count"], outside: Float[Tensor, " others"]) -> Detection:
    """How well scores divide ordinary inputs and others.

    Args:
        inside: scores of ordinary inputs.
        outside: scores of inputs of another kind.

    Raises:
        InputError: a set is empty.
        MissingPackageError: torchmetrics is not installed.
    """
    if not (len(inside) and len(outside)):
        raise InputError("detection needs scores of both kinds of inputs: one set is empty")
    try:
        from torchmetrics.functional.classification import (
            binary_auroc,
            binary_average_precision,
        )
    except ImportError as error:
        raise MissingPackageError("detection needs", "torchmetrics", "eval") from error
    scores = torch.cat([inside, outside]).double()
    # Ranks are all that counts; torchmetrics takes a sigmoid of scores beyond [0, 1].
    low, high = scores.amin(), scores.amax()
    scaled = (scores - low) / (high - low).clamp_min(1e-30)
    labels = torch.cat([torch.zeros(len(inside)), torch.ones(len(outside))]).long()
    found = (outside.double().sort().values, inside.double())
    threshold = found[0][int(0.05 * len(outside))]
    return Detection(
        float(binary_auroc(scaled, labels.to(scaled.device))),
        float(binary_average_precision(scaled, labels.to(scaled.device))),
        float((found[1] >= threshold).double().mean()),
    )


@dataclass(frozen=True)
class RiskCoverage:
    """Share of wrong answers if only the most certain ones are given.

    Attributes:
        coverage: share of the answers that are given, shape `(count,)`; rising to 1.
        risk: share of these that are wrong.
    """

    coverage: Tensor
    risk: Tensor

    @property
    def area(self) -> float:
        """Area under the curve (AURC): the mean risk over all coverages; lower is better."""
        return float(self.risk.mean())

    def coverage_at(self, risk: float = 0.05) -> float:
        """Largest coverage whose risk is at most this; 0 where there is none."""
        kept = self.coverage[self.risk <= risk]
        return float(kept.max()) if len(kept) else 0.0


def risk_coverage(
    uncertainty: Float[Tensor, " count"], wrong: Bool[Tensor, " count"]
) -> RiskCoverage:
    """The curve of risk over coverage.

    Args:
        uncertainty: score of every answer; the lowest are given first.
        wrong: whether the answer is wrong.

    Raises:
        InputError: there is no answer.
    """
    if not len(wrong):
        raise InputError("risk and coverage need one answer or more")
    order = uncertainty.argsort(stable=True)
    given = torch.arange(1, len(wrong) + 1, dtype=torch.float64, device=wrong.device)
    return RiskCoverage(given / len(wrong), wrong[order].double().cumsum(0) / given)


def cumulative_shares(values: Float[Tensor, " count"], grid: Float[Tensor, " points"]) -> Tensor:
    """Share of the values that are at most each point of a grid: the empirical CDF.

    Source: Louizos, figures 7 and 8, of entropies.
    """
    ordered = values.sort().values
    return torch.searchsorted(ordered, grid.to(ordered), right=True).double() / len(values)
