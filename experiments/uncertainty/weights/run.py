"""Classifiers with posteriors of their weights: recipes -> results.json.

    python experiments/uncertainty/weights/run.py [NAME ...] [--seeds 0 1 2 3 4] [--epochs N]

Each recipe of this folder is trained with every seed and measured on its test set and on other
sets; networks of MNIST also on adversarial examples (fast gradient sign). Finished runs are not run
again. Source: Louizos 3.4.2 and 4.4, tables 2, 4 and 5, figures 7 to 10.
"""

import argparse
import json
import statistics
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

import laconic
from laconic.container.storage import write_atomically
from laconic.distributions.prediction import Prediction
from laconic.evaluation.report.provenance import describe_run
from laconic.evaluation.uncertainty.measures import measure, read_run
from laconic.lab.recipes import read_recipe
from laconic.lab.recipes.uncertainty import UncertaintyRecipe
from laconic.lab.runs import complete
from laconic.lab.tasks import task
from laconic.training.adversarial import fast_sign
from laconic.training.config import read_config

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
EPSILONS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
THRESHOLDS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25)
"""Entropies in nats at which distribution functions of other sets are compared."""
RIVALS = ("lenet-dropout", "lenet-mean-field", "lenet-log-uniform")
ATTACK_SIZE = 0.3
"""At which entropies are compared."""
ATTACKED = 1000
"""Test pictures that adversarial examples are made of."""
SOURCE = {
    "mlp-2x400-vmg": 1.15, "mlp-3x750-vmg": 1.05, "lenet-mnf": 0.7, "cifar5-mnf": 16.0,
    "mlp-2x400-dropout": 1.25, "mlp-3x750-dropout": 1.25,
}  # fmt: skip
"""Test error in percent, by recipe."""
MEMORISED = {"random-labels-mnf": 12.0}
"""Largest training accuracy in percent with random labels."""


def attack(recipe: UncertaintyRecipe, samples: int) -> list[dict[str, float]]:
    """Accuracy in percent and mean entropy in nats over the size of the perturbation."""
    net, data = recipe.trained(), task(recipe.data, 0)
    x, labels = data.test_inputs[:ATTACKED], data.test_labels[:ATTACKED]

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(net(inputs), targets)

    rows = []
    for epsilon in EPSILONS:
        parts = zip(x.split(100), labels.split(100), strict=True)
        hard = torch.cat([fast_sign(loss, a, b, epsilon, (0.0, 1.0)) for a, b in parts])
        found = laconic.predict(net, hard, samples=samples, seed=0)
        assert isinstance(found, Prediction)
        right = (found.labels == labels).double().mean()
        rows.append({
            "epsilon": epsilon,
            "accuracy_percent": 100 * float(right),
            "entropy_nats": float(found.entropy.double().mean()),
        })  # fmt: skip
    return rows


def row_of(recipe: UncertaintyRecipe) -> dict[str, Any]:
    """One trained network, measured."""
    result = complete(recipe)
    run = read_run(recipe.place)
    own = measure(run)
    row = {
        **{key: result[key] for key in ("method", "network", "data", "seed", "epochs", "samples")},
        "recipe": recipe.name, "error_percent": 100 * own.error, **asdict(own),
        "entropy_cdf": {
            name: [float((entropy <= most).double().mean()) for most in THRESHOLDS]
            for name, entropy in run.outliers.items()
        },
        "train_seconds": result["train_seconds"],
    }  # fmt: skip
    if recipe.name in MEMORISED or recipe.name.startswith("random-labels"):
        data = task(recipe.data, 0)
        found = laconic.predict(recipe.trained(), data.inputs[:10_000], samples=10, seed=0)
        assert isinstance(found, Prediction)
        right = (found.labels == data.labels[:10_000]).double().mean()
        row["training_accuracy_percent"] = 100 * float(right)
    elif recipe.data == "mnist" and recipe.method != "ensemble":
        row["attack"] = attack(recipe, recipe.samples)
    return row


def targets(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The source's figures beside the means over seeds."""
    found = []
    for name in dict.fromkeys(row["recipe"] for row in rows):
        own = [row for row in rows if row["recipe"] == name]
        what = f"{name}, {own[0]['epochs']} epochs, {len(own)} seed" + "s" * (len(own) > 1)
        wanted = [("error_percent", SOURCE), ("training_accuracy_percent", MEMORISED)]
        for key, table in wanted:
            if name in table:
                ours = statistics.fmean(row[key] for row in own)
                found.append({
                    "name": f"{what}: {key.replace('_', ' ')}",
                    "target": f"at most {table[name]}",
                    "ours": round(ours, 3),
                    "met": ours <= table[name],
                })  # fmt: skip
    return found + entropy_targets(rows)


def entropy_targets(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entropies of "mnf" beside those of other methods: on notMNIST, and under attack."""
    found, by_recipe = [], {row["recipe"]: row for row in rows if row["seed"] == 0}
    own = by_recipe.get("lenet-mnf", {})
    for name in RIVALS:
        pair = [
            one.get("entropy_cdf", {}).get("notmnist") for one in (own, by_recipe.get(name, {}))
        ]
        if all(pair):
            excess = max(a - b for a, b in zip(*pair, strict=True))
            found.append({
                "name": f"notMNIST: lenet-mnf's CDF less {name}'s from 0.5 nats on, largest",
                "target": "at most 0", "ours": round(excess, 4), "met": excess <= 0,
            })  # fmt: skip
    attacks = [by_recipe.get(name, {}).get("attack", []) for name in ("lenet-mnf", RIVALS[0])]
    entropies = [
        row["entropy_nats"] for rows in attacks for row in rows if row["epsilon"] == ATTACK_SIZE
    ]
    if len(entropies) == len(attacks):
        ratio = entropies[0] / entropies[1]
        found.append({
            "name": f"entropy under attack of {ATTACK_SIZE}, lenet-mnf over {RIVALS[0]}",
            "target": "at least 2", "ours": round(ratio, 3), "met": ratio >= 2,
        })  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, help="in place of the recipes' own")
    parser.add_argument("--runs", default="runs/uncertainty")
    given = parser.parse_args()
    known = {path.stem: path for path in sorted(HERE.glob("*.yaml"))}
    began = time.time()
    for name in given.recipes or known:
        if name not in known:
            parser.error(f"{name!r} is not one of {', '.join(known)}")
        for seed in given.seeds:
            recipe = read_recipe(read_config(known[name], [f"seed={seed}", f"runs={given.runs}"]))
            assert isinstance(recipe, UncertaintyRecipe)
            if given.epochs:
                recipe = replace(recipe, train=replace(recipe.train, epochs=given.epochs))
            row = row_of(recipe)
            rows = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
            rows = [one for one in rows if (one["recipe"], one["seed"]) != (name, seed)]
            rows = sorted([*rows, row], key=lambda one: (one["recipe"], one["seed"]))
            command = "python experiments/uncertainty/weights/run.py"
            document = {
                "title": "Classifiers with posteriors of their weights (Louizos 3.4 and 4.4)",
                "run": describe_run(command, began, HERE.parents[2], seeds=given.seeds),
                "targets": targets(rows),
                "runs": rows,
            }
            write_atomically(RESULTS, (json.dumps(document, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
