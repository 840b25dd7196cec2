"""What the effort of lossy files gains: four validation photographs, three qualities, two models.

    python experiments/image2/effort.py [--crop 192] [--efforts 0,5] [--out FILE]

Each measurement is a real file and the ideal length that it records, with PSNR and MS-SSIM of the
decoded picture; `default` has no taste, `photo2` is measured at tastes psnr and ms-ssim. A gain
is given at equal quality, along the curve through the three qualities without effort: BD-rate in
per cent, of files and of ideal lengths (negative: fewer bits). Rows are written as they come, and a
run that was interrupted goes on. Kodak has no part in it.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from laconic.codecs.image.codec import ImageCodec
from laconic.codecs.image.file import ImageFile
from laconic.codecs.image.refinement import STEPS
from laconic.data.datasets import data_root
from laconic.data.patches import load_images, read_split
from laconic.evaluation.report.provenance import describe_run
from laconic.metrics import bd_rate
from laconic.metrics.images import Image8, ms_ssim, ms_ssim_db, psnr
from laconic.pretrained import load

HERE = Path(__file__).parent
PHOTOGRAPHS, QUALITIES = 4, (10, 35, 60)
PLAN: tuple[tuple[str, str | None, str], ...] = (
    ("default", None, "psnr_db"),
    ("photo2", "psnr", "psnr_db"),
    ("photo2", "ms-ssim", "ms_ssim_db"),
)
"""Model, taste, and the figure that the taste is made for."""

Rows = list[dict[str, Any]]


def middles(side: int) -> list[Image8]:
    """The middle of the first validation photographs, `(side, side, 3)`."""
    crops = []
    for pixels in load_images(read_split(data_root() / "photos", "valid")[:PHOTOGRAPHS]):
        top, left = ((length - side) // 2 for length in pixels.shape[:2])
        crops.append(np.ascontiguousarray(pixels[top : top + side, left : left + side]))
    return crops


def measure(codec: ImageCodec, pixels: Image8, quality: float) -> dict[str, float]:
    """One file."""
    start = time.process_time()
    data = codec.encode(pixels, quality=quality)
    seconds = time.process_time() - start
    shown = np.asarray(codec.decode(data).convert("RGB"))
    ideal = ImageFile.read(data).describe().ideal_bits
    return {
        "file_bits": 8 * len(data),
        "ideal_bits": ideal,
        "psnr_db": round(psnr(pixels, shown), 4),
        "ms_ssim_db": round(ms_ssim_db(ms_ssim(pixels, shown)), 4),
        "encode_cpu_seconds": round(seconds, 2),
    }


def gains(rows: Rows, efforts: Sequence[int]) -> Rows:
    """BD-rate of mean curves against effort 0."""
    found = []
    for model, tune, figure in PLAN:
        curves = {}
        for effort in efforts:
            chosen = [
                [r for r in rows if (r["model"], r["tune"], r["effort"], r["quality"])
                 == (Path(model).name, tune, effort, quality)]
                for quality in QUALITIES
            ]  # fmt: skip
            if all(len(some) == PHOTOGRAPHS for some in chosen):
                curves[effort] = [
                    {k: float(np.mean([r[k] for r in some]))
                     for k in ("file_bits", "ideal_bits", figure)}
                    for some in chosen
                ]  # fmt: skip
        for effort in efforts:
            if 0 not in curves or effort not in curves or effort == 0:
                continue
            row: dict[str, Any] = {"model": Path(model).name, "tune": tune, "figure": figure}
            row |= {"effort": effort, "steps": STEPS[effort]}
            for kind in ("file_bits", "ideal_bits"):
                sides = [
                    [point[key] for point in curves[one]]
                    for one in (effort, 0)
                    for key in (kind, figure)
                ]
                row[f"bd_rate_percent_{kind}"] = round(bd_rate(*sides), 2)
            found.append(row)
    return found


def main() -> None:
    """Measure what is missing, write everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crop", type=int, default=192)
    parser.add_argument("--efforts", default="0,5")
    parser.add_argument("--out", type=Path, default=HERE / "effort.json")
    options = parser.parse_args()
    started, efforts = time.time(), [int(text) for text in options.efforts.split(",")]
    rows: Rows = json.loads(options.out.read_text())["rows"] if options.out.exists() else []
    known = {(r["model"], r["tune"], r["effort"], r["quality"], r["photograph"]) for r in rows}
    run = describe_run("python experiments/image2/effort.py", started, HERE.parents[1])
    for model, tune, _ in PLAN:
        for effort in efforts:
            loaded = load(model)
            codec = ImageCodec(
                loaded.model, loaded.name, loaded.fingerprint, threads=1, tune=tune, effort=effort
            )
            for photograph, pixels in enumerate(middles(options.crop)):
                for quality in QUALITIES:
                    key = (Path(model).name, tune, effort, quality, photograph)
                    if key in known:
                        continue
                    names = ("model", "tune", "effort", "quality", "photograph")
                    rows.append(
                        dict(zip(names, key, strict=True)) | measure(codec, pixels, quality)
                    )
                    print(json.dumps(rows[-1]), flush=True)
                    facts = {"run": run, "crop": options.crop, "gains": gains(rows, efforts)}
                    options.out.write_text(json.dumps(facts | {"rows": rows}, indent=1) + "\n")
    for row in gains(rows, efforts):
        print(json.dumps(row))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
