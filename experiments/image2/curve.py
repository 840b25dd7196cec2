"""Rate-distortion curves of image model 2 beside `default`'s, on the validation photographs.

    python experiments/image2/curve.py --anchor
    python experiments/image2/curve.py [WEIGHTS ...]

The first measures real files of HEVC 4:4:4 (`heif`, once, into hevc.json). Rates of our models are
ideal code lengths (KL) in bits per pixel of whole photographs, tastes 0 (squared error) and 1
(MS-SSIM); a file is some per cent longer. BD-rates are of mean curves, against `default` and
against HEVC, on the same pictures. Kodak has no part in it.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from laconic.data.datasets import data_root
from laconic.data.patches import load_images, read_split
from laconic.evaluation.anchors.classical import find_anchors
from laconic.evaluation.images.ideal import IdealPoint, ideal_curve
from laconic.evaluation.images.rate_distortion import measure_picture
from laconic.evaluation.report.provenance import describe_run
from laconic.metrics import bd_rate
from laconic.metrics.images import Image8, ms_ssim_db
from laconic.pretrained import load

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
ANCHOR = HERE / "hevc.json"
WEIGHTS = "photo2"
PHOTOGRAPHS, POINTS, SEED = 12, 6, 0
TASTES = (0.0, 1.0)
DEFAULT = "default"
"""The first embedded model, with which all are compared."""
FIGURES = ("psnr_db", "ms_ssim_db")


RATE_RANGE = (0.15, 1.0)
"""Bits per pixel in which HEVC is compared, as on Kodak."""

Points = Sequence[Mapping[str, float]]
"""Rate and quality by operating point."""


def difference(
    curve: Points, reference: Points, figure: str, rate_range: tuple[float, float] | None = None
) -> float:
    """BD-rate in per cent over the qualities that both curves reach."""
    sides = []
    for points in (curve, reference):
        sides.append([point["bits_per_pixel"] for point in points])
        sides.append([point[figure] for point in points])
    return round(bd_rate(*sides, rate_range=rate_range), 2)


def hevc(images: Sequence[Image8]) -> list[dict[str, float]]:
    """Means over the pictures of real files, by setting."""
    (anchor,) = find_anchors(["heif"])
    curve = []
    for setting in anchor.settings:
        found = [measure_picture(anchor, "", pixels, setting) for pixels in images]
        rates = [8 * one.bytes / one.width / one.height for one in found]
        similarities = [ms_ssim_db(one.ms_ssim) for one in found]
        values = (rates, [one.psnr for one in found], similarities)
        means = [round(float(np.mean(each)), 4) for each in values]
        curve.append(
            {"setting": setting, **dict(zip(("bits_per_pixel", *FIGURES), means, strict=True))}
        )
        print(json.dumps(curve[-1]), flush=True)
    return curve


def plain(curve: Sequence[IdealPoint]) -> list[dict[str, float]]:
    """Points as JSON has them."""
    return [
        {"beta": point.beta, "bits_per_pixel": point.ideal_bits_per_pixel}
        | {figure: float(getattr(point, figure)) for figure in FIGURES}
        for point in curve
    ]


def main() -> None:
    """Measure the named weights beside the embedded model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", nargs="*", default=[WEIGHTS])
    parser.add_argument("--photographs", type=int, default=PHOTOGRAPHS)
    parser.add_argument("--anchor", action="store_true", help="measure HEVC")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    started = time.time()
    images = load_images(read_split(data_root() / "photos", "valid")[: options.photographs])
    stride = load(DEFAULT).model.stride
    images = [x[: x.shape[0] // stride * stride, : x.shape[1] // stride * stride] for x in images]
    if options.anchor:
        facts = {"photographs": len(images), "points": hevc(images)}
        ANCHOR.write_text(json.dumps(facts, indent=1) + "\n")
        return
    anchor = json.loads(ANCHOR.read_text())["points"] if ANCHOR.exists() else []
    reference = plain(ideal_curve(load(DEFAULT).model, images, POINTS, seed=SEED))
    rows: list[dict[str, Any]] = []

    def add(name: str, steps: int, taste: float | None, curve: Points) -> None:
        against = {"default": {f: difference(curve, reference, f) for f in FIGURES}}
        if anchor:
            against["hevc"] = {f: difference(curve, anchor, f, RATE_RANGE) for f in FIGURES}
        facts = {"weights": name, "iterations": steps, "taste": taste, "bd_rate_percent": against}
        rows.append(facts | {"points": curve})
        print(json.dumps(facts), flush=True)

    add(DEFAULT, load(DEFAULT).steps, None, reference)
    for weights in options.weights:
        released = load(weights)
        for taste in TASTES:
            curve = plain(ideal_curve(released.model, images, POINTS, taste, SEED))
            add(Path(weights).name, released.steps, taste, curve)
    command = "python experiments/image2/curve.py"
    run = describe_run(command, started, HERE.parents[1], seeds=[SEED])
    facts = {"run": run, "photographs": len(images), "rows": rows}
    options.results.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
