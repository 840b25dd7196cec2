"""What sweeps left behind, into results.json, figures and the report.

    python experiments/rd/collect.py runs/rd/mnist runs/rd/omniglot

The first folder's data set is held to the targets.
"""

import argparse
import json
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from laconic.evaluation.images.results import finite
from laconic.evaluation.plane.claims import check_claims
from laconic.evaluation.plane.points import PlanePoint, read_points
from laconic.evaluation.plane.report import write_report
from laconic.evaluation.report.provenance import describe_run

HERE = Path(__file__).resolve().parent
LEAST_FAMILIES, LEAST_BETAS = 6, 6
BEST_NATS, LOW_NATS, HIGH_NATS = 86.0, 0.1, 100.0
OVERHEAD_PERCENT = 1.0
CODED_FAMILY = "---"
KEPT = (
    "_plane.svg", "_plane.png", "_skew.svg", "_skew_log.svg", "points.csv",
    "_-+v_reconstructions.png", "_-+v_generations.png", "_-+-_reconstructions.png",
)  # fmt: skip
"""Endings of the report's files that are kept beside the results."""


def main() -> None:
    """Read, judge, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweeps", nargs="+", type=Path)
    arguments = parser.parse_args()
    started = time.time()
    sets = {folder.name: read_points([folder]) for folder in arguments.sweeps}
    first = next(iter(sets.values()))
    for folder in arguments.sweeps:
        keep_figures(write_report([folder], folder / "report"), HERE / folder.name)
        print(f"{folder.name}: {len(sets[folder.name])} runs")
    command = " ".join(["python experiments/rd/collect.py", *map(str, arguments.sweeps)])
    document = {
        "title": "The rate-distortion plane",
        "run": describe_run(command, started, HERE.parents[1]),
        "targets": targets(first),
        "sets": {name: summary(points) for name, points in sets.items()},
    }
    path = HERE / "results.json"
    path.write_text(json.dumps(finite(document), indent=1) + "\n", encoding="utf-8")


def keep_figures(written: Sequence[Path], folder: Path) -> None:
    """Copy what a reader of the source would look for; the report itself stays with the runs."""
    folder.mkdir(exist_ok=True)
    for path in written:
        if path.name.endswith(KEPT):
            shutil.copyfile(path, folder / path.name)


def targets(points: Sequence[PlanePoint]) -> list[dict[str, Any]]:
    """The issue's figures for the first data set."""
    full = [name for name, betas in betas_of(points).items() if betas >= LEAST_BETAS]
    best = min(point.negative_elbo.value for point in points)
    widest = min(spans(points).items(), key=lambda item: _shortfall(*item[1]))
    low, high = widest[1]
    judged = [
        _target(f"families with {LEAST_BETAS} betas or more", len(full), LEAST_FAMILIES, "least"),
        _target("best negative ELBO, nats", best, BEST_NATS, "most"),
        _target(f"lowest rate of {widest[0]}, nats", low, LOW_NATS, "most"),
        _target(f"highest rate of {widest[0]}, nats", high, HIGH_NATS, "least"),
    ]
    coded = [p.files["bits_back"] for p in points if p.family == CODED_FAMILY and p.files]
    if coded:
        worst = max(100 * (file.bits / file.ideal_bits - 1) for file in coded)
        name = f"bits-back of {CODED_FAMILY}, bits over ideal, worst beta, %"
        judged.append(_target(name, worst, OVERHEAD_PERCENT, "most"))
    return judged


def _shortfall(low: float, high: float) -> float:
    return max(0.0, math.log(low / LOW_NATS)) + max(0.0, math.log(HIGH_NATS / high))


def _target(name: str, ours: float, bound: float, side: str) -> dict[str, Any]:
    met = ours <= bound if side == "most" else ours >= bound
    return {"name": f"plane: {name}", "target": f"at {side} {bound:g}", "ours": ours, "met": met}


def betas_of(points: Sequence[PlanePoint]) -> dict[str, int]:
    """How many betas every family was trained at."""
    found: dict[str, set[float]] = {}
    for point in points:
        if math.isfinite(point.beta):
            found.setdefault(point.family, set()).add(point.beta)
    return {family: len(betas) for family, betas in found.items()}


def spans(points: Sequence[PlanePoint]) -> dict[str, tuple[float, float]]:
    """The lowest and highest rate that each family reached by beta alone."""
    rates: dict[str, list[float]] = {}
    for point in points:
        if math.isfinite(point.beta):
            rates.setdefault(point.family, []).append(max(point.rate, 1e-6))
    return {family: (min(found), max(found)) for family, found in rates.items()}


def summary(points: Sequence[PlanePoint]) -> dict[str, Any]:
    """Every run's figures, and what became of the source's claims."""
    claims = [
        {"claim": claim.words, "verdict": claim.verdict, "numbers": claim.numbers}
        for claim in check_claims(points)
    ]
    return {"claims": claims, "points": [_row(point) for point in points]}


def _row(point: PlanePoint) -> dict[str, Any]:
    measures = {
        name: {"value": measure.value, "error": measure.error, "draws": measure.draws}
        for name, measure in point.measures.items()
    }
    files = {
        name: {
            "bits_per_image": file.bits,
            "ideal_bits_per_image": file.ideal_bits,
            "images": file.images,
        }
        for name, file in point.files.items()
    }
    lower, upper = point.information
    return {
        "name": point.name,
        "family": point.family,
        "data": point.data,
        **point.settings,
        "measures": measures | {"information_nats": {"lower": lower, "upper": upper}},
        "files": files,
    }


if __name__ == "__main__":
    main()
