"""How well the entropy of predictions finds pictures of other sets: recipes -> results.json.

A folder has recipes of kind "process", "uncertainty" (distributions over weights, ensembles) or
"classifier" (one network, a posterior of one draw). Each is trained with every seed, then its
predictions for the test set and for all outliers of its task are compared. A file `variants.yaml`
makes further rows out of recipes with changed settings:

```yaml
fnp-50: {recipe: ../functions/fnp.yaml, set: [references=50]}
```

Source: Louizos 5.4, tables 6, 7 and 13 to 15.
"""

import argparse
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from laconic.distributions.prediction import Prediction
from laconic.errors import ConfigError
from laconic.lab.recipes import read_recipe
from laconic.lab.recipes.classifier import ClassifierRecipe
from laconic.lab.recipes.functions import BATCH, ProcessRecipe
from laconic.lab.recipes.uncertainty import UncertaintyRecipe
from laconic.lab.runs import complete
from laconic.lab.table import experiment_run, on_lines
from laconic.lab.tasks import OUTLIERS, outliers, task
from laconic.metrics.out_of_distribution import detect
from laconic.training.config import read_config
from laconic.weights.prediction import predict

Trained = ProcessRecipe | UncertaintyRecipe | ClassifierRecipe

OUTLIER_COUNT = 10_000
"""Most pictures of a set."""

VARIANTS = "variants.yaml"

SOURCE = {"fnp": (0.7, 99.8), "fnp-plus": (0.7, 99.9)}
"""Error in percent and average AUROC in percent of MNIST in Louizos, table 6, by recipe."""


def measure(net: nn.Module, data: str, samples: int, count: int) -> dict[str, Any]:
    """Error, entropies and AUROC of a trained classifier.

    Args:
        net: what `laconic.predict` takes.
        data: name of its task.
        samples: draws of every prediction.
        count: most pictures of each set, of the test set too.

    Returns:
        Error and AUROCs in percent, entropies in nats, and their averages over sets.
    """
    own = task(data, 0)
    x, y = own.test_inputs[:count], own.test_labels[:count]
    inside = _predicted(net, x, samples)
    wrong = (inside.labels != y).double().mean()
    sets = {}
    for name in OUTLIERS[data]:
        outside = _predicted(net, outliers(data, name, count), samples).entropy
        sets[name] = {
            "entropy_nats": float(outside.mean()),
            "auroc_percent": 100 * detect(inside.entropy, outside).auroc,
        }
    return {
        "error_percent": 100 * float(wrong),
        "nll_nats": -float(inside.log_likelihood(y).double().mean()),
        "entropy_nats": float(inside.entropy.mean()),
        "outlier_entropy_nats": statistics.fmean(one["entropy_nats"] for one in sets.values()),
        "auroc_percent": statistics.fmean(one["auroc_percent"] for one in sets.values()),
        "sets": sets,
    }


def _predicted(net: nn.Module, x: Tensor, samples: int) -> Prediction:
    found = predict(net, x, samples, batch=BATCH, seed=0)
    assert isinstance(found, Prediction)
    return found


def main(folder: Path, arguments: Sequence[str] | None = None) -> None:
    """The command line of such a folder.

    Args:
        folder: of the experiment: `*.yaml`.
        arguments: of the command line; those of this process by default.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", metavar="NAME", help="run this one only")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--count", type=int, default=OUTLIER_COUNT, help="pictures of each set")
    parser.add_argument("--runs", type=Path, default=Path("runs") / "functions")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    chosen = parser.parse_args(arguments)
    started = time.time()
    variants = read_variants(folder)
    if chosen.recipe and chosen.recipe not in variants:
        raise ConfigError(f"recipe: '{chosen.recipe}' is not one of {', '.join(variants)}")
    for name in [chosen.recipe] if chosen.recipe else variants:
        path, changes = variants[name]
        for seed in chosen.seeds:
            recipe = _read(path, [*changes, *chosen.set], seed, chosen.runs / name)
            result = complete(recipe)
            found = measure(recipe.trained().eval(), recipe.data, chosen.samples, chosen.count)
            row = {
                "recipe": name, "seed": seed, "data": recipe.data, "epochs": recipe.train.epochs,
                "samples": chosen.samples, "count": chosen.count, **found,
                "train_seconds": result.get("train_seconds"),
            }  # fmt: skip
            print({key: value for key, value in row.items() if key != "sets"}, flush=True)
            options = f"--recipe {name} --seeds {seed} --samples {chosen.samples}"
            options += "".join([f" --count {chosen.count}", *(f" --set {c}" for c in chosen.set)])
            write_row(folder, row, experiment_run(folder, options, started))


def read_variants(folder: Path) -> dict[str, tuple[Path, list[str]]]:
    """Recipe and changed settings of every row: the folder's recipes, then its variants.

    Raises:
        ConfigError: a variant that is not written as the module's docstring shows.
    """
    paths = sorted(path for path in folder.glob("*.yaml") if path.name != VARIANTS)
    found: dict[str, tuple[Path, list[str]]] = {path.stem: (path, []) for path in paths}
    if (folder / VARIANTS).exists():
        for name, variant in read_config(folder / VARIANTS).items():
            if not isinstance(variant, dict) or set(variant) != {"recipe", "set"}:
                raise ConfigError(f"{VARIANTS}: {name}: give a recipe and what to set")
            found[str(name)] = (folder / variant["recipe"], list(map(str, variant["set"])))
    return found


def _read(path: Path, changes: Sequence[str], seed: int, runs: Path) -> Trained:
    recipe = read_recipe(read_config(path, changes))
    if not isinstance(recipe, Trained):
        raise ConfigError(
            f"{path}: a recipe of kind '{recipe.kind}'; give process, uncertainty or classifier"
        )
    return replace(recipe, seed=seed, folder=str(runs / str(seed)))


def write_row(folder: Path, row: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    """Put a row into the folder's results.json."""
    path = folder / "results.json"
    document = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    key = (row["recipe"], row["seed"])
    rows = [one for one in document.get("detection", []) if (one["recipe"], one["seed"]) != key]
    rows = sorted([*rows, row], key=lambda one: (one["recipe"], one["seed"]))
    title = "Pictures of other sets, found by the entropy of predictions"
    content = {"title": title, "run": run, "targets": targets(rows), "detection": rows}
    path.write_text(on_lines(content), encoding="utf-8")


def targets(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The source's figures beside the means over seeds."""
    found = []
    for name, (error, auroc) in SOURCE.items():
        own = [row for row in rows if row["recipe"] == name]
        if own:
            words = f"{name}, {own[0]['epochs']} epochs, seeds: {len(own)}"
            for figure, limit, sign in (
                ("error_percent", error, "<="), ("auroc_percent", auroc, ">=")
            ):  # fmt: skip
                ours = statistics.fmean(row[figure] for row in own)
                # The source gives one digit.
                met = round(ours, 1) <= limit if sign == "<=" else round(ours, 1) >= limit
                found.append({
                    "name": f"{words}: {figure.replace('_', ' ')}",
                    "target": f"{sign} {limit}",
                    "ours": ours,
                    "met": met,
                })  # fmt: skip
    return found
