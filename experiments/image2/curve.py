"""Rate-distortion curves of image model 2 beside `default`'s, on the validation photographs.

    python experiments/image2/curve.py [WEIGHTS ...]

Rates are ideal code lengths (KL) in bits per pixel of whole photographs, tastes 0 (squared error)
and 1 (MS-SSIM); BD-rates are against `default` on the same pictures. Kodak has no part in it.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from laconic.data.patches import load_images, read_split
from laconic.evaluation.ideal import IdealPoint, ideal_curve
from laconic.evaluation.provenance import describe_run
from laconic.metrics import bd_rate
from laconic.pretrained import DEFAULT, load
from laconic.pretrained.recipe import data_root

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
WEIGHTS = HERE / "image2.safetensors"
PHOTOGRAPHS, POINTS, SEED = 12, 6, 0
TASTES = (0.0, 1.0)
FIGURES = ("psnr_db", "ms_ssim_db")


def difference(curve: Sequence[IdealPoint], reference: Sequence[IdealPoint], figure: str) -> float:
    """BD-rate in per cent over the qualities that both curves reach."""
    sides = []
    for points in (curve, reference):
        rates = [point.ideal_bits_per_pixel for point in points]
        sides += [rates, [float(getattr(point, figure)) for point in points]]
    return round(bd_rate(*sides), 2)


def main() -> None:
    """Measure the named weights beside the embedded model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", nargs="*", default=[str(WEIGHTS)])
    parser.add_argument("--photographs", type=int, default=PHOTOGRAPHS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    started = time.time()
    images = load_images(read_split(data_root() / "photos", "valid")[: options.photographs])
    reference = ideal_curve(load(DEFAULT).model, images, POINTS, seed=SEED)
    rows: list[dict[str, Any]] = []

    def add(name: str, steps: int, taste: float | None, curve: Sequence[IdealPoint]) -> None:
        against = {figure: difference(curve, reference, figure) for figure in FIGURES}
        facts = {"weights": name, "iterations": steps, "taste": taste}
        points = [asdict(point) for point in curve]
        rows.append(facts | {"bd_rate_against_default_percent": against, "points": points})
        print(json.dumps(facts | against), flush=True)

    add(DEFAULT, load(DEFAULT).steps, None, reference)
    for weights in options.weights:
        released = load(weights)
        for taste in TASTES:
            curve = ideal_curve(released.model, images, POINTS, taste, SEED)
            add(Path(weights).name, released.steps, taste, curve)
    command = "python experiments/image2/curve.py"
    run = describe_run(command, started, HERE.parents[1], seeds=[SEED])
    facts = {"run": run, "photographs": len(images), "rows": rows}
    options.results.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
