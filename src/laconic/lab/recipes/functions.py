"""Recipes of distributions over functions: the FNP, FNP+ and NP, for classes or real numbers.

```yaml
recipe: process
name: fnp-plus
process: fnp
network: lenet-5-caffe                  # its last linear layer is left out
data: mnist
references: 300
settings: {plus: true}
train: {epochs: 10, batch: 300, rate: 1.0e-3, precision: bf16-mixed}
```

Source: Louizos 5.4 and 10.3.1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from laconic.distributions.prediction import Prediction
from laconic.errors import ConfigError
from laconic.functions import FNP, NP, PROCESSES, ProcessLoss, choose_references, load, save
from laconic.functions.fnp import FNPSettings
from laconic.functions.neural_process import NPSettings
from laconic.lab.contract import Choice, Findings, Parts, StageProgress
from laconic.lab.recipes.classifier import (
    NamedRecipe,
    Stage,
    settle,
    training_parts,
)
from laconic.lab.tasks import NETWORKS, task
from laconic.networks.torso import torso_of
from laconic.training.classification import LabelledBatches
from laconic.training.config import build
from laconic.training.loop import Trainer
from laconic.weights.prediction import predict

BATCH = 1000
"""Examples of which predictions are made together: each batch computes the references, too."""

FILE = "process.safetensors"
"""Name of the trained process in a run's folder."""

SETTINGS = {"fnp": FNPSettings, "np": NPSettings}
"""Settings of a process, by its name."""


@final
@dataclass(frozen=True)
class ProcessRecipe(NamedRecipe):
    """A distribution over functions that classifies.

    Attributes:
        name: of the row in tables.
        process: one of `laconic.functions.PROCESSES`.
        network: one of `laconic.lab.tasks.NETWORKS`; its torso computes the features.
        data: one of `laconic.lab.tasks.TASKS`.
        references: points of the training set that are the reference set, drawn by `seed`.
        settings: of the process.
        train: the training, on the other points.
        samples: draws of every prediction.
        seed: of the first weights, the reference set, the order of the data and the noise.
        hold_out: training examples at the end that are tested on in place of the test set.
        folder: the run's folder; by default NAME/SEED in `runs`.
        runs: folder of runs without a folder of their own.
    """

    kind: ClassVar[str] = "process"
    result_format: ClassVar[str] = "laconic process 1"

    name: str
    process: str = "fnp"
    network: str = "lenet-5-caffe"
    data: str = "mnist"
    references: int = 300
    settings: Mapping[str, Any] = field(default_factory=dict)
    train: Stage = field(default_factory=Stage)
    samples: int = 100
    seed: int = 0
    hold_out: int = 0
    folder: str = ""
    runs: str = "runs/functions"

    def training(self) -> dict[str, Any]:
        """Process, network, data, references, training, seed."""
        shared = self.task_settings()
        if self.samples < 1:
            raise ConfigError(f"samples: {self.samples}; give the number of draws, 1 or more")
        return {
            **shared,
            "process": Choice(self.process, self._settings()),
            "references": self.references,
        }

    def measuring(self) -> dict[str, Any]:
        """Draws of a prediction."""
        return {"samples": self.samples}

    def assemble(self, fresh: bool) -> Parts:
        """The process, with references drawn from the training set, and its training."""
        data = task(self.data, self.hold_out)
        torch.manual_seed(self.seed)
        # Drawn from batches of all examples; those of the process are for predictions then.
        anew = self._settings().random_references
        references, (x, y) = choose_references(
            data.inputs, data.labels, self.references, self.seed, 0 if anew else 1
        )
        if anew:
            x, y = data.inputs, data.labels
        process = self._made(references, data.labels)
        batches = LabelledBatches(x, y, self.train.batch, self.seed, data.augment)
        return training_parts(
            {"net": process},
            ProcessLoss(process, len(x), data.augment),
            batches,
            self.train,
            self.seed,
            process.constrain,
        )

    def evaluate(self, trainer: Trainer, watch: StageProgress) -> Findings:
        """Error and likelihood on test data; the process is written to `process.safetensors`."""
        data = task(self.data, self.hold_out)
        process = settle(trainer, self.train, data)
        assert isinstance(process, FNP | NP)
        save(process.eval(), self.place / FILE)
        return Findings(
            {
                "name": self.name,
                "process": self.process,
                "seed": self.seed,
                **measure(process, data.test_inputs, data.test_labels, self.samples),
                "train_seconds": trainer.seconds,
            }
        )

    def trained(self) -> FNP | NP:
        """The process that the run ended with, in evaluation mode."""
        return load(self.place / FILE, torso_of(NETWORKS[self.network]()))

    def _settings(self) -> FNPSettings | NPSettings:
        if self.process not in SETTINGS:
            raise ConfigError(f"process: '{self.process}' is not one of {', '.join(SETTINGS)}")
        return build(SETTINGS[self.process], self.settings, "settings")

    def _made(self, references: tuple[Tensor, Tensor], labels: Tensor) -> FNP | NP:
        """A new process; a setting `classes` counts more than what the data have."""
        torso = torso_of(NETWORKS[self.network]())
        settings = dict(self.settings)
        if not labels.is_floating_point():
            settings = {"classes": int(labels.max()) + 1, **settings}
        return PROCESSES[self.process](torso, references, **settings)


def measure(process: FNP | NP, x: Tensor, y: Tensor, samples: int) -> dict[str, float]:
    """Mean -log p(y | x) in nats of the predictive distribution, and its error.

    The error is in percent for classes; for real numbers it is the root of the mean square.
    """
    prediction = predict(process, x, samples, batch=BATCH)
    found = {
        "nll_nats": -float(prediction.log_likelihood(y).double().mean()),
        "entropy_nats": float(prediction.entropy.double().mean()),
    }
    if isinstance(prediction, Prediction):
        wrong = (prediction.labels != y).double().mean()
        return {"error_percent": 100 * float(wrong), **found}
    return {"rmse": float((prediction.mean - y).square().mean().sqrt()), **found}
