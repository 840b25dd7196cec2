"""Toy regressions under processes and their baselines: a folder of recipes -> figure, results.json.

A folder has recipes of kind "process", named MODEL-TASK; an exact Gaussian process, MC-dropout and
a network with Gaussian weights are drawn beside them.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from laconic.distributions.prediction import RegressionPrediction
from laconic.evaluation.functions.bands import Panels, draw_bands
from laconic.evaluation.report.figures import save_figure
from laconic.functions import GaussianProcess
from laconic.lab.recipes.classifier import Stage, training_parts
from laconic.lab.recipes.functions import ProcessRecipe
from laconic.lab.runs import complete
from laconic.lab.table import experiment_run, on_lines
from laconic.lab.tasks import Data, task
from laconic.training.classification import LabelledBatches
from laconic.training.config import read_config
from laconic.weights import Penalty, convert
from laconic.weights.prediction import predict

TASKS = {"gaps": "toy-gaps", "cubic": "toy-cubic"}
"""Tasks by the ending of a recipe's name."""

BASELINES = ("MC-dropout", "mean-field")

PROCESSES = {"fnp": "FNP", "fnp-plus": "FNP+", "np": "NP"}
"""Names in figures, by the beginning of a recipe's name."""

SAMPLES = 100
PLACES = 200
MARGIN = 0.75
"""How far the grid goes beyond the points, in their standard deviations."""

UNITS, DROPPED = 100, 0.5
"""Hidden units, and the share of them that MC-dropout drops.  Source: Louizos 10.3.1."""


@dataclass
class NoisyLoss:
    """Gaussian -log p(y | x) whose mean and log variance are outputs, and a penalty.

    Attributes:
        net: inputs to means and log variances, side by side.
        penalty: nats of the network's weights; None for none.
        examples: size of the training set.
    """

    net: nn.Module
    penalty: Penalty | None
    examples: int

    def __call__(self, batch: Sequence[Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss in nats per example, and its parts."""
        x, y = batch
        mean, log_variance = self.net(x).chunk(2, -1)
        nll = functional.gaussian_nll_loss(mean, y, log_variance.exp(), full=True)
        numbers = {"nll": float(nll.detach())}
        if self.penalty is None:
            return nll, numbers
        return nll + self.penalty() / self.examples, numbers


def baseline(name: str, data: Data, stage: Stage, grid: Tensor) -> RegressionPrediction:
    """One of `BASELINES`, trained and evaluated.

    Args:
        name: of the baseline.
        data: the task.
        stage: the training.
        grid: inputs `(places, 1)`.
    """
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Linear(1, UNITS), nn.ReLU(), nn.Linear(UNITS, 2)]
    if name == "MC-dropout":
        layers.insert(2, nn.Dropout(DROPPED))
    net = nn.Sequential(*layers)
    penalty = convert(net, name) if name == "mean-field" else None
    batches = LabelledBatches(data.inputs, data.labels, len(data.inputs))
    parts = training_parts(
        {"net": net}, NoisyLoss(net, penalty, len(data.inputs)), batches, stage, 0,
        None if penalty is None else penalty.constrain,
    )  # fmt: skip
    if penalty is not None:
        parts = replace(parts, factors=penalty.rate_factors)
    with TemporaryDirectory() as folder:
        parts.trainer(Path(folder), {}).run()
    found = predict(
        net, grid, SAMPLES, noise="outputs", dropout=name == "MC-dropout", batch=PLACES, seed=0
    )
    assert isinstance(found, RegressionPrediction)
    return found


def grid_of(data: Data) -> Tensor:
    """Inputs of the curves, `(PLACES, 1)`."""
    low, high = float(data.inputs.min()), float(data.inputs.max())
    return torch.linspace(low - MARGIN, high + MARGIN, PLACES)[:, None]


def panels(folder: Path, name: str, runs: Path) -> tuple[Panels, list[dict[str, Any]]]:
    """One toy under all models: what is drawn, and how well test points are predicted.

    Args:
        folder: of the recipes.
        name: one of `TASKS`.
        runs: folder of runs.
    """
    data = task(TASKS[name], 0)
    grid = grid_of(data)
    points = torch.cat([grid, data.test_inputs])
    found: dict[str, RegressionPrediction] = {}
    stage = Stage()
    for start, label in PROCESSES.items():
        settings = read_config(folder / f"{start}-{name}.yaml")
        settings.pop("recipe", None)
        recipe = ProcessRecipe.read({**settings, "runs": str(runs)})
        stage = recipe.train
        complete(recipe)
        made = predict(recipe.trained(), points, SAMPLES, batch=len(points), seed=0)
        assert isinstance(made, RegressionPrediction)
        found[label] = made
    for label in BASELINES:
        found[label] = baseline(label, data, stage, points)
    exact = GaussianProcess(data.inputs, data.labels).fit()
    made = predict(exact, points, SAMPLES, batch=len(points), seed=0)
    assert isinstance(made, RegressionPrediction)
    found["GP"] = made
    rows = [
        {"model": label, "task": name, **quality(tail(one), data)} for label, one in found.items()
    ]
    heads = {label: head(one) for label, one in found.items()}
    return Panels(name, (data.inputs, data.labels), grid, heads), rows


def head(prediction: RegressionPrediction) -> RegressionPrediction:
    """Of the grid."""
    spread = prediction.variances.expand_as(prediction.means)
    return RegressionPrediction(prediction.means[:, :PLACES], spread[:, :PLACES])


def tail(prediction: RegressionPrediction) -> RegressionPrediction:
    """Of the test points."""
    spread = prediction.variances.expand_as(prediction.means)
    return RegressionPrediction(prediction.means[:, PLACES:], spread[:, PLACES:])


def quality(prediction: RegressionPrediction, data: Data) -> dict[str, float]:
    """RMSE and mean log-likelihood of the test points, in units of standardised values."""
    error = (prediction.mean - data.test_labels).square().mean().sqrt()
    return {
        "rmse": float(error),
        "log_likelihood_nats": float(prediction.log_likelihood(data.test_labels).mean()),
    }


def main(folder: Path, arguments: Sequence[str] | None = None) -> None:
    """The command line of such a folder.

    Args:
        folder: of the experiment.
        arguments: of the command line; those of this process by default.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs") / "toys")
    chosen = parser.parse_args(arguments)
    started = time.time()
    sheets, rows = [], []
    for name in TASKS:
        sheet, found = panels(folder, name, chosen.runs)
        sheets.append(sheet)
        rows += found
    save_figure(draw_bands(sheets), folder / "bands")
    run = experiment_run(folder, "", started)
    title = "Toy regressions under distributions over functions"
    text = on_lines({"title": title, "run": run, "toys": rows})
    (folder / "results.json").write_text(text, encoding="utf-8")
    print(json.dumps(rows, indent=1))
