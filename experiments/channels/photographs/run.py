"""The joint system for photographs beside digital systems, on Kodak pictures or their middles.

    python experiments/channels/photographs/run.py [--crop 256] [--images 16] [--heif]

For every picture, ratio and bandwidth: PSNR by the joint system, by the best of the codecs behind
LDPC codes and QAM, and by the best behind a code at capacity, in the same channel uses; and the
digital system that is made for 10 dB on worse channels. What is in rows.json is not measured again.
"""

import argparse
import json
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from laconic.channels.gate import Budget
from laconic.channels.gaussian import ComplexAwgn, NoiseConfig
from laconic.data.datasets import data_root
from laconic.data.folders import list_images, load_rgb
from laconic.errors import UnreachableTargetError
from laconic.evaluation.anchors.classical import find_anchors
from laconic.evaluation.channels import digital
from laconic.evaluation.channels.joint import transmit_joint
from laconic.evaluation.report.provenance import describe_run
from laconic.metrics.images import Image8
from laconic.pretrained.channels import load_system

HERE = Path(__file__).resolve().parent
RATIOS_DB = (0.0, 5.0, 10.0)
BANDWIDTHS = (24, 12, 6)
"""Samples per complex channel use."""
DESIGN_DB = 10.0
SWIN = {24: 31.5, 12: 34.4, 6: 36.0}
"""SwinJSCC at 10 dB on whole Kodak pictures, its authors' figures."""


def awgn(snr_db: float) -> ComplexAwgn:
    return ComplexAwgn(NoiseConfig(snr_db))


def cropped(pixels: Image8, side: int) -> Image8:
    if not side:
        return pixels
    top, left = ((full - side) // 2 for full in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])


def measure(
    pixels: Image8, snr_db: float, samples: int, model: Path, names: Sequence[str]
) -> dict[str, Any]:
    """One picture at one ratio and bandwidth."""
    sources = [digital.SourceCodec(anchor) for anchor in find_anchors(names)]
    channel = awgn(snr_db)
    torch.manual_seed(0)
    joint = transmit_joint(load_system(model), pixels, channel, 1 / samples)
    row: dict[str, Any] = {"uses": joint.budget.uses, "joint_db": round(joint.psnr_db, 3)}
    for key, design_db in (("digital", snr_db), ("cliff", DESIGN_DB)):
        try:
            link = digital.best_link(design_db, joint.budget.uses, awgn(design_db))
            outcome = digital.transmit_best(pixels, sources, link, channel)
            row |= {f"{key}_db": round(outcome.psnr_db, 3), f"{key}_how": outcome.label,
                    f"{key}_bits": outcome.file_bits}  # fmt: skip
        except UnreachableTargetError as error:
            row |= {f"{key}_db": None, f"{key}_how": str(error)}
    budget = Budget.of(channel, joint.budget.uses)
    bounds = [digital.CapacitySystem(source, budget).transmit(pixels) for source in sources]
    best = max(bounds, key=lambda one: one.psnr_db)
    return row | {"capacity_db": round(best.psnr_db, 3), "capacity_how": best.label}


def summary(rows: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over pictures at each point."""
    found = []
    for snr_db, samples in product(RATIOS_DB, BANDWIDTHS):
        own = [row for key, row in rows.items() if key.endswith(f" {snr_db:g} {samples}")]
        if own:
            means = {
                key: round(float(np.mean([row[key] for row in own])), 2)
                for key in ("joint_db", "digital_db", "cliff_db", "capacity_db")
                if all(row[key] is not None for row in own)
            }
            found.append(
                {"snr_db": snr_db, "samples_per_use": samples, "pictures": len(own), **means}
            )
    return found


def targets(points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What must be reached, beside what is."""
    rows = []
    for one in points:
        where = f"{one['snr_db']:g} dB, 1/{one['samples_per_use']}"
        if "digital_db" in one:
            gain = round(one["joint_db"] - one["digital_db"], 2)
            rows.append({"name": f"{where}: joint minus digital, dB", "target": "> 0", "ours": gain,
                         "met": gain > 0})  # fmt: skip
        if "cliff_db" in one and one["snr_db"] < DESIGN_DB:
            gain = round(one["joint_db"] - one["cliff_db"], 2)
            name = f"{where}: joint minus digital made for {DESIGN_DB:g} dB, dB"
            rows.append({"name": name, "target": "> 0", "ours": gain, "met": gain > 0})
        if one["snr_db"] == DESIGN_DB:
            swin = SWIN[one["samples_per_use"]]
            rows.append({"name": f"{where}: joint, dB", "target": f"SwinJSCC {swin}",
                         "ours": one["joint_db"], "met": one["joint_db"] >= swin})  # fmt: skip
    return rows


def main() -> None:
    """Measure what is missing, write results.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crop", type=int, default=0)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--heif", action="store_true")
    parser.add_argument("--model", type=Path, default=HERE / "photographs.lac")
    parser.add_argument("--minutes", type=float, default=1e9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.time()
    store = HERE / "rows.json"
    rows: dict[str, dict[str, Any]] = json.loads(store.read_text()) if store.exists() else {}
    names = ["webp", "jpeg", *["heif"] * options.heif]
    for path in list_images(data_root() / "kodak")[: options.images]:
        pixels = cropped(load_rgb(path), options.crop)
        for snr_db, samples in product(RATIOS_DB, BANDWIDTHS):
            key = f"{path.stem} {options.crop} {snr_db:g} {samples}"
            if key not in rows and time.time() - started < 60 * options.minutes:
                rows[key] = measure(pixels, snr_db, samples, options.model, names)
                store.write_text(json.dumps(rows, indent=1) + "\n")
                print(key, rows[key], flush=True)
    points = summary(rows)
    command = f"python experiments/channels/photographs/run.py --crop {options.crop}"
    document = {
        "title": "Channels: photographs over AWGN",
        "run": describe_run(command, started, HERE.parents[2], seeds=[0], crop=options.crop),
        "targets": targets(points),
        "points": points,
    }
    (HERE / "results.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
