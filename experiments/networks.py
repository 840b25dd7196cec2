"""Train, shrink and measure the networks of one folder's recipes; write its results.json.

    python experiments/networks.py experiments/bayesian-compression [--recipe NAME] [--seeds 0 1 2]

Recipes are the `*.yaml` files of the folder. Trained networks and checkpoints are kept under
`runs/networks`, and what is there is not trained again. With `--validate COUNT` so many training
examples are held out and tested on in place of the test set, which is how settings are chosen; its
rows are printed only.
"""

import argparse
import json
import re
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from laconic.data.datasets import data_root
from laconic.evaluation.networks.pruning import draw_clusters, draw_operations
from laconic.evaluation.report.figures import save_figure
from laconic.evaluation.report.provenance import describe_run
from laconic.lab.recipes.weights import Recipe, read_recipe, run_recipe
from laconic.lab.tasks import TASKS, held_out
from laconic.training.config import read_config

REPOSITORY = Path(__file__).resolve().parents[1]
FIGURES = ("clusters", "operations")


def recipes(folder: Path, only: str | None) -> list[Recipe]:
    """The folder's recipes by name."""
    found = [read_recipe(read_config(path)) for path in sorted(folder.glob("*.yaml"))]
    return [recipe for recipe in found if only in (None, recipe.name)]


def merged(document: dict[str, Any], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows measured now instead of older ones of the same recipe and seed.

    Only the first seed of a recipe keeps what figures are drawn from.
    """
    new = {(row["recipe"], row["seed"]) for row in rows}
    old = [row for row in document.get("shrunk", []) if (row["recipe"], row["seed"]) not in new]
    found = sorted([*old, *rows], key=lambda row: (row["recipe"], row["seed"]))
    for before, row in pairwise(found):
        if row["recipe"] == before["recipe"]:
            for name in FIGURES:
                row.pop(name, None)
    return found


def on_lines(document: dict[str, Any]) -> str:
    """JSON with a line for every entry, and one for every list of plain numbers."""
    lists = re.compile(r"\[[^][{}]*\]")
    text = json.dumps(document, indent=1)
    return lists.sub(lambda found: " ".join(found.group().split()), text) + "\n"


def draw(folder: Path, rows: list[dict[str, Any]]) -> None:
    """The folder's figures: clusters of each recipe that has them, operations of all."""
    for row in rows:
        if "clusters" in row:
            title = f"{row['recipe']}: groups by noise"
            save_figure(draw_clusters(row["clusters"], title), folder / f"{row['recipe']}-clusters")
    curves = {row["recipe"]: row["operations"] for row in rows if "operations" in row}
    if curves:
        save_figure(
            draw_operations(curves, "Expected operations in training"), folder / "operations"
        )


def main() -> None:
    """Run the recipes asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recipe", help="run this one only")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--data", type=Path, default=data_root())
    parser.add_argument("--validate", type=int, default=0, metavar="COUNT")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    runs = REPOSITORY / "runs" / "networks"
    if arguments.validate:
        runs = runs / f"without-{arguments.validate}"
    results = arguments.folder / "results.json"
    for recipe in recipes(arguments.folder, arguments.recipe):
        started = time.time()
        data = TASKS[recipe.data](arguments.data)
        if arguments.validate:
            data = held_out(data, arguments.validate)

        def say(step: int, row: dict[str, float], name: str = recipe.name) -> None:
            shown = {key: round(value, 4) for key, value in row.items()}
            print(name, shown, flush=True)

        rows = run_recipe(recipe, data, arguments.seeds, runs, say)
        for row in rows:
            print(json.dumps(row), flush=True)
        if arguments.validate:
            continue
        document = json.loads(results.read_text()) if results.exists() else {}
        command = f"python experiments/networks.py {arguments.folder}"
        document = {
            "title": document.get("title", arguments.folder.name),
            "run": describe_run(command, started, REPOSITORY, threads=arguments.threads),
            "shrunk": merged(document, rows),
        }
        results.write_text(on_lines(document))
        draw(arguments.folder, document["shrunk"])


if __name__ == "__main__":
    main()
