"""Levels of a .lac file, protected unequally, against one code for all, in the same channel uses.

    python experiments/channels/unequal/run.py [--images 1] [--crop 256]

The design's channel has 10 dB, 1/12 complex uses a sample; the first level is protected for 4 dB
less. PSNR of what arrives at several real ratios.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from laconic.channels.gaussian import ComplexAwgn, NoiseConfig
from laconic.codecs.image.codec import ImageCodec
from laconic.data.datasets import data_root
from laconic.data.folders import list_images, load_rgb
from laconic.evaluation.channels import unequal
from laconic.evaluation.report.provenance import describe_run
from laconic.metrics.images import psnr
from laconic.pretrained import decoding, load

HERE = Path(__file__).resolve().parent
DESIGN_DB, PROTECTION_DB, SAMPLES_PER_USE, LEVEL = 10.0, 4.0, 12, 1
RATIOS_DB = (5.0, 7.0, 9.0, 10.0, 12.0)


def measure(path: Path, side: int) -> dict[str, Any]:
    """PSNR by ratio and way of protection."""
    pixels = load_rgb(path)
    top, left = ((full - side) // 2 for full in pixels.shape[:2])
    pixels = np.ascontiguousarray(pixels[top : top + side, left : left + side])
    model = load()
    codec = ImageCodec(model.model, model.name, model.fingerprint)
    encode = unequal.encoder_of(codec, pixels)
    count, uses = side * side, 3 * side * side // SAMPLES_PER_USE
    ways = {
        "equal": unequal.protect_equally(encode, count, uses, DESIGN_DB),
        "unequal": unequal.protect_unequally(encode, count, uses, DESIGN_DB, PROTECTION_DB, LEVEL),
    }
    row: dict[str, Any] = {"picture": path.stem, "uses": uses}
    for name, protected in ways.items():
        row[f"{name}_bytes"] = len(protected.data)
        for snr_db in RATIOS_DB:
            torch.manual_seed(0)
            partial = unequal.send(protected, ComplexAwgn(NoiseConfig(snr_db)))
            shown = unequal.show(partial, decoding(), pixels)
            row[f"{name} {snr_db:g} dB"] = round(psnr(pixels, shown), 2)
    return row


def main() -> None:
    """Measure, write results.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--crop", type=int, default=256)
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.time()
    rows = [
        measure(path, options.crop) for path in list_images(data_root() / "kodak")[: options.images]
    ]
    targets = []
    for snr_db in RATIOS_DB:
        key = f"{snr_db:g} dB"
        gain = float(np.mean([row[f"unequal {key}"] - row[f"equal {key}"] for row in rows]))
        below = snr_db < DESIGN_DB - 0.5
        name = f"{snr_db:g} dB: unequal minus equal, dB"
        wanted = "> 0" if below else "the price"
        met = gain > 0 if below else True
        targets.append({"name": name, "target": wanted, "ours": round(gain, 2), "met": met})
    command = f"python experiments/channels/unequal/run.py --images {options.images}"
    document = {
        "title": "Channels: levels of a .lac file, unequally protected",
        "run": describe_run(command, started, HERE.parents[2], seeds=[0], crop=options.crop),
        "targets": targets,
        "rows": rows,
    }
    (HERE / "results.json").write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
