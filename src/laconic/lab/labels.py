"""Codes of a training set's labels, measured in bytes: a folder of recipes -> its results.json.

A folder has `config.yaml` (network, data, blocks of the prequential code) and one recipe for every
code with weights, of kind "classifier" (its weights are quantised to several tolerances, and the
smallest file counts) or "weights". Every file is decoded again, and its labels are compared.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from laconic.codecs.network.codec import named, shrink
from laconic.container import write_atomically
from laconic.errors import ConfigError, CorruptFileError, MissingPackageError
from laconic.evaluation.labels.codes import (
    PREQUENTIAL,
    LabelFile,
    Labels,
    Learn,
    block_ends,
    decode,
    encode_prequential,
    encode_with_weights,
)
from laconic.evaluation.report.figures import COLOURS, save_figure
from laconic.lab.recipes import read_recipe
from laconic.lab.recipes.classifier import ClassifierRecipe, Stage, training_parts
from laconic.lab.recipes.weights import FILE, WeightsRecipe
from laconic.lab.runs import complete
from laconic.lab.table import experiment_run, on_lines
from laconic.lab.tasks import NETWORKS, task
from laconic.training.classification import ClassifierLoss, LabelledBatches
from laconic.training.config import build, read_config

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLOCKWISE = "prequential"
"""Name of the code that has no recipe."""


@dataclass(frozen=True)
class Blocks:
    """Training of the prequential code: a new network for every block.

    Attributes:
        first: labels in the first block, whose classes are all alike.
        ratio: of the ends of successive blocks.
        least_steps: of a training, however few labels are known.
    """

    first: int = 100
    ratio: float = 2.0
    least_steps: int = 200


@dataclass(frozen=True)
class LabelsConfig:
    """What is coded, and how.

    Attributes:
        network: one of `laconic.lab.tasks.NETWORKS`; the same for all codes.
        data: one of `laconic.lab.tasks.TASKS`.
        classes: number of classes.
        tolerances: relative errors of weights that the two-part code tries.
        blocks: of the prequential code.
        train: training of the prequential code's networks.
        seed: of their first weights and the order of their data.
    """

    network: str = "lenet-300-100"
    data: str = "mnist"
    classes: int = 10
    tolerances: Sequence[float] = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
    blocks: Blocks = field(default_factory=Blocks)
    train: Stage = field(default_factory=Stage)
    seed: int = 0

    @classmethod
    def read(cls, path: Path) -> "LabelsConfig":
        """From a YAML file.

        Raises:
            ConfigError: the file is missing, or a setting is unknown or cannot be.
        """
        values = read_config(path)
        for name, kind in (("blocks", Blocks), ("train", Stage)):
            if name in values:
                values[name] = build(kind, values[name], name)
        return build(cls, values, "config")


def learner(config: LabelsConfig) -> Learn:
    """Trains a new network on the labels known so far; equal arguments give equal weights.

    The sender and the receiver call it on machines whose floating-point results agree; where they
    do not, the file's end does not fit and decoding fails.
    """

    def learn(inputs: Tensor, labels: Labels) -> nn.Module:
        torch.manual_seed(config.seed)
        net = NETWORKS[config.network]()
        size = min(config.train.batch, len(inputs))
        batches = LabelledBatches(inputs, torch.from_numpy(labels), size, config.seed)
        epochs = max(config.train.epochs, math.ceil(config.blocks.least_steps / batches.steps))
        stage = replace(config.train, epochs=epochs, batch=size)
        loss = ClassifierLoss(net, None, len(inputs))
        parts = training_parts({"net": net}, loss, batches, stage, config.seed)
        with TemporaryDirectory() as folder:
            trainer = parts.trainer(Path(folder), {})
            trainer.run()
        return net.eval()

    return learn


def main(folder: Path, arguments: Sequence[str] | None = None) -> None:
    """The command line of such a folder.

    Args:
        folder: of the experiment.
        arguments: of the command line; those of this process by default.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=0, help="code the first so many; 0: all")
    parser.add_argument("--code", help=f"this one only: {BLOCKWISE}, or the name of a recipe")
    parser.add_argument("--runs", type=Path, default=Path("runs") / "labels")
    chosen = parser.parse_args(arguments)
    started = time.time()
    config = LabelsConfig.read(folder / "config.yaml")
    recipes = sorted(path.stem for path in folder.glob("*.yaml") if path.stem != "config")
    codes = [chosen.code] if chosen.code else [*recipes, BLOCKWISE]
    for code in codes:
        if code not in (*recipes, BLOCKWISE):
            raise ConfigError(f"code: '{code}' is not one of {', '.join([*recipes, BLOCKWISE])}")
        row = measure(folder, config, code, chosen.labels, chosen.runs)
        print(row, flush=True)
        write_row(folder, row, experiment_run(folder, f"--labels {chosen.labels}", started))


def measure(
    folder: Path, config: LabelsConfig, code: str, count: int, runs: Path
) -> dict[str, Any]:
    """One code of the first labels: the file is written, decoded and compared.

    Args:
        folder: of the experiment.
        config: of the experiment.
        code: `BLOCKWISE`, or the name of a recipe.
        count: number of labels; 0: all.
        runs: folder of trained networks and of the file.

    Raises:
        CorruptFileError: the decoded labels are not those that were coded.
    """
    data = task(config.data, 0)
    count = count or len(data.inputs)
    left_out = len(data.inputs) - count
    inputs, labels = data.inputs[:count], data.labels[:count].numpy()
    place = runs / str(count)
    place.mkdir(parents=True, exist_ok=True)
    started = time.process_time()
    if code == BLOCKWISE:
        ends = block_ends(count, config.blocks.first, config.blocks.ratio)
        file = encode_prequential(learner(config), ends, inputs, labels, config.classes)
    else:
        settings = {**read_config(folder / f"{code}.yaml"), "hold_out": left_out}
        recipe = read_recipe({**settings, "folder": str(place / code)})
        assert isinstance(recipe, ClassifierRecipe | WeightsRecipe)
        complete(recipe)
        make = NETWORKS[config.network]
        options = [
            encode_with_weights(network, make, inputs, labels, config.classes)
            for network in network_files(recipe, config)
        ]
        file = min(options, key=len)
    encoded = time.process_time()
    write_atomically(place / f"{code}.lac", file)
    found = decode(file, inputs, NETWORKS[config.network], learner(config))
    if not np.array_equal(found, labels):
        raise CorruptFileError(f"{place / code}.lac: the decoded labels differ")
    return {
        "code": code, "labels": count, **sizes(file),
        "encode_seconds": round(encoded - started, 1),
        "decode_seconds": round(time.process_time() - encoded, 1),
    }  # fmt: skip


def network_files(recipe: ClassifierRecipe | WeightsRecipe, config: LabelsConfig) -> list[bytes]:
    """Files of a finished run's network, from which the sender chooses."""
    if isinstance(recipe, WeightsRecipe):
        return [(recipe.place / FILE).read_bytes()]
    source = named(recipe.trained().state_dict())
    return [shrink(source, {}, tolerance) for tolerance in config.tolerances]


def sizes(data: bytes) -> dict[str, int | float]:
    """Bytes of a file, by part."""
    file = LabelFile.read(data)
    uniform_bytes = file.count * math.log2(file.classes) / 8
    return {
        "file_bytes": len(data),
        "network_bytes": len(file.network),
        "labels_bytes": len(file.stack),
        "header_bytes": len(data) - len(file.network) - len(file.stack),
        "blocks": len(file.ends) if file.code == PREQUENTIAL else 0,
        "uniform_bytes": round(uniform_bytes, 1),
        "ratio": uniform_bytes / len(data),
    }


def write_row(folder: Path, row: dict[str, Any], run: dict[str, Any]) -> None:
    """Put a row into the folder's results.json, and draw its figure.

    Args:
        folder: of the experiment.
        row: replaces one of the same code and number of labels.
        run: command, commit, machine.
    """
    path = folder / "results.json"
    document = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    key = (row["code"], row["labels"])
    rows = [one for one in document.get("codes", []) if (one["code"], one["labels"]) != key]
    rows = sorted([*rows, row], key=lambda one: (one["labels"], one["file_bytes"]))
    title = "Labels of MNIST for a receiver who has the images, in bytes"
    content = {"title": title, "run": run, "targets": targets(rows), "codes": rows}
    path.write_text(on_lines(content), encoding="utf-8")
    for count in {one["labels"] for one in rows}:
        figure = draw([one for one in rows if one["labels"] == count])
        save_figure(figure, folder / f"labels-{count}")


def targets(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The source's inequality: the Bayesian code is shorter than the two-part code."""
    found = []
    for count in sorted({row["labels"] for row in rows}):
        size = {row["code"]: row["file_bytes"] for row in rows if row["labels"] == count}
        drawn = [value for code, value in size.items() if code.startswith("bayesian")]
        quantised = [value for code, value in size.items() if code.startswith("two-part")]
        if drawn and quantised:
            found.append({
                "name": f"Bayesian code of {count} labels, bytes",
                "target": f"below the two-part code's {min(quantised)}",
                "ours": min(drawn),
                "met": min(drawn) < min(quantised),
            })  # fmt: skip
    return found


def draw(rows: Sequence[dict[str, Any]]) -> "Figure":
    """Bars of every code's bytes: network, labels, header.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError("figures need", "matplotlib", "eval") from error
    sheet = Figure(figsize=(7.2, 0.8 + 0.45 * (len(rows) + 1)), layout="constrained")
    axes = sheet.add_subplot()
    names = [row["code"] for row in rows]
    left = np.zeros(len(rows))
    for colour, part in zip(COLOURS, ("network", "labels", "header"), strict=False):
        widths = np.array([row[f"{part}_bytes"] for row in rows], float)
        axes.barh(names, widths, left=left, color=colour, label=part)
        left += widths
    axes.barh(["all alike"], [rows[0]["uniform_bytes"]], color=COLOURS[6])
    for name, end in zip([*names, "all alike"], [*left, rows[0]["uniform_bytes"]], strict=True):
        axes.annotate(f" {end:,.0f}", (end, name), va="center", fontsize=8)
    axes.set_xlabel(f"bytes of {rows[0]['labels']:,} labels, given the images")
    axes.margins(x=0.12)
    axes.legend(frameon=False)
    return sheet
