"""Write results.json and figures of the sweeps of systems from their finished runs.

python experiments/channels/collect.py pairs runs/channels/faces
python experiments/channels/collect.py bands runs/channels/bands

Runs in results.json of data sets that the named folders do not have stay there.
"""

import argparse
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from laconic.evaluation.channels.report import (
    chosen,
    draw_pictures,
    linear_fit,
    read_runs,
    system_name,
    write_figures,
)
from laconic.evaluation.report.figures import save_figure
from laconic.evaluation.report.provenance import describe_run
from laconic.lab.runs import GRIDS

HERE = Path(__file__).resolve().parent
Result = Mapping[str, Any]


def target(name: str, wanted: str, ours: Any, met: bool) -> dict[str, Any]:
    return {"name": name, "target": wanted, "ours": ours, "met": met}


def pair_targets(results: Sequence[Result]) -> list[dict[str, Any]]:
    """At every ratio the joint system's error over the separate one's, the largest of all seeds."""
    rows = []
    for data, snr_db in sorted({(one["data"], one["channel"]["snr_db"]) for one in results}):
        found: dict[int, dict[str, float]] = {}
        for one in results:
            if (one["data"], one["channel"]["snr_db"]) == (data, snr_db):
                mse = one["distortion"]["0"]["mse"]
                found.setdefault(one["seed"], {})[system_name(one)] = mse
        over = [mse["joint"] / mse["separate"] for mse in found.values() if len(mse) == 2]
        if over:
            name = (
                f"{data}, {snr_db:g} dB: MSE of joint over separate, largest of {len(over)} seeds"
            )
            rows.append(target(name, "< 1", round(max(over), 3), max(over) < 1))
    return rows


def band_targets(results: Sequence[Result]) -> list[dict[str, Any]]:
    """The line through distortion by bands, what the recurrent prior gains, what latents gain."""
    rows = []
    for data in sorted({one["data"] for one in results}):
        own = [one for one in results if one["data"] == data]
        named = {
            name: mean_curves([one for one in own if system_name(one) == name])
            for name in sorted(map(system_name, own))
        }
        for name, curve in named.items():
            fit = linear_fit({"distortion": curve})["r_squared"]
            title = f"{data}, {name}: R^2 of distortion by bands"
            rows.append(target(title, ">= 0.97", round(fit, 4), fit >= 0.97))
        plain, simple, latent = (
            named.get(f"bands, {kind}")
            for kind in ("draw prior", "spherical prior", "draw prior with auxiliary latents")
        )
        better = "MSE of the recurrent prior over the spherical one"
        rows += ratios(data, plain, simple, "mse", better)
        rows += ratios(
            data, latent, plain, "frechet", "Fréchet distance, auxiliary latents over none"
        )
    return rows


def mean_curves(results: Sequence[Result]) -> dict[str, dict[str, float]]:
    """Means over seeds of what was measured at each bandwidth."""
    return {
        count: {
            key: float(np.mean([one["distortion"][count][key] for one in results]))
            for key in results[0]["distortion"][count]
        }
        for count in results[0]["distortion"]
    }


def ratios(data: str, one: Any, other: Any, key: str, words: str) -> list[dict[str, Any]]:
    """A figure of one system over that of another, at every bandwidth."""
    rows = []
    for count in one or ():
        if other and key in one[count] and key in other[count]:
            ratio = one[count][key] / other[count][key]
            name = f"{data}, {count} bands: {words}"
            rows.append(target(name, "< 1", round(ratio, 3), ratio < 1))
    return rows


KINDS: dict[str, tuple[str, Callable[[Sequence[Result]], list[dict[str, Any]]]]] = {
    "pairs": ("Channels: joint against separate systems", pair_targets),
    "bands": ("Channels: distortion against bandwidth", band_targets),
}


def earlier_runs(path: Path, known: Collection[str]) -> list[Result]:
    """Runs in results.json of other data sets than these."""
    if not path.exists():
        return []
    runs: list[Result] = json.loads(path.read_text())["runs"]
    return [one for one in runs if one["data"] not in known]


def main() -> None:
    """Read the runs, write results.json and figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("runs", nargs="+", type=Path)
    options = parser.parse_args()
    started = time.time()
    folder, (title, find) = HERE / options.kind, KINDS[options.kind]
    results = read_runs(options.runs)
    both = results + earlier_runs(folder / "results.json", {one["data"] for one in results})
    picked = chosen(both)
    command = " ".join(
        ["python experiments/channels/collect.py", options.kind, *map(str, options.runs)]
    )
    seeds = sorted({one["seed"] for one in both})
    keys = ("data", "system", "channel", "seed", "steps", "train_seconds", "parameters", "uses",
            "capacity_bits_per_use", "distortion", "validation")  # fmt: skip
    document = {
        "title": title,
        "run": describe_run(command, started, HERE.parents[1], seeds=seeds),
        "targets": find(picked),
        "runs": [{key: one[key] for key in keys if key in one} for one in both],
    }
    (folder / "results.json").write_text(json.dumps(document, indent=1) + "\n")
    write_figures(results, folder, lambda path: None)
    for path in sorted(path for run in options.runs for path in run.rglob(GRIDS)):
        if options.kind == "bands" and path.parent.name == "0":  # The first seed's pictures.
            with np.load(path) as grids:
                save_figure(draw_pictures(dict(grids)), folder / path.parents[1].name)


if __name__ == "__main__":
    main()
