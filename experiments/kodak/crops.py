"""Crops of four Kodak pictures at two rates, beside AVIF and HEIF, for people to look at.

    python experiments/kodak/crops.py [--model NAME]

Pictures and places were fixed by number before anyone looked: every fourth of kodim01-16, the
middle. The whole picture is compressed, by each codec into its largest file of at most the rate;
ours with the default of `--tune`. Where our coarsest file takes more, the others may take as much.
The sheets are `docs/crops-0.15.webp` and `docs/crops-0.30.webp`, exact copies of the decoded
pixels; crops.json has bytes, PSNR and MS-SSIM of the whole pictures.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import laconic
from laconic.data.datasets import data_root
from laconic.data.folders import load_rgb
from laconic.errors import UnreachableTargetError
from laconic.evaluation.anchors.classical import ANCHORS, Anchor
from laconic.evaluation.report.provenance import describe_run
from laconic.metrics.images import Image8, ms_ssim, ms_ssim_db, psnr
from laconic.pretrained import DEFAULT

HERE = Path(__file__).resolve().parent
DOCS = HERE.parents[1] / "docs"
PICTURES = ("kodim04", "kodim08", "kodim12", "kodim16")
RATES_BPP = (0.15, 0.30)
BESIDE = ("avif", "heif")
SIDE, LINE, GAP = 192, 18, 6
"""Pixels of a crop, of a line of text, and between crops."""


def largest(anchor: Anchor, pixels: Image8, most_bytes: float) -> bytes:
    """The file of the highest quality that is not larger than `most_bytes`."""
    low, high, best = 0, 100, b""
    while low <= high:
        middle = (low + high) // 2
        data = anchor.encode(pixels, middle)
        if len(data) <= most_bytes:
            low, best = middle + 1, data
        else:
            high = middle - 1
    if not best:
        raise SystemExit(f"{anchor.label} has no file of at most {most_bytes:.0f} bytes")
    return best


def coders(model: str) -> dict[str, tuple[Callable[[Image8, float], bytes], Any]]:
    """Label -> picture and bits per pixel to file, file to picture."""

    def ours(pixels: Image8, bpp: float) -> bytes:
        try:
            return laconic.compress(pixels, bpp=bpp, model=model, coder="trellis")
        except UnreachableTargetError:
            return laconic.compress(pixels, quality=1, model=model, coder="trellis")

    def back(data: bytes) -> Image8:
        return np.asarray(laconic.decompress(data, model=model))

    found: dict[str, Any] = {"Laconic": (ours, back)}
    for anchor in (ANCHORS[name] for name in BESIDE):

        def theirs(pixels: Image8, bpp: float, anchor: Anchor = anchor) -> bytes:
            return largest(anchor, pixels, bpp * pixels.shape[0] * pixels.shape[1] / 8)

        found[anchor.label] = theirs, anchor.decode
    return found


def middle(pixels: Image8) -> Image8:
    """The crop that is shown."""
    top, left = ((full - SIDE) // 2 for full in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + SIDE, left : left + SIDE])


def draw_sheet(rows: list[list[tuple[str, Image8]]]) -> Image.Image:
    """Crops in rows, a line of text below each."""
    step, height = SIDE + GAP, SIDE + LINE + GAP
    sheet = Image.new("RGB", (step * len(rows[0]) - GAP, height * len(rows) - GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for y, row in enumerate(rows):
        for x, (text, crop) in enumerate(row):
            sheet.paste(Image.fromarray(crop), (x * step, y * height))
            draw.text((x * step, y * height + SIDE + 2), text, "black", font)
    return sheet


def main() -> None:
    """Compress, measure and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEFAULT)
    parser.add_argument("--docs", type=Path, default=DOCS, help="the folder of the sheets")
    options = parser.parse_args()
    started, found = time.time(), []
    for bpp in RATES_BPP:
        rows = []
        for name in PICTURES:
            pixels = load_rgb(data_root() / "kodak" / f"{name}.png")
            row = [(f"{name}, original", middle(pixels))]
            least = bpp
            for label, (encode, decode) in coders(options.model).items():
                data = encode(pixels, least)
                least = max(least, 8 * len(data) / pixels.shape[0] / pixels.shape[1])
                shown = decode(data)
                figures = {
                    "psnr_db": round(psnr(pixels, shown), 2),
                    "ms_ssim_db": round(ms_ssim_db(ms_ssim(pixels, shown)), 2),
                }
                found.append({"picture": name, "at_most_bpp": bpp, "codec": label,
                              "bytes": len(data), **figures})  # fmt: skip
                print(found[-1], flush=True)
                row.append((f"{label}, {len(data):,} bytes", middle(shown)))
            rows.append(row)
        draw_sheet(rows).save(options.docs / f"crops-{bpp:.2f}.webp", lossless=True, method=6)
    command = f"python experiments/kodak/crops.py --model {Path(options.model).stem}"
    facts = {"run": describe_run(command, started, HERE.parents[1]), "files": found}
    (HERE / "crops.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
