"""Shrink LeNet-300-100 by a tolerance, by codebooks, and by codebooks whose values are trained.

    python experiments/kmeans/run.py [--seed 0]

All three start from the same trained network. The row of each is the smallest file whose training
error is at most the recipe's `allowed_points` above that of the trained network. The test set has
no influence. Trained networks are kept under `runs/networks`.
"""

import argparse
import json
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import laconic
from laconic.evaluation.report.provenance import describe_run
from laconic.lab.datasets import data_root
from laconic.lab.recipes.weights import converted, measure, pretrained, read_recipe
from laconic.lab.tasks import TASKS
from laconic.training.classification import error_percent
from laconic.training.config import read_config

FOLDER = Path(__file__).resolve().parent
REPOSITORY = FOLDER.parents[1]
TOLERANCES = (0.05, 0.07, 0.1, 0.14, 0.2, 0.28, 0.4)
VALUES = (32, 16, 8, 6, 4, 3)


def main() -> None:
    """Measure the three ways and write results.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=data_root())
    parser.add_argument("--runs", type=Path, default=REPOSITORY / "runs" / "networks")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    started = time.time()
    recipe = read_recipe(read_config(FOLDER / "lenet-300-100-kmeans.yaml"))
    data = TASKS[recipe.data](given.data)

    def say(step: int, row: dict[str, float]) -> None:
        print(step, {key: round(value, 4) for key, value in row.items()}, flush=True)

    net = pretrained(recipe, data, given.seed, given.runs, say).eval()
    limit = error_percent(net, data.inputs, data.labels) + recipe.allowed_points

    def by_tolerance() -> Iterator[tuple[float, nn.Module, bytes]]:
        for tolerance in TOLERANCES:
            yield tolerance, net, laconic.shrink(net, tolerance=tolerance)

    def by_codebook() -> Iterator[tuple[float, nn.Module, bytes]]:
        for values in VALUES:
            yield values, net, laconic.shrink(net, codebook=values)

    def by_training() -> Iterator[tuple[float, nn.Module, bytes]]:
        for values in VALUES:
            name = f"{recipe.name}-{values}"
            one = replace(recipe, name=name, settings={"values": values})
            trained, _ = converted(one, data, given.seed, given.runs, say)
            yield values, trained, laconic.shrink(trained)

    rows: list[dict[str, Any]] = []
    curves: dict[str, list[dict[str, float]]] = {}
    ways = {"tolerance": by_tolerance, "codebook": by_codebook, "kmeans": by_training}
    sources = {"kmeans": recipe.source}
    for way, files in ways.items():
        named = replace(
            recipe, name=f"{recipe.network}-{way}", method=way, source=sources.get(way, "none")
        )
        before = {
            "error_percent_before_coding": error_percent(net, data.test_inputs, data.test_labels)
        }
        points = [
            {"setting": setting, **measure(named, deepcopy(one), file, 1.0, data)}
            for setting, one, file in files()
        ]
        kept = ("setting", "training_error_percent", "error_percent", "file_bytes")
        curves[way] = [{key: point[key] for key in kept} for point in points]
        print(way, *curves[way], sep="\n", flush=True)
        good = [point for point in points if point["training_error_percent"] <= limit]
        best = min(good, key=lambda point: point["file_bytes"])
        rows.append({"seed": given.seed, **before, **best})
    document = {
        "title": "k-means codebooks",
        "run": describe_run("python experiments/kmeans/run.py", started, REPOSITORY,
                            threads=given.threads),
        "training_error_limit_percent": limit,
        "shrunk": rows,
        "curves": curves,
    }  # fmt: skip
    (FOLDER / "results.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
