"""Recipes of network compression: train, convert, train, shrink, measure.

```yaml
recipe: weights
name: lenet-5-caffe-bc-gnj
network: lenet-5-caffe
method: bc-gnj
pretrain: {epochs: 10, rate: 1.0e-3}              # the ordinary network, shared by recipes
train: {epochs: 40, rate: 1.0e-3, cooldown: 0.4}  # the converted one
```

Three units that must never be mixed are always reported by name: weights that are not zero, bits by
the accounting of Deep Compression (CSR and Huffman), and bytes of the .lac file.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor, nn

from laconic.codecs.network.file import NetworkFile
from laconic.codecs.network.loading import expand_into
from laconic.codecs.network.miracle import count_blocks, shrink_drawn
from laconic.codecs.network.posterior import is_drawn, shrink_posterior, steps_of
from laconic.coding.tensors.sparse import count_sparse
from laconic.errors import ConfigError
from laconic.evaluation.networks.pruning import OperationsLog, clusters, read_operations
from laconic.lab.contract import Choice, Findings, Parts, StageProgress, StepProgress
from laconic.lab.recipes.classifier import (
    PLAIN,
    ClassifierRecipe,
    NamedRecipe,
    Stage,
    first_repr,
    recorded,
    settle,
    stage_parts,
    take_statistics,
)
from laconic.lab.tasks import NETWORKS, Data, task
from laconic.progress import silent
from laconic.training import checkpoints
from laconic.training.classification import ClassifierLoss, error_percent
from laconic.training.config import build
from laconic.training.loop import CHECKPOINT, Trainer
from laconic.training.schedules import LearningRate
from laconic.weights import METHODS, Penalty, convert, keep_largest, plain, smaller
from laconic.weights.integer.bit_operations import bit_operations

FILE = "net.lac"
"""Name of the compressed network in a run's folder."""

GAP_BITS = {2: 5, 4: 8}
"""Of the accounting, by axes of the weight: linear and convolutional layers."""

INPUT_BITS = 8
"""Of a pixel, where bit operations are counted."""

STEP_SCALES = tuple(2 ** (k / 2) for k in range(8, -17, -1))
"""Factors on the posteriors' steps, tried from the coarsest on."""


@final
@dataclass(frozen=True)
class WeightsRecipe(NamedRecipe):
    """A network that is trained, converted, trained again and compressed.

    Attributes:
        name: of the row in tables.
        network: one of `laconic.lab.tasks.NETWORKS`.
        method: one of `laconic.weights.METHODS`.
        data: one of `laconic.lab.tasks.TASKS`.
        source: the published figure beside ours, in words.
        settings: of the method.
        pretrain: training of the ordinary network, which recipes with the same settings share.
        outputs: how many outputs layers keep, by name, if the network is made smaller before
            conversion; ratios count the whole network all the same.
        train: training after conversion.
        allowed_points: percentage points by which coding may raise the training error. Of the
            factors `step_scales` the first that keeps to it is taken, or the last; the test set
            is not looked at.
        step_scales: factors on the posteriors' steps, from the coarsest on; just 1 for methods
            whose grid is what was trained.
        watch: whether expected operations are written down after every pass.
        block_bytes: for draws: the size of a block of weights.
        refine_steps: for draws: steps in which the rest is trained after each block.
        refine_rate: learning rate of these before the first block; it falls to zero by the last.
        seed: of the first weights, the order of the data and the noise.
        hold_out: training examples at the end that are tested on in place of the test set.
        folder: the run's folder; by default NAME/SEED in `runs`.
        runs: folder of runs without a folder of their own, and of the ordinary networks.
    """

    kind: ClassVar[str] = "weights"
    result_format: ClassVar[str] = "laconic network 1"

    name: str
    network: str
    method: str
    data: str = "mnist"
    source: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    pretrain: Stage = field(default_factory=Stage)
    outputs: Mapping[str, int] = field(default_factory=dict)
    train: Stage = field(default_factory=Stage)
    allowed_points: float = 0.05
    step_scales: Sequence[float] = STEP_SCALES
    watch: bool = False
    block_bytes: float = math.inf
    refine_steps: int = 0
    refine_rate: float = 5e-4
    seed: int = 0
    hold_out: int = 0
    folder: str = ""
    runs: str = "runs/networks"

    def training(self) -> dict[str, Any]:
        """Network, data, method, both trainings, seed."""
        shared = self.task_settings()
        if self.method not in METHODS:
            raise ConfigError(f"method: '{self.method}' is not one of {', '.join(METHODS)}")
        return {
            **shared,
            "method": Choice(self.method, build(METHODS[self.method], self.settings, "settings")),
            "pretrain": self.pretrain,
            "outputs": self.outputs,
        }

    def measuring(self) -> dict[str, Any]:
        """How the file is made."""
        names = ("allowed_points", "step_scales", "block_bytes", "refine_steps", "refine_rate")
        return {"measure": "file", **self.unusual(*names)}

    def before(self) -> ClassifierRecipe:
        """The training of the ordinary network."""
        return ClassifierRecipe(
            network=self.network,
            data=self.data,
            train=self.pretrain,
            seed=self.seed,
            hold_out=self.hold_out,
            runs=self.runs,
        )

    def check(self, checked: set[str]) -> None:
        """Read the data."""
        self.training()
        if self.data not in checked:
            checked.add(self.data)
            task(self.data, self.hold_out)

    def assemble(self, fresh: bool) -> Parts:
        """The ordinary network, made narrower if `outputs` says so, converted."""
        data = task(self.data, self.hold_out)
        torch.manual_seed(self.seed)
        net = self.before().trained()
        if self.outputs:
            keep_largest(net, self.outputs)
            net = smaller(net, data.inputs[:2]).train()
        penalty = convert(net, self.method, **self.settings)
        return stage_parts(net, penalty, self.train, data, self.seed)

    def observe(self, trainer: Trainer, say: StepProgress) -> StepProgress:
        """Write expected operations down after every pass, if `watch` is set."""
        if not self.watch:
            return say
        net, example = trainer.model.get_submodule("net"), task(self.data, self.hold_out).inputs[:1]
        log = OperationsLog(net, example, self.place / "operations", trainer.step)

        def watched(step: int, row: dict[str, float]) -> None:
            say(step, {**row, "operations": log.write(step)})

        return watched

    def evaluate(self, trainer: Trainer, watch: StageProgress) -> Findings:
        """One row of a table, the file, and the network's weights in `plain.safetensors`."""
        data = task(self.data, self.hold_out)
        net, seconds = settle(trainer, self.train, data).eval(), trainer.seconds
        loss = trainer.loss
        assert isinstance(loss, ClassifierLoss)
        assert isinstance(loss.penalty, Penalty)
        before = {
            "error_percent_before_coding": error_percent(net, data.test_inputs, data.test_labels),
            "training_error_percent_before_coding": error_percent(net, data.inputs, data.labels),
        }
        file, scale = coded(self, net, loss.penalty, data)
        row = {"seed": self.seed, **before, **measure_network(self, net, file, scale, data)}
        checkpoints.save(self.place / PLAIN, plain(net).state_dict(), {})
        shown = {
            "clusters": clusters(net),
            "operations": read_operations(self.place / "operations"),
        }
        row |= {"train_seconds": seconds, **{name: value for name, value in shown.items() if value}}
        return Findings(row, files={FILE: file})

    def recorded(self, meta: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The settings of a checkpoint or a result."""
        parts = [repr(self.network), repr(self.data), repr(self.method), repr(dict(self.settings)),
                 first_repr(self.pretrain), first_repr(self.train),
                 *map(repr, self.outputs.items())]  # fmt: skip
        return recorded(meta, f"({', '.join(parts)})", self.training())


def coded(
    recipe: WeightsRecipe, net: nn.Module, penalty: Penalty, data: Data
) -> tuple[bytes, float]:
    """The file, and the factor on the posteriors' steps; draws leave `net` as the file has it.

    Batch norms, in `net` too, end with statistics of the weights as the file has them: those of
    the weights before, however near these are, cost a residual network many points.
    """
    if is_drawn(net):
        refine = _refiner(recipe, net, penalty, data)
        return shrink_drawn(net, refine, recipe.block_bytes, seed=recipe.seed), 1.0
    decoded = plain(net).eval()
    limit = error_percent(decoded, data.inputs, data.labels) + recipe.allowed_points
    for scale in recipe.step_scales:
        file = shrink_posterior(net, scale, {}, silent)
        expand_into(NetworkFile.read(file), decoded)
        if take_statistics(decoded, data, recipe.train):
            buffers = dict(decoded.named_buffers())
            net.load_state_dict(buffers, strict=False)
            file = shrink_posterior(net, scale, {}, silent)
        if error_percent(decoded, data.inputs, data.labels) <= limit:
            break
    return file, scale


def _refiner(
    recipe: WeightsRecipe, net: nn.Module, penalty: Penalty, data: Data
) -> Callable[[str], None] | None:
    """Trains on for some steps, each time from where the last call stopped.

    The rate falls: an error that a late block makes can hardly be made up for.
    """
    if not recipe.refine_steps:
        return None
    place = recipe.place / "refine"
    (place / CHECKPOINT).unlink(missing_ok=True)
    parts = stage_parts(net, penalty, recipe.train, data, recipe.seed + 1)
    rate = LearningRate(
        peak=recipe.refine_rate,
        warmup_steps=1,
        decay_rate=1.0,
        cooldown_start=0,
        cooldown_steps=recipe.refine_steps * count_blocks(net, recipe.block_bytes),
    )
    trainer = replace(parts, rate=rate).trainer(place, {})

    def refine(layer: str) -> None:
        net.train()
        trainer.config = replace(trainer.config, steps=trainer.step + recipe.refine_steps)
        trainer.run()
        net.eval()

    return refine


def measure_network(
    recipe: WeightsRecipe, net: nn.Module, file: bytes, scale: float, data: Data
) -> dict[str, Any]:
    """One row: errors of the file's network, and the three units.

    Args:
        recipe: whose row it is.
        net: a trained, converted network.
        file: the network as it is stored.
        scale: factor on the posteriors' steps.
        data: errors are measured on both of its parts.
    """
    decoded = plain(net).eval()
    expand_into(NetworkFile.read(file), decoded)
    weights = {
        name: module.weight.detach()
        for name, module in decoded.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }
    numbers = sum(p.numel() for p in NETWORKS[recipe.network]().parameters())
    kept = sum(int(p.count_nonzero()) for p in decoded.parameters())
    sparse = None if is_drawn(net) else _sparse_bytes(decoded, steps_of(net), scale)
    return {
        "recipe": recipe.name, "network": recipe.network, "method": recipe.method,
        "source": recipe.source, "step_scale": scale,
        "training_error_percent": error_percent(decoded, data.inputs, data.labels),
        "error_percent": error_percent(decoded, data.test_inputs, data.test_labels),
        "weights": numbers, "weights_kept": kept, "pruned_ratio": numbers / max(kept, 1),
        "csr_huffman_bytes": sparse,
        "csr_huffman_ratio": None if sparse is None else 4 * numbers / sparse,
        "file_bytes": len(file), "file_ratio": 4 * numbers / len(file),
        "widths": widths_of(weights),
        "bit_operations": bit_operations(decoded, data.inputs[:1], INPUT_BITS),
    }  # fmt: skip


def widths_of(weights: Mapping[str, Tensor]) -> dict[str, int]:
    """Groups left in each layer: filters of convolutions, inputs of linear layers.

    Source: the architectures of Louizos 6.4 and 7.5.
    """
    found = {}
    for name, weight in weights.items():
        axis = 1 if weight.dim() == 2 else 0
        others = [k for k in range(weight.dim()) if k != axis]
        found[name] = int(weight.abs().amax(others).count_nonzero())
    return found


def _sparse_bytes(net: nn.Module, steps: Mapping[str, float], scale: float) -> float:
    """CSR and Huffman, layer by layer; biases as the file has them, in integers."""
    bits = 0.0
    for name, tensor in net.state_dict().items():
        step = scale * steps.get(name, 0.0)
        values = tensor.double().numpy()
        if step:
            q = np.rint(values / np.float32(step)).astype(np.int64)
        else:
            distinct, q = np.unique(values, return_inverse=True)
            q = q.reshape(values.shape) - int(np.argmin(np.abs(distinct)))
        bits += count_sparse(q, GAP_BITS.get(tensor.dim(), 5)).total
    return bits / 8
