"""Posteriors as .lac files: error, likelihood and detection of other sets, before and after.

    python experiments/uncertainty/files/run.py [NAME ...] [--set KEY=VALUE ...]

Each recipe of this folder is trained if it is not yet, shrunk with its distribution, expanded into
a fresh network, and measured again with the same draws.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from torch import nn

import laconic
from laconic.codecs.network.posterior import is_converted
from laconic.container.storage import write_atomically
from laconic.evaluation.report.provenance import describe_run
from laconic.evaluation.uncertainty.measures import Run, measure
from laconic.lab.predictions import collect
from laconic.lab.recipes import read_recipe
from laconic.lab.recipes.uncertainty import UncertaintyRecipe
from laconic.lab.runs import complete
from laconic.lab.tasks import NETWORKS
from laconic.training.config import read_config

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
STEP_SCALES = (0.5, 1.0, 2.0)
ALLOWED_POINTS = 0.2
"""Change of error and of AUROC, in percentage points, that counts as kept."""


def figures(net: nn.Module, recipe: UncertaintyRecipe) -> dict[str, float]:
    """Error and AUROC in percent, likelihood in nats."""
    tensors = collect(net, recipe.data, recipe.hold_out, recipe.samples, recipe.count)
    own = measure(Run(recipe.name, {}, tensors))
    assert own.auroc is not None
    return {
        "error_percent": 100 * own.error,
        "nll_nats": own.nll,
        "auroc_percent": 100 * own.auroc,
        "epistemic_nats": own.epistemic,
    }


def row_of(recipe: UncertaintyRecipe) -> dict[str, Any]:
    """One posterior: its figures, and those of its files."""
    complete(recipe)
    net = recipe.trained()
    assert is_converted(net)
    numbers = sum(p.numel() for p in NETWORKS[recipe.network]().parameters())
    held = sum(p.numel() for p in net.parameters())
    row: dict[str, Any] = {
        "recipe": recipe.name, "method": recipe.method, "epochs": recipe.train.epochs,
        "samples": recipe.samples, "count": recipe.count, "weights": numbers,
        "posterior_bytes": 4 * held, "before": figures(net, recipe), "files": [],
    }  # fmt: skip
    for scale in STEP_SCALES:
        data = laconic.shrink(net, distribution=True, step_scale=scale)
        fresh = NETWORKS[recipe.network]()
        laconic.expand(data, into=fresh)
        row["files"].append(
            {"step_scale": scale, "file_bytes": len(data), **figures(fresh.eval(), recipe)}
        )
    return row


def targets(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Whether the file of the usual step keeps error and AUROC."""
    found = []
    for row in rows:
        file = next(one for one in row["files"] if one["step_scale"] == 1.0)
        change = max(
            abs(file[key] - row["before"][key]) for key in ("error_percent", "auroc_percent")
        )
        found.append({
            "name": f"files: {row['recipe']}, {row['epochs']} epochs: change of error and AUROC, "
            f"points, in a file {row['posterior_bytes'] / file['file_bytes']:.1f} times smaller",
            "target": f"at most {ALLOWED_POINTS}",
            "ours": round(change, 3),
            "met": round(change, 3) <= ALLOWED_POINTS,
        })  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", metavar="NAME")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    known = {path.stem: path for path in sorted(HERE.glob("*.yaml"))}
    began = time.time()
    for name in given.recipes or known:
        if name not in known:
            parser.error(f"{name!r} is not one of {', '.join(known)}")
        recipe = read_recipe(read_config(known[name], given.set))
        assert isinstance(recipe, UncertaintyRecipe)
        row = row_of(recipe)
        rows = json.loads(RESULTS.read_text())["files"] if RESULTS.exists() else []
        rows = sorted(
            [*(one for one in rows if one["recipe"] != recipe.name), row],
            key=lambda one: str(one["recipe"]),
        )
        document = {
            "title": "Posteriors as .lac files: predictions before and after",
            "run": describe_run(
                "python experiments/uncertainty/files/run.py", began, HERE.parents[2],
                seeds=[recipe.seed],
            ),
            "targets": targets(rows),
            "files": rows,
        }  # fmt: skip
        write_atomically(RESULTS, (json.dumps(document, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
