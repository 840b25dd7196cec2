"""Every validation photograph against JPEG at equal bytes: which one gains least.

    python experiments/image2/jpeg/run.py [--tune psnr|balanced|ms-ssim] [--limit N]

For each photograph and quality, a real file of ours beside JPEG's curve (Pillow, optimised Huffman
tables) at the same number of bytes: the difference in dB of PSNR and of MS-SSIM. Where JPEG cannot
make so small or so large a file there is no difference to give, and the row says so. Rows are
written as they come into results.json, and an interrupted run goes on. The BSDS photographs were
JPEG files of quality 95, on whose grid of blocks JPEG codes them again.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from laconic.codecs.image.codec import ImageCodec
from laconic.codecs.image.header import TUNES
from laconic.data.datasets import data_root
from laconic.data.folders import load_rgb
from laconic.data.patches import read_split
from laconic.evaluation.anchors.classical import Anchor, find_anchors
from laconic.evaluation.report.provenance import describe_run
from laconic.metrics.curves import pareto, quality_at
from laconic.metrics.images import Image8, ms_ssim, ms_ssim_db, psnr
from laconic.pretrained import load

HERE = Path(__file__).parent
QUALITIES = (10.0, 50.0, 80.0)
JPEG_QUALITIES = (
    2,
    4,
    6,
    8,
    10,
    13,
    16,
    20,
    25,
    30,
    35,
    40,
    50,
    60,
    70,
    75,
    80,
    85,
    90,
    93,
    95,
    97,
)
FIGURES = ("psnr_db", "ms_ssim_db")

Row = dict[str, Any]


def figures(pixels: Image8, shown: Image8) -> dict[str, float]:
    return {
        "psnr_db": round(psnr(pixels, shown), 4),
        "ms_ssim_db": round(ms_ssim_db(ms_ssim(pixels, shown)), 4),
    }


def jpeg_curve(jpeg: Anchor, pixels: Image8) -> list[dict[str, float]]:
    """Bytes and figures of JPEG files of a photograph."""
    files = [jpeg.encode(pixels, quality) for quality in JPEG_QUALITIES]
    return [{"bytes": len(data), **figures(pixels, jpeg.decode(data))} for data in files]


def gains(ours: Row, curve: list[dict[str, float]]) -> dict[str, float | None]:
    """dB above JPEG at as many bytes; None where JPEG has no such file."""
    found: dict[str, float | None] = {}
    for figure in FIGURES:
        points = pareto([one["bytes"] for one in curve], [one[figure] for one in curve])
        at = quality_at(*points, ours["bytes"])
        found[f"{figure}_above_jpeg"] = None if np.isnan(at) else round(ours[figure] - at, 3)
    return found


def targets(rows: list[Row]) -> list[Row]:
    """The least gain, and how many files are worse."""
    found = []
    for figure in FIGURES:
        known = [row for row in rows if row[f"{figure}_above_jpeg"] is not None]
        worst = min(known, key=lambda row: float(row[f"{figure}_above_jpeg"]))
        least = float(worst[f"{figure}_above_jpeg"])
        worse = sum(row[f"{figure}_above_jpeg"] < 0 for row in known)
        name = (
            f"worst of {len(known)} files against JPEG at equal bytes, {figure.removesuffix('_db')}"
            f" in dB ({worst['photograph']}, quality {worst['quality']:g}; {worse} files are worse)"
        )
        found.append({"name": name, "target": ">= 0", "ours": least, "met": least >= 0})
    return found


def main() -> None:
    """Measure what is missing, write everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tune", choices=TUNES, default="balanced")
    parser.add_argument("--limit", type=int, default=0, help="photographs; 0 for all")
    options = parser.parse_args()
    started, out = time.time(), HERE / "results.json"
    rows: list[Row] = json.loads(out.read_text())["rows"] if out.exists() else []
    known = {(row["tune"], row["photograph"]) for row in rows}
    loaded = load()
    codec = ImageCodec(loaded.model, loaded.name, loaded.fingerprint, threads=1, tune=options.tune)
    (jpeg,) = find_anchors(["jpeg"])
    run = describe_run("python experiments/image2/jpeg/run.py", started, HERE.parents[2])
    paths = read_split(data_root() / "photos", "valid")
    for path in paths[: options.limit or None]:
        if (options.tune, path.stem) in known:
            continue
        pixels = load_rgb(path)
        curve = jpeg_curve(jpeg, pixels)
        for quality in QUALITIES:
            data = codec.encode(pixels, quality=quality)
            shown = np.asarray(codec.decode(data).convert("RGB"))
            row: Row = {"tune": options.tune, "photograph": path.stem, "quality": quality}
            row |= {"bytes": len(data), "bpp": round(8 * len(data) * 3 / pixels.size, 4)}
            row |= figures(pixels, shown)
            rows.append(row | gains(row, curve))
            print(json.dumps(rows[-1]), flush=True)
        own = [row for row in rows if row["tune"] == options.tune]
        document = {"title": "Validation photographs against JPEG", "model": loaded.name}
        document |= {"run": run, "targets": targets(own), "rows": rows}
        out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
