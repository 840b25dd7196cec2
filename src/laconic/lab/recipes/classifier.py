"""Recipes of ordinary classifiers, which network compression starts from.

```yaml
recipe: classifier
network: lenet-300-100
data: mnist
train: {epochs: 10, rate: 1.0e-3}
```
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from torch import nn

from laconic.errors import ConfigError
from laconic.lab.contract import Findings, Parts, Recipe, StageProgress, digest, written
from laconic.lab.tasks import NETWORKS, TASKS, Data, task
from laconic.training import checkpoints
from laconic.training.classification import ClassifierLoss, LabelledBatches, error_percent
from laconic.training.loop import CHECKPOINT, LoopConfig, Trainer
from laconic.training.loss import Loss
from laconic.training.schedules import LearningRate
from laconic.weights import Penalty
from laconic.weights.batch_norm import reestimate

PLAIN = "plain.safetensors"
"""Name of the file with the weights of an ordinary network, in a run's folder."""

LOG_ROWS = 500
"""Most rows of a log, of runs with more passes; others have a row for every pass."""

STATISTICS = 10_000
"""Training examples that batch norms take their final statistics from."""


@dataclass(frozen=True)
class Stage:
    """One training run of a classifier.

    Attributes:
        epochs: passes over the training set.
        batch: examples in a batch.
        rate: learning rate of Adam at the start.
        cooldown: last share of the run over which the rate falls to zero.
        penalty_start: epochs before the penalty begins to count.
        penalty_warmup: epochs over which its weight rises to 1.
        clip: norm that gradients are clipped to.
        average: decay of the moving average of the weights that the run ends with; 0 for the last
            weights.
        precision: of the training alone: "32-true" or "bf16-mixed", as Fabric names them.
    """

    epochs: int = 10
    batch: int = 128
    rate: float = 1e-3
    cooldown: float = 1.0
    penalty_start: float = 0.0
    penalty_warmup: float = 0.0
    clip: float = 1e6
    average: float = 0.0
    precision: str = "32-true"


FIRST_FIELDS = (
    "epochs", "batch", "rate", "cooldown", "penalty_start", "penalty_warmup", "clip", "average",
    "precision",
)  # fmt: skip
"""Fields of a stage when runs were identified by its `repr`."""


def first_repr(stage: Stage) -> str:
    """A stage as checkpoints without settings name it."""
    shown = ", ".join(f"{name}={getattr(stage, name)!r}" for name in FIRST_FIELDS)
    return f"Stage({shown})"


class NamedRecipe(Recipe):
    """A recipe that trains a network on a task; its runs have a row in a table.

    Subclasses are dataclasses with these fields.
    """

    name: str
    network: str
    data: str
    train: Stage
    seed: int
    hold_out: int
    folder: str
    runs: str

    @property
    def place(self) -> Path:
        """The run's folder."""
        if self.folder:
            return Path(self.folder)
        return shared_root(self.runs, self.hold_out) / self.name / str(self.seed)

    def task_settings(self) -> dict[str, Any]:
        """Network, data, training, seed: settings that the weights of each of them depend on.

        Raises:
            ConfigError: an unknown network or task.
        """
        check_names(self.network, self.data)
        return {
            "network": self.network,
            "data": self.data,
            "train": self.train,
            "seed": self.seed,
            **self.unusual("hold_out"),
        }


@final
@dataclass(frozen=True)
class ClassifierRecipe(Recipe):
    """A network that is trained to classify.

    Attributes:
        network: one of `laconic.lab.tasks.NETWORKS`.
        data: one of `laconic.lab.tasks.TASKS`.
        train: the training.
        seed: of the first weights, the order of the data and the noise.
        hold_out: training examples at the end that are tested on in place of the test set.
        folder: the run's folder; by default in `runs`, named after network and settings.
        runs: folder of runs without a folder of their own.
    """

    kind: ClassVar[str] = "classifier"
    result_format: ClassVar[str] = "laconic classifier 1"

    network: str
    data: str = "mnist"
    train: Stage = Stage()
    seed: int = 0
    hold_out: int = 0
    folder: str = ""
    runs: str = "runs/networks"

    @property
    def place(self) -> Path:
        """The run's folder."""
        if self.folder:
            return Path(self.folder)
        root = shared_root(self.runs, self.hold_out) / "pretrained"
        first = hashlib.sha256(self._first_identity().encode()).hexdigest()[:8]
        old, new = (f"{self.network}-{mark}-{self.seed}" for mark in (first, digest(self)[:8]))
        return root / (old if (root / old / CHECKPOINT).exists() else new)

    def _first_identity(self) -> str:
        """What checkpoints without settings hold."""
        return f"({self.network!r}, {self.data!r}, {first_repr(self.train)})"

    def training(self) -> dict[str, Any]:
        """Network, data, training, seed."""
        check_names(self.network, self.data)
        return {
            "network": self.network,
            "data": self.data,
            "train": self.train,
            "seed": self.seed,
            **self.unusual("hold_out"),
        }

    def measuring(self) -> dict[str, Any]:
        """Nothing but the errors is measured."""
        return {"measure": "errors"}

    def assemble(self, fresh: bool) -> Parts:
        """The network and its training."""
        data = task(self.data, self.hold_out)
        torch.manual_seed(self.seed)
        return stage_parts(NETWORKS[self.network](), None, self.train, data, self.seed)

    def evaluate(self, trainer: Trainer, watch: StageProgress) -> Findings:
        """Errors on training and test data; the weights are written to `plain.safetensors`."""
        data = task(self.data, self.hold_out)
        net = settle(trainer, self.train, data)
        checkpoints.save(self.place / PLAIN, net.state_dict(), {})
        return Findings(
            {
                "network": self.network,
                "seed": self.seed,
                "training_error_percent": error_percent(net, data.inputs, data.labels),
                "error_percent": error_percent(net, data.test_inputs, data.test_labels),
                "train_seconds": trainer.seconds,
            }
        )

    def recorded(self, meta: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The settings of a checkpoint or a result."""
        return recorded(meta, self._first_identity(), self.training())

    def trained(self) -> nn.Module:
        """The network with the weights that the run ended with."""
        net = NETWORKS[self.network]()
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        net.load_state_dict(checkpoints.load(self.place / PLAIN)[0])
        return net


def recorded(
    meta: Mapping[str, Any], first_identity: str, sections: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """The settings in a checkpoint, which once were one text without the seed (`made_by`).

    Args:
        meta: of the checkpoint.
        first_identity: the text that this recipe had.
        sections: of the recipe.
    """
    if "made_by" not in meta:
        found: Mapping[str, Any] | None = meta.get("settings")
        return found
    same = meta["made_by"] == first_identity
    before: Mapping[str, Any] = written(sections) if same else {"recipe": meta["made_by"]}
    return before


def shared_root(runs: str, hold_out: int) -> Path:
    """The folder of runs; those that hold examples out have one of their own."""
    return Path(runs) / f"without-{hold_out}" if hold_out else Path(runs)


def check_names(network: str, data: str) -> None:
    """Raise `ConfigError` for a network or a task that does not exist."""
    if network not in NETWORKS:
        raise ConfigError(f"network: '{network}' is not one of {', '.join(NETWORKS)}")
    if data not in TASKS:
        raise ConfigError(f"data: '{data}' is not one of {', '.join(TASKS)}")


def stage_parts(
    net: nn.Module, penalty: Penalty | None, stage: Stage, data: Data, seed: int
) -> Parts:
    """A classifier, or a converted one with its penalty, as the training loop takes it."""
    batches = LabelledBatches(data.inputs, data.labels, stage.batch, seed, data.augment)
    loss = ClassifierLoss(
        net,
        penalty,
        len(data.inputs),
        round(stage.penalty_warmup * batches.steps),
        round(stage.penalty_start * batches.steps),
    )
    if penalty is None:
        return training_parts({"net": net}, loss, batches, stage, seed)
    parts = {"net": net, "prior": penalty.prior}
    made = training_parts(parts, loss, batches, stage, seed, penalty.constrain)
    return replace(made, factors=penalty.rate_factors)


def training_parts(
    modules: Mapping[str, nn.Module],
    loss: Loss,
    batches: LabelledBatches,
    stage: Stage,
    seed: int,
    after_step: Callable[[], None] | None = None,
) -> Parts:
    """Modules and a loss, as the training loop takes them.

    Args:
        modules: what is trained; "net" is the network itself.
        loss: what is minimised.
        batches: the data.
        stage: the training.
        seed: of the noise.
        after_step: called after every change of the weights.
    """
    steps = stage.epochs * batches.steps
    cooldown = max(1, round(stage.cooldown * steps))
    rate = LearningRate(
        peak=stage.rate,
        warmup_steps=1,
        decay_rate=1.0,
        cooldown_start=steps - cooldown,
        cooldown_steps=cooldown,
    )
    loop = LoopConfig(
        steps=steps,
        precision=stage.precision,
        average_decay=stage.average,
        clip_norm=stage.clip,
        seed=seed,
        slow_prefix="",
        log_steps=max(batches.steps, steps // LOG_ROWS),
    )
    return Parts(nn.ModuleDict(modules), loss, batches, rate, loop, after_step=after_step)


@torch.no_grad()
def settle(trainer: Trainer, stage: Stage, data: Data) -> nn.Module:
    """The network of a finished stage: averaged weights, if the stage has them, and statistics.

    Returns:
        The network that the loop trained, in training mode, changed in place.
    """
    if stage.average:
        pairs = zip(trainer.model.parameters(), trainer.average.parameters(), strict=True)
        for last, average in pairs:
            last.copy_(average)
    if isinstance(trainer.loss, ClassifierLoss) and trainer.loss.penalty is not None:
        assert isinstance(trainer.loss.penalty, Penalty)
        trainer.loss.penalty.quantise()
    net: nn.Module = trainer.model.get_submodule("net")
    take_statistics(net, data, stage)
    return net


def take_statistics(net: nn.Module, data: Data, stage: Stage) -> int:
    """Give batch norms statistics of the weights as they are; returns how many there are."""
    return reestimate(net, torch.split(data.inputs[:STATISTICS], stage.batch))
