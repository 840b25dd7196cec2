"""A folder of recipes of network compression -> its results.json and figures.

A row is one recipe with one seed. What is finished is not done again. With `--validate COUNT` so
many training examples are held out and tested on in place of the test set, which is how settings
are chosen; such rows, and those of settings that `--set` changed, are printed only.
"""

import argparse
import json
import os
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from laconic.data.datasets import DATA_VARIABLE
from laconic.errors import ConfigError
from laconic.evaluation.networks.pruning import draw_clusters, draw_operations
from laconic.evaluation.report.figures import save_figure
from laconic.evaluation.report.provenance import describe_run
from laconic.lab.contract import written
from laconic.lab.recipes import read_recipe
from laconic.lab.recipes.weights import WeightsRecipe
from laconic.lab.runs import complete
from laconic.lab.sweep import Run, Sweep
from laconic.lab.workers import run_sweep
from laconic.training.config import read_config

FIGURES = ("clusters", "operations")
"""Parts of a row that figures are drawn from."""


def main(folder: Path, arguments: Sequence[str] | None = None) -> None:
    """The command line of a folder of recipes.

    Args:
        folder: of the experiment: `*.yaml`, each a recipe of kind "weights".
        arguments: of the command line; those of this process by default.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", metavar="NAME", help="run this one only")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--data", type=Path, help="folder of all data sets")
    parser.add_argument("--validate", type=int, default=0, metavar="COUNT")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processes", type=int, default=1, help="runs at once")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    repository = folder.resolve().parents[1]
    parser.add_argument("--runs", type=Path, default=repository / "runs" / "networks")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.data is not None:
        os.environ[DATA_VARIABLE] = str(options.data)
    recipes = [
        replace(recipe, seed=seed, hold_out=options.validate, runs=str(options.runs), folder="")
        for recipe in read_recipes(folder, options.set)
        for seed in options.seeds
        if options.recipe in (None, recipe.name)
    ]
    started = time.time()
    if options.processes > 1:
        _run_together(recipes, options.runs, options.processes, options.threads)
    for recipe in recipes:
        row = run_row(recipe)
        print(json.dumps(row), flush=True)
        if not (options.validate or options.set):
            command = f"python experiments/{folder.resolve().name}/run.py"
            run = describe_run(command, started, repository, threads=options.threads)
            write_rows(folder, [row], run)


def read_recipes(folder: Path, overrides: Sequence[str] = ()) -> list[WeightsRecipe]:
    """The recipes of a folder, by name.

    Raises:
        ConfigError: a file is not a recipe of network compression.
    """
    recipes = []
    for path in sorted(folder.glob("*.yaml")):
        recipe = read_recipe(read_config(path, overrides), "weights")
        if not isinstance(recipe, WeightsRecipe):
            raise ConfigError(f"{path}: a recipe of kind '{recipe.kind}', not 'weights'")
        recipes.append(recipe)
    return recipes


def run_row(recipe: WeightsRecipe) -> dict[str, Any]:
    """The row of a recipe: trained, shrunk and measured, as far as that is not done yet."""

    def say(step: int, row: dict[str, float]) -> None:
        print(recipe.name, {key: round(value, 4) for key, value in row.items()}, flush=True)

    result = complete(recipe, say=say)
    return {key: value for key, value in result.items() if key not in ("format", "settings")}


def _run_together(
    recipes: Sequence[WeightsRecipe], folder: Path, processes: int, threads: int
) -> None:
    """Several runs at once, in processes of their own."""
    runs = [
        Run(
            f"{recipe.name}/{recipe.seed}",
            {"recipe": recipe.kind, **written(recipe), "folder": str(recipe.place)},
            threads,
        )
        for recipe in recipes
    ]
    sweep = Sweep(tuple((run,) for run in runs), processes, folder)
    run_sweep(sweep, lambda run, why: print(run.name, why or "done", flush=True), _unshown)


def _unshown(done: float, count: int) -> None:
    """No progress bar."""


def write_rows(folder: Path, rows: Sequence[dict[str, Any]], run: dict[str, Any]) -> None:
    """Put rows into the folder's results.json, and draw its figures.

    Args:
        folder: of the experiment.
        rows: measured now; they replace older ones of the same recipe and seed.
        run: command, commit, machine.
    """
    results = folder / "results.json"
    document = json.loads(results.read_text()) if results.exists() else {}
    shrunk = merged(document.get("shrunk", []), rows)
    title = document.get("title", folder.resolve().name)
    results.write_text(on_lines({"title": title, "run": run, "shrunk": shrunk}))
    draw(folder, shrunk)


def merged(older: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows measured now in place of older ones of the same recipe and seed.

    Only the first seed of a recipe keeps what figures are drawn from.
    """
    new = {(row["recipe"], row["seed"]) for row in rows}
    old = [row for row in older if (row["recipe"], row["seed"]) not in new]
    found = sorted([*old, *rows], key=lambda row: (row["recipe"], row["seed"]))
    for before, row in pairwise(found):
        if row["recipe"] == before["recipe"]:
            for name in FIGURES:
                row.pop(name, None)
    return found


def experiment_run(folder: Path, options: str, started: float) -> dict[str, Any]:
    """The facts of a run of an experiment's `run.py`.

    Args:
        folder: of the experiment, somewhere below the repository's folder `experiments`.
        options: of the command line.
        started: `time.time()` at the start.
    """
    place = folder.resolve()
    above = [parent.name for parent in place.parents]
    repository = place.parents[above.index("experiments") + 1] if "experiments" in above else place
    shown = place.relative_to(repository).as_posix()
    return describe_run(f"python {shown}/run.py {options}".strip(), started, repository)


def on_lines(document: dict[str, Any]) -> str:
    """JSON with a line for every entry, and one for every list of plain numbers."""
    lists = re.compile(r"\[[^][{}]*\]")
    text = json.dumps(document, indent=1)
    return lists.sub(lambda found: " ".join(found.group().split()), text) + "\n"


def draw(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """The folder's figures: clusters of each recipe that has them, operations of all."""
    for row in rows:
        if "clusters" in row:
            title = f"{row['recipe']}: groups by noise"
            save_figure(draw_clusters(row["clusters"], title), folder / f"{row['recipe']}-clusters")
    curves = {row["recipe"]: row["operations"] for row in rows if "operations" in row}
    if curves:
        figure = draw_operations(curves, "Expected operations in training")
        save_figure(figure, folder / "operations")
