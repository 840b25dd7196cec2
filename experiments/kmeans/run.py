"""Shrink LeNet-300-100 by a tolerance, by codebooks, and by codebooks whose values are trained.

    python experiments/kmeans/run.py [--seed 0]

All three start from the same trained network. The row of each is the smallest file whose training
error is at most the recipe's `allowed_points` above that of the trained network. The test set has
no influence. Trained networks are kept under `runs/networks`.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import laconic
from laconic.evaluation.report.provenance import describe_run
from laconic.lab.recipes import read_recipe
from laconic.lab.recipes.weights import WeightsRecipe, measure_network
from laconic.lab.runs import complete
from laconic.lab.tasks import task
from laconic.training.classification import error_percent
from laconic.training.config import read_config

FOLDER = Path(__file__).resolve().parent
REPOSITORY = FOLDER.parents[1]
TOLERANCES = (0.05, 0.07, 0.1, 0.14, 0.2, 0.28, 0.4)
VALUES = (32, 16, 8, 6, 4, 3)
RUNS = REPOSITORY / "runs" / "networks"


def shrunk(
    recipe: WeightsRecipe, net: nn.Module, way: str, settings: Sequence[float]
) -> Iterator[dict[str, Any]]:
    """The ordinary network in files, for each setting of one option of `laconic.shrink`."""
    named = replace(recipe, name=f"{recipe.network}-{way}", method=way, source="none")
    for setting in settings:
        file = laconic.shrink(net, **{way: setting})
        row = measure_network(named, deepcopy(net), file, 1.0, task(recipe.data, 0))
        yield {"seed": recipe.seed, "setting": setting, **row}


def trained(recipe: WeightsRecipe) -> Iterator[dict[str, Any]]:
    """Codebooks whose values are trained, for each number of values."""
    for values in VALUES:
        name = f"{recipe.name}-{values}"
        yield {
            "setting": values, **complete(replace(recipe, name=name, settings={"values": values}))
        }  # fmt: skip


def smallest(points: Sequence[dict[str, Any]], limit: float) -> dict[str, Any]:
    """The smallest file whose training error is within the limit."""
    good = [point for point in points if point["training_error_percent"] <= limit]
    return min(good, key=lambda point: float(point["file_bytes"]))


def main() -> None:
    """Measure the three ways and write results.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    started = time.time()
    config = read_config(FOLDER / "lenet-300-100-kmeans.yaml")
    recipe = read_recipe({**config, "seed": given.seed, "runs": str(RUNS)})
    assert isinstance(recipe, WeightsRecipe)
    data, ordinary = task(recipe.data, 0), recipe.before()
    complete(ordinary)
    net = ordinary.trained().eval()
    limit = error_percent(net, data.inputs, data.labels) + recipe.allowed_points
    before = error_percent(net, data.test_inputs, data.test_labels)
    points = {
        "tolerance": list(shrunk(recipe, net, "tolerance", TOLERANCES)),
        "codebook": list(shrunk(recipe, net, "codebook", VALUES)),
        "kmeans": list(trained(recipe)),
    }
    kept = ("setting", "training_error_percent", "error_percent", "file_bytes")
    curves = {
        way: [{key: one[key] for key in kept} for one in all_] for way, all_ in points.items()
    }
    print(*curves.items(), sep="\n")
    rows = [
        {"error_percent_before_coding": before, **smallest(all_, limit)} for all_ in points.values()
    ]
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
