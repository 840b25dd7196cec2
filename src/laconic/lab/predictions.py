"""Predictions of a trained network for its test set and for other sets, as one file of a run."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from laconic.distributions.prediction import RegressionPrediction, check_labels
from laconic.lab.tasks import OUTLIERS, Data, outliers, task
from laconic.weights.prediction import predict

FILE = "predictions.safetensors"
"""Name of the file in a run's folder; `laconic uncertainty report` reads it."""

SHOWN = 10
"""Pictures of each end that are kept: of the most and of the least certain predictions."""


LEVEL = 0.95
"""Share of the predictive distribution that an interval holds."""


def collect(
    net: nn.Module, name: str, hold_out: int, samples: int, count: int
) -> dict[str, Tensor]:
    """What the report needs to know of predictions.

    Args:
        net: what `laconic.predict` takes.
        name: of the task.
        hold_out: training examples that take the place of the test set.
        samples: draws of every prediction.
        count: most pictures of every set.

    Returns:
        Of a classifier "log_mean" (count, classes), "entropy", "aleatoric" and "labels" (count,)
        of the test set; "certain" and "uncertain", pictures of both ends as bytes
        (10, channels, height, width), and "shown", their places; "outliers.NAME.entropy" of every
        other set of the task. Of a regression "values", "mean", "low" and "high" (ends of 95 %
        intervals), (count, targets) each, "log_likelihood" (count,), and "inputs" (count, 1) if an
        input is one number.

    Raises:
        InputError: labels are out of range.
    """
    data = task(name, hold_out)
    x, labels = data.test_inputs[:count], data.test_labels[:count]
    found = predict(net, x, samples, seed=0)
    if isinstance(found, RegressionPrediction):
        return _of_regression(found, x, labels)
    check_labels(labels, *found.log_mean.shape)
    order = found.entropy.argsort()
    tensors = {
        "log_mean": found.log_mean,
        "entropy": found.entropy,
        "aleatoric": found.aleatoric,
        "labels": labels,
        "certain": _pictures(data, x[order[:SHOWN]]),
        "uncertain": _pictures(data, x[order[-SHOWN:].flip(0)]),
        "shown": torch.cat([order[:SHOWN], order[-SHOWN:].flip(0)]),
    }
    for other in OUTLIERS.get(name, ()):
        outside = predict(net, outliers(name, other, count), samples, seed=0)
        tensors[f"outliers.{other}.entropy"] = outside.entropy
    return tensors


def _of_regression(found: RegressionPrediction, x: Tensor, values: Tensor) -> dict[str, Tensor]:
    low, high = found.interval(LEVEL)
    tensors = {
        "values": values,
        "mean": found.mean,
        "low": low,
        "high": high,
        "log_likelihood": found.log_likelihood(values),
    }
    return tensors | ({"inputs": x} if x.shape[1:] == (1,) else {})


def pack(tensors: dict[str, Tensor], title: str, facts: dict[str, Any]) -> bytes:
    """The file's bytes.

    Args:
        tensors: of `collect`.
        title: of the run in the report.
        facts: shown beside it, such as method and seed.
    """
    owned = {name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}
    return save(owned, {"title": title, **{key: str(value) for key, value in facts.items()}})


def predictions_path(folder: Path) -> Path:
    """Where a run has its predictions."""
    return folder / FILE


def _pictures(data: Data, x: Tensor) -> Tensor:
    """Inputs as bytes of pictures: as they were before the task's channels were normalised."""
    if data.scale is not None:
        x = x * data.scale.view(-1, 1, 1)
    if data.mean is not None:
        x = x + data.mean.view(-1, 1, 1)
    return (x * 255).round().clamp(0, 255).byte()
