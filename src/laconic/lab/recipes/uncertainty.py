"""Recipes of classifiers with predictive uncertainty: train under a posterior, predict, measure.

```yaml
recipe: uncertainty
name: lenet-mnf
network: lenet-5-caffe
method: mnf                       # of laconic.weights.METHODS, or "map", or "ensemble"
data: mnist
settings: {largest_scale: 0.5}
train: {epochs: 20, rate: 1.0e-3}
```

Source: Louizos 3.4 and 4.4.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

import torch
from torch import nn

from laconic.distributions.prediction import check_labels
from laconic.errors import ConfigError
from laconic.lab.contract import Choice, Findings, Parts, StageProgress
from laconic.lab.predictions import FILE, collect, pack
from laconic.lab.recipes.classifier import (
    PLAIN,
    NamedRecipe,
    Stage,
    settle,
    stage_parts,
    training_parts,
)
from laconic.lab.tasks import NETWORKS, Data, task
from laconic.training import checkpoints
from laconic.training.adversarial import EnsembleLoss
from laconic.training.classification import LabelledBatches
from laconic.training.config import build
from laconic.training.loop import Trainer
from laconic.weights import METHODS, convert, load_posterior, save_posterior
from laconic.weights.ensembles import Ensemble

POSTERIOR = "posterior.safetensors"
"""Name of the trained posterior in a run's folder."""

ORDINARY = ("map", "ensemble")
"""Methods without posteriors of weights: one network or several."""


@final
@dataclass(frozen=True)
class UncertaintyRecipe(NamedRecipe):
    """A classifier that is trained under a posterior of its weights, and what it predicts.

    Attributes:
        name: of the row in tables.
        network: one of `laconic.lab.tasks.NETWORKS`.
        method: one of `laconic.weights.METHODS`, "map" for one ordinary network, or "ensemble".
        data: one of `laconic.lab.tasks.TASKS`.
        settings: of the method.
        members: of the ensemble.
        adversarial: epsilon of the ensemble's adversarial examples, in units of the inputs; 0 for
            none.
        decay: of "map" and "ensemble": precision of the Gaussian prior of the weights.
        train: the training.
        samples: draws of every prediction.
        count: most pictures of every set that predictions are made of.
        seed: of the first weights, the order of the data and the noise.
        hold_out: training examples at the end that are tested on in place of the test set.
        folder: the run's folder; by default NAME/SEED in `runs`.
        runs: folder of runs without a folder of their own.
    """

    kind: ClassVar[str] = "uncertainty"
    result_format: ClassVar[str] = "laconic uncertainty 1"

    name: str
    network: str
    method: str
    data: str = "mnist"
    settings: Mapping[str, Any] = field(default_factory=dict)
    members: int = 5
    adversarial: float = 0.0
    decay: float = 0.0
    train: Stage = field(default_factory=Stage)
    samples: int = 100
    count: int = 10_000
    seed: int = 0
    hold_out: int = 0
    folder: str = ""
    runs: str = "runs/uncertainty"

    def training(self) -> dict[str, Any]:
        """Network, data, method, training, seed."""
        shared = self.task_settings()
        if self.method not in (*METHODS, *ORDINARY):
            names = ", ".join((*METHODS, *ORDINARY))
            raise ConfigError(f"method: '{self.method}' is not one of {names}")
        if self.method in ORDINARY and self.settings:
            raise ConfigError(f"settings: '{self.method}' has none")
        for key in ("members", "samples", "count"):
            if getattr(self, key) < 1:
                raise ConfigError(f"{key}: {getattr(self, key)}; give a number above 0")
        if min(self.adversarial, self.decay) < 0:
            raise ConfigError("adversarial and decay must be 0 or more")
        own = METHODS.get(self.method)
        settings = None if own is None else build(own, self.settings, "settings")
        return {
            **shared,
            "method": Choice(self.method, settings),
            **self.unusual("members", "adversarial", "decay"),
        }

    def measuring(self) -> dict[str, Any]:
        """Draws and pictures of the predictions."""
        return {"samples": self.samples, "count": self.count}

    def assemble(self, fresh: bool) -> Parts:
        """The network, converted, and its training."""
        data = task(self.data, self.hold_out)
        torch.manual_seed(self.seed)
        net = self._network()
        _check_classes(net, data, self.data)
        if self.method not in ORDINARY:
            penalty = convert(net, self.method, **self.settings)
            return stage_parts(net, penalty, self.train, data, self.seed)
        assert isinstance(net, Ensemble)
        examples = len(data.inputs)

        def decay() -> torch.Tensor:
            squares = [p.square().sum() for p in net.parameters()]
            return self.decay * torch.stack(squares).sum() / (2 * examples * len(net.members))

        batches = LabelledBatches(
            data.inputs, data.labels, self.train.batch, self.seed, data.augment
        )
        loss = EnsembleLoss(net.logits, self.adversarial, decay if self.decay else None)
        return training_parts({"net": net}, loss, batches, self.train, self.seed)

    def evaluate(self, trainer: Trainer, watch: StageProgress) -> Findings:
        """Error and entropies; the posterior and the predictions are files of the run."""
        data = task(self.data, self.hold_out)
        net = settle(trainer, self.train, data).eval()
        if self.method in ORDINARY:
            checkpoints.save(self.place / PLAIN, net.state_dict(), {})
        else:
            save_posterior(net, self.place / POSTERIOR)
        tensors = collect(net, self.data, self.hold_out, self.samples, self.count)
        labels, log_mean = tensors["labels"], tensors["log_mean"]
        facts = {
            "method": self.method, "network": self.network, "data": self.data, "seed": self.seed,
            "epochs": self.train.epochs, "samples": self.samples,
        }  # fmt: skip
        likelihood = log_mean.gather(1, labels.long()[:, None]).double().mean()
        row = {
            **facts,
            "name": self.name,
            "error_percent": 100 * float((log_mean.argmax(1) != labels).double().mean()),
            "nll_nats": -float(likelihood),
            "entropy_nats": float(tensors["entropy"].double().mean()),
            "train_seconds": trainer.seconds,
        }
        return Findings(row, files={FILE: pack(tensors, self.name, facts)})

    def trained(self) -> nn.Module:
        """The network that the run ended with, in evaluation mode."""
        net = self._network()
        if self.method in ORDINARY:
            net.load_state_dict(checkpoints.load(self.place / PLAIN)[0])
        else:
            load_posterior(self.place / POSTERIOR, net)
        return net.eval()

    def _network(self) -> nn.Module:
        """A network with its first weights, not converted; several for an ensemble."""
        make = NETWORKS[self.network]
        if self.method not in ORDINARY:
            return make()
        return Ensemble(make() for _ in range(self.members if self.method == "ensemble" else 1))


@torch.no_grad()
def _check_classes(net: nn.Module, data: Data, name: str) -> None:
    """Refuse a task whose targets are no classes of this network."""
    if data.labels.is_floating_point():
        raise ConfigError(
            f"data: the targets of '{name}' are real numbers, and a recipe of kind 'uncertainty' "
            "trains a classifier: give a classification, such as mnist"
        )
    classes = net(data.inputs[:2]).shape[-1]
    for labels in (data.labels, data.test_labels):
        check_labels(labels, len(labels), classes)
