"""Recipes of network compression -> rows of a table: train, convert, train, shrink, measure.

Three units that must never be mixed are always reported by name: weights that are not zero, bits by
the accounting of Deep Compression (CSR and Huffman), and bytes of the .lac file.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from laconic.codecs.network.codec import NetworkFile
from laconic.codecs.network.loading import expand_into
from laconic.codecs.network.miracle import count_blocks, shrink_drawn
from laconic.codecs.network.posterior import is_drawn, shrink_posterior, steps_of
from laconic.coding.tensors.sparse import count_sparse
from laconic.errors import ConfigError
from laconic.evaluation.networks.pruning import OperationsLog, clusters, read_operations
from laconic.lab.tasks import NETWORKS, TASKS, Data
from laconic.progress import silent
from laconic.training import checkpoints
from laconic.training.classification import ClassifierLoss, LabelledBatches, error_percent
from laconic.training.config import build
from laconic.training.loop import LoopConfig, Trainer
from laconic.training.schedules import LearningRate
from laconic.weights import Penalty, convert, keep_largest, plain, smaller
from laconic.weights.batch_norm import reestimate
from laconic.weights.integer.bit_operations import bit_operations

GAP_BITS = {2: 5, 4: 8}
"""Of the accounting, by axes of the weight: linear and convolutional layers."""

INPUT_BITS = 8
"""Of a pixel, where bit operations are counted."""

STATISTICS = 10_000
"""Training examples, as they are, that batch norms take their final statistics from."""

STEP_SCALES = tuple(2 ** (k / 2) for k in range(8, -17, -1))
"""Factors on the steps that posteriors require, tried from the coarsest on."""

StepProgress = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class Stage:
    """One training run.

    Attributes:
        epochs: passes over the training set.
        batch: examples in a batch.
        rate: learning rate of Adam at the start.
        cooldown: last share of the run over which the rate falls to zero.
        penalty_start: epochs before the penalty begins to count.
        penalty_warmup: epochs over which its weight rises to 1.
        clip: norm that gradients are clipped to.
        average: decay of the moving average of the weights that the run ends with; 0 for the last.
        precision: "32-true" or "bf16-mixed", as Fabric names them; nothing but training minds.
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


@dataclass(frozen=True)
class Recipe:
    """How one row of a table is made.

    Attributes:
        name: of the row.
        network: one of `NETWORKS`.
        method: of `laconic.weights`.
        data: one of `TASKS`.
        source: the published figure beside ours, in words.
        settings: of the method.
        pretrain: training of the ordinary network.
        outputs: how many outputs layers keep, by name, when it is made smaller before conversion;
            ratios count the whole network all the same.
        train: training after conversion.
        allowed_points: percentage points by which coding may raise the training error: of the
            factors `step_scales` the first that keeps to it is taken, or the last. The test set
            has no say.
        step_scales: factors on the posteriors' steps, from the coarsest on; just 1 for methods
            whose grid is what was trained.
        watch: whether expected operations are written down after every pass.
        block_bytes: for draws: what a block of weights takes.
        refine_steps: for draws: steps in which the rest is trained after each block.
        refine_rate: learning rate of these before the first block; it falls to zero by the last.
    """

    name: str
    network: str
    method: str
    data: str = "mnist"
    source: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    pretrain: Stage = Stage()
    outputs: Mapping[str, int] = field(default_factory=dict)
    train: Stage = Stage()
    allowed_points: float = 0.05
    step_scales: Sequence[float] = STEP_SCALES
    watch: bool = False
    block_bytes: float = math.inf
    refine_steps: int = 0
    refine_rate: float = 5e-4


def read_recipe(config: Mapping[str, Any]) -> Recipe:
    """A recipe from a YAML mapping.

    Raises:
        ConfigError: unknown keys, network or types.
    """
    values = dict(config)
    values["pretrain"] = build(Stage, values.get("pretrain"), "pretrain")
    values["train"] = build(Stage, values.get("train"), "train")
    for name in ("name", "network", "method"):
        if not isinstance(values.get(name), str):
            raise ConfigError(f"{name}: a recipe must say it, in words")
    if values["network"] not in NETWORKS:
        known = ", ".join(NETWORKS)
        raise ConfigError(f"network: '{values['network']}' is not one of {known}")
    if values.get("data", "mnist") not in TASKS:
        raise ConfigError(f"data: '{values['data']}' is not one of {', '.join(TASKS)}")
    unknown = set(values) - set(Recipe.__dataclass_fields__)
    if unknown:
        raise ConfigError(f"{', '.join(sorted(unknown))}: unknown; see laconic.lab.recipes.weights")
    return Recipe(**values)


def pretrained(recipe: Recipe, data: Data, seed: int, folder: Path, say: StepProgress) -> nn.Module:
    """The ordinary network, trained once for all recipes that need the same."""
    torch.manual_seed(seed)
    net = NETWORKS[recipe.network]()
    stage = recipe.pretrain
    made_by = repr((recipe.network, recipe.data, stage))
    name = f"{recipe.network}-{hashlib.sha256(made_by.encode()).hexdigest()[:8]}-{seed}"
    place = folder / "pretrained" / name
    _train(_trainer(net, None, stage, data, seed, place, made_by), say)
    _take_statistics(net, data, stage)
    checkpoints.save(place / "plain.safetensors", net.state_dict(), {})
    return net


def converted(
    recipe: Recipe, data: Data, seed: int, folder: Path, say: StepProgress
) -> tuple[nn.Module, Penalty]:
    """The network after its second training; goes on where an earlier run stopped."""
    net = pretrained(recipe, data, seed, folder, say)
    if recipe.outputs:
        keep_largest(net, recipe.outputs)
        net = smaller(net, data.inputs[:2]).train()
    penalty = convert(net, recipe.method, **recipe.settings)
    made_by = repr((recipe.network, recipe.data, recipe.method, dict(recipe.settings),
                    recipe.pretrain, recipe.train, *recipe.outputs.items()))  # fmt: skip
    place = folder / recipe.name / str(seed)
    trainer = _trainer(net, penalty, recipe.train, data, seed, place, made_by)
    _train(trainer, _watched(net, data, place, trainer.step, say) if recipe.watch else say)
    penalty.quantise()
    _take_statistics(net, data, recipe.train)
    return net.eval(), penalty


def _take_statistics(net: nn.Module, data: Data, stage: Stage) -> int:
    """Batch norms' own, of the weights as they are now; returns how many there are."""
    return reestimate(net, torch.split(data.inputs[:STATISTICS], stage.batch))


def _watched(net: nn.Module, data: Data, place: Path, step: int, say: StepProgress) -> StepProgress:
    """Progress that logs the expected operations, too."""
    log = OperationsLog(net, data.inputs[:1], place / "operations", step)

    def watched(step: int, row: dict[str, float]) -> None:
        say(step, {**row, "operations": log.write(step)})

    return watched


@torch.no_grad()
def _train(trainer: Trainer, say: StepProgress) -> None:
    """To the end, and from there to the average of the weights if the stage has one."""
    with torch.enable_grad():
        trainer.run(say)
    if trainer.config.average_decay:
        pairs = zip(trainer.model.parameters(), trainer.average.parameters(), strict=True)
        for last, average in pairs:
            last.copy_(average)


def _trainer(
    net: nn.Module, penalty: Penalty | None, stage: Stage, data: Data, seed: int, folder: Path,
    made_by: str,
) -> Trainer:  # fmt: skip
    """Goes on where an earlier run of the same recipe (`made_by`, all that counts) stopped."""
    batches = LabelledBatches(data.inputs, data.labels, stage.batch, seed, data.augment)
    steps = stage.epochs * batches.steps
    loss = ClassifierLoss(
        net, penalty, len(data.inputs), round(stage.penalty_warmup * batches.steps),
        round(stage.penalty_start * batches.steps),
    )  # fmt: skip
    cooldown = max(1, round(stage.cooldown * steps))
    rate = LearningRate(
        peak=stage.rate, warmup_steps=1, decay_rate=1.0, cooldown_start=steps - cooldown,
        cooldown_steps=cooldown,
    )  # fmt: skip
    config = LoopConfig(
        steps=steps, precision=stage.precision, average_decay=stage.average, clip_norm=stage.clip,
        seed=seed, slow_prefix="", log_steps=batches.steps,
    )  # fmt: skip
    parts: dict[str, nn.Module] = {"net": net}
    if penalty is not None:
        parts["prior"] = penalty.prior
    factors = penalty.rate_factors if penalty is not None else {}
    trainer = Trainer(
        nn.ModuleDict(parts), loss, batches, rate, config, folder, {"made_by": made_by}, factors,
        penalty.constrain if penalty is not None else None,
    )  # fmt: skip
    if trainer.checkpoint.exists():
        if checkpoints.load(trainer.checkpoint)[1].get("made_by") != made_by:
            raise ConfigError(f"{folder}: trained by another recipe; remove it, or rename yours")
        trainer.resume()
    return trainer


def coded(
    recipe: Recipe, net: nn.Module, penalty: Penalty, data: Data, seed: int, folder: Path
) -> tuple[bytes, float]:
    """The file, and the factor on the posteriors' steps; draws leave `net` as they say.

    Batch norms, in `net` too, end with statistics of the weights as the file has them: those of
    the weights before, however near these are, cost a residual network many points.
    """
    if is_drawn(net):
        refine = _refiner(recipe, net, penalty, data, seed, folder)
        return shrink_drawn(net, refine, recipe.block_bytes, seed=seed), 1.0
    decoded = plain(net).eval()
    limit = error_percent(decoded, data.inputs, data.labels) + recipe.allowed_points
    for scale in recipe.step_scales:
        file = shrink_posterior(net, scale, {}, silent)
        expand_into(NetworkFile.open(file), decoded)
        if _take_statistics(decoded, data, recipe.train):
            buffers = dict(decoded.named_buffers())
            net.load_state_dict(buffers, strict=False)
            file = shrink_posterior(net, scale, {}, silent)
        if error_percent(decoded, data.inputs, data.labels) <= limit:
            break
    return file, scale


def _refiner(
    recipe: Recipe, net: nn.Module, penalty: Penalty, data: Data, seed: int, folder: Path
) -> Callable[[str], None] | None:
    """Trains on for some steps, each time from where the last one stopped.

    The rate falls, because errors of late blocks can hardly be made up for.
    """
    if not recipe.refine_steps:
        return None
    place = folder / recipe.name / str(seed) / "refine"
    (place / "checkpoint.safetensors").unlink(missing_ok=True)
    trainer = _trainer(net, penalty, recipe.train, data, seed + 1, place, "refinement")
    trainer.rate = LearningRate(
        peak=recipe.refine_rate, warmup_steps=1, decay_rate=1.0, cooldown_start=0,
        cooldown_steps=recipe.refine_steps * count_blocks(net, recipe.block_bytes),
    )  # fmt: skip

    def refine(layer: str) -> None:
        net.train()
        trainer.config = replace(trainer.config, steps=trainer.step + recipe.refine_steps)
        trainer.run()
        net.eval()

    return refine


def measure_network(
    recipe: Recipe, net: nn.Module, file: bytes, scale: float, data: Data
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
    expand_into(NetworkFile.open(file), decoded)
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


def run_recipe(
    recipe: Recipe, data: Data, seeds: Sequence[int], folder: Path, say: StepProgress
) -> list[dict[str, Any]]:
    """One row per seed; networks, files and checkpoints are kept in `folder`."""
    rows = []
    for seed in seeds:
        net, penalty = converted(recipe, data, seed, folder, say)
        before = {
            "error_percent_before_coding": error_percent(net, data.test_inputs, data.test_labels),
            "training_error_percent_before_coding": error_percent(net, data.inputs, data.labels),
        }
        file, scale = coded(recipe, net, penalty, data, seed, folder)
        row = {**before, **measure_network(recipe, net, file, scale, data)}
        place = folder / recipe.name / str(seed)
        (place / "net.lac").write_bytes(file)
        checkpoints.save(place / "plain.safetensors", plain(net).state_dict(), {})
        row["train_seconds"] = checkpoints.load(place / "checkpoint.safetensors")[1]["seconds"]
        if seed == seeds[0]:  # One is enough for a figure.
            shown = {"clusters": clusters(net), "operations": read_operations(place / "operations")}
            row |= {name: value for name, value in shown.items() if value}
        rows.append({"seed": seed, **row})
    return rows
