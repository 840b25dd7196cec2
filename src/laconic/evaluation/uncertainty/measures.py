"""The measures of one run's predictions, from the file that the run wrote."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open
from torch import Tensor

from laconic.errors import InputError
from laconic.metrics.calibration import (
    adaptive_calibration_error,
    brier_score,
    expected_calibration_error,
    interval_coverage,
)
from laconic.metrics.out_of_distribution import Detection, detect, risk_coverage

FILE: Final = "predictions.safetensors"
"""Name of the file in a run's folder."""

NEEDED: Final = ("log_mean", "entropy", "aleatoric", "labels")
NEEDED_OF_REGRESSION: Final = ("values", "mean", "low", "high", "log_likelihood")
OUTLIERS: Final = "outliers."
RISK: Final = 0.05


@dataclass(frozen=True)
class Run:
    """Predictions of a run.

    Attributes:
        title: of the run.
        facts: method, network, seed and the like, by name.
        tensors: see `laconic.lab.predictions.collect`.
    """

    title: str
    facts: Mapping[str, str]
    tensors: Mapping[str, Tensor]

    @property
    def is_regression(self) -> bool:
        """Whether values were predicted, and not classes."""
        return "values" in self.tensors

    @property
    def probs(self) -> Tensor:
        """Probabilities of the predictive distribution, `(count, classes)`."""
        return self.tensors["log_mean"].exp()

    @property
    def labels(self) -> Tensor:
        """Of the test set."""
        return self.tensors["labels"].long()

    @property
    def wrong(self) -> Tensor:
        """Which answers are wrong."""
        return self.tensors["log_mean"].argmax(1) != self.labels

    @property
    def outliers(self) -> Mapping[str, Tensor]:
        """Entropies of the predictions for other sets, by the set's name."""
        return {
            name.split(".")[1]: tensor
            for name, tensor in self.tensors.items()
            if name.startswith(OUTLIERS) and name.endswith(".entropy")
        }


@dataclass(frozen=True)
class Measures:
    """What is measured of a run; entropies and likelihoods in nats, shares from 0 to 1.

    Attributes:
        error: share of wrong answers.
        nll: mean negative log-likelihood.
        brier: Brier score.
        ece: expected calibration error.
        adaptive_ece: the same with equally many examples in every bin.
        aurc: area under the curve of risk over coverage.
        coverage: largest coverage with a risk of at most 5 %.
        entropy: mean of the test set's.
        epistemic: mean mutual information of label and weights.
        outliers: mean entropy, and how well entropy detects it, of every other set by name.
    """

    error: float
    nll: float
    brier: float
    ece: float
    adaptive_ece: float
    aurc: float
    coverage: float
    entropy: float
    epistemic: float
    outliers: Mapping[str, tuple[float, Detection]]

    @property
    def auroc(self) -> float | None:
        """Mean over all other sets; None where there are none."""
        found = [detection.auroc for _, detection in self.outliers.values()]
        return statistics.fmean(found) if found else None


def read_run(folder: Path) -> Run:
    """The predictions of a run.

    Args:
        folder: of the run.

    Raises:
        InputError: there are none, or the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        raise InputError(
            f"{folder} has no {FILE}: train a recipe of kind 'uncertainty', or write it with "
            "`laconic uncertainty predict RECIPE.yaml`"
        )
    try:
        with safe_open(path, framework="pt") as file:
            facts = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is damaged ({error}): remove it and predict anew") from error
    needed = NEEDED_OF_REGRESSION if "values" in tensors else NEEDED
    missing = [name for name in needed if name not in tensors]
    if missing:
        raise InputError(f"{path} has no tensor {missing[0]!r}: it holds no predictions")
    if not all(bool(t.isfinite().all()) for t in tensors.values() if t.is_floating_point()):
        raise InputError(f"{path} has NaN or infinite values: the run's network is not usable")
    return Run(facts.pop("title", folder.name), facts, tensors)


def measure(run: Run) -> Measures:
    """All measures of a run.

    Raises:
        MissingPackageError: torchmetrics is not installed.
    """
    log_mean, labels, entropy = run.tensors["log_mean"], run.labels, run.tensors["entropy"]
    curve = risk_coverage(entropy, run.wrong)
    return Measures(
        error=float(run.wrong.double().mean()),
        nll=-float(log_mean.gather(1, labels[:, None]).double().mean()),
        brier=brier_score(run.probs, labels),
        ece=expected_calibration_error(run.probs.clamp(0, 1), labels),
        adaptive_ece=adaptive_calibration_error(run.probs, labels),
        aurc=curve.area,
        coverage=curve.coverage_at(RISK),
        entropy=float(entropy.double().mean()),
        epistemic=float((entropy - run.tensors["aleatoric"]).clamp_min(0).double().mean()),
        outliers={
            name: (float(other.double().mean()), detect(entropy, other))
            for name, other in run.outliers.items()
        },
    )


@dataclass(frozen=True)
class RegressionMeasures:
    """What is measured of a regression.

    Attributes:
        rmse: root of the mean square error, in units of the values.
        log_likelihood: mean log density of the values, in nats.
        coverage: share of the values within their 95 % intervals.
        width: mean width of these intervals, in units of the values.
    """

    rmse: float
    log_likelihood: float
    coverage: float
    width: float


def measure_regression(run: Run) -> RegressionMeasures:
    """All measures of a regression."""
    values, mean, low, high = (run.tensors[name] for name in NEEDED_OF_REGRESSION[:4])
    return RegressionMeasures(
        rmse=float((mean - values).double().square().mean().sqrt()),
        log_likelihood=float(run.tensors["log_likelihood"].double().mean()),
        coverage=interval_coverage(low, high, values),
        width=float((high - low).double().mean()),
    )
