"""The joint system for photographs beside digital systems, on Kodak pictures or their middles.

    python experiments/channels/photographs/run.py [--images 16] [--heif-images 4] [--lac-images 4]

For every picture, ratio and bandwidth: PSNR by the joint system, by the best of WebP and JPEG
behind LDPC codes and QAM, and behind a code at capacity, in the same channel uses; the digital
system that is made for 10 dB on worse channels; of the first pictures also HEIF behind a code at
capacity, and our own codec behind LDPC codes. `--crop` takes the middles alone. What is in
rows.json is not measured again; what the joint system delivers is, where its weights have changed.
"""

import argparse
import hashlib
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
from laconic.codecs.image.codec import ImageCodec
from laconic.data.datasets import data_root
from laconic.data.folders import list_images, load_rgb
from laconic.errors import UnreachableTargetError
from laconic.evaluation.anchors.classical import Codec, find_anchors
from laconic.evaluation.channels import digital
from laconic.evaluation.channels.joint import transmit_joint
from laconic.evaluation.images.ours import OurCodec
from laconic.evaluation.report.provenance import describe_run
from laconic.metrics.images import Image8
from laconic.pretrained import load
from laconic.pretrained.channels import EMBEDDED, load_system
from laconic.pretrained.registry import folder

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


class Remembered:
    """A codec that keeps the files of one picture: several points need the same ones."""

    def __init__(self, codec: Codec) -> None:
        self.codec, self.files = codec, dict[tuple[int, ...], bytes]()
        self.name, self.label = codec.name, codec.label

    def encode(self, pixels: Image8, setting: float) -> bytes:
        """As the codec does, once."""
        key = (*pixels.shape, round(1000 * setting))
        if key not in self.files:
            self.files[key] = self.codec.encode(pixels, setting)
        return self.files[key]

    def decode(self, data: bytes) -> Image8:
        """As the codec does."""
        return self.codec.decode(data)


def remembered(names: Sequence[str]) -> list[digital.SourceCodec]:
    """Source codecs for one picture."""
    return [digital.SourceCodec(Remembered(anchor)) for anchor in find_anchors(names)]


def our_codec() -> list[digital.SourceCodec]:
    """The embedded image model, on squared error, for one picture."""
    loaded = load()
    codec = ImageCodec(loaded.model, loaded.name, loaded.fingerprint, threads=1, tune="psnr")
    return [digital.SourceCodec(Remembered(OurCodec(codec)))]


def joint_part(pixels: Image8, snr_db: float, samples: int, model: Path) -> dict[str, Any]:
    """What the joint system delivers, and of which weights."""
    torch.manual_seed(0)
    joint = transmit_joint(load_system(model), pixels, awgn(snr_db), 1 / samples)
    return {"model": fingerprint(model), "uses": joint.budget.uses,
            "joint_db": round(joint.psnr_db, 3)}  # fmt: skip


def digital_part(
    pixels: Image8, snr_db: float, uses: int, sources: Sequence[digital.SourceCodec]
) -> dict[str, Any]:
    """What codecs behind real codes deliver, and behind a code at capacity."""
    torch.manual_seed(0)
    row = link_part(pixels, (snr_db, snr_db), uses, sources, "digital")
    row |= link_part(pixels, (DESIGN_DB, snr_db), uses, sources, "cliff")
    return row | bound(pixels, snr_db, uses, sources, "capacity")


def link_part(
    pixels: Image8,
    ratios_db: tuple[float, float],
    uses: int,
    sources: Sequence[digital.SourceCodec],
    key: str,
) -> dict[str, Any]:
    """The best of codecs behind a real code, made for the first ratio and sent at the second."""
    design_db, snr_db = ratios_db
    try:
        link = digital.best_link(design_db, uses, awgn(design_db))
        outcome = digital.transmit_best(pixels, sources, link, awgn(snr_db))
    except UnreachableTargetError as error:
        return {f"{key}_db": None, f"{key}_how": str(error)}
    return {f"{key}_db": round(outcome.psnr_db, 3), f"{key}_how": outcome.label,
            f"{key}_bits": outcome.file_bits}  # fmt: skip


def bound(
    pixels: Image8, snr_db: float, uses: int, sources: Sequence[digital.SourceCodec], key: str
) -> dict[str, Any]:
    """The best of codecs behind a code at capacity."""
    budget = Budget.of(awgn(snr_db), uses)
    bounds = [digital.CapacitySystem(source, budget).transmit(pixels) for source in sources]
    best = max(bounds, key=lambda one: one.psnr_db)
    return {f"{key}_db": round(best.psnr_db, 3), f"{key}_how": best.label}


def fingerprint(model: Path) -> str:
    """Of a file of weights."""
    return hashlib.sha256(model.read_bytes()).hexdigest()[:16]


def summary(rows: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over pictures at each point."""
    found: list[dict[str, Any]] = []
    for snr_db, samples in product(RATIOS_DB, BANDWIDTHS):
        own = [row for key, row in rows.items() if key.endswith(f" {snr_db:g} {samples}")]
        if own:
            means = {
                key: round(float(np.mean([row[key] for row in own])), 2)
                for key in ("joint_db", "digital_db", "cliff_db", "capacity_db")
                if all(row[key] is not None for row in own)
            }
            means |= gap(own, "joint_db", "heif_capacity_db", "joint_minus_heif_capacity_db")
            means |= gap(own, "lac_db", "digital_db", "lac_minus_digital_db")
            found.append(
                {"snr_db": snr_db, "samples_per_use": samples, "pictures": len(own), **means}
            )
    return found


def gap(own: Sequence[dict[str, Any]], one: str, other: str, name: str) -> dict[str, Any]:
    """The mean difference over the pictures of which both are known, and their number."""
    known = [row for row in own if row.get(one) is not None and row.get(other) is not None]
    if not known:
        return {}
    gaps = [row[one] - row[other] for row in known]
    return {name: round(float(np.mean(gaps)), 2), f"{name}_pictures": len(known)}


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


def measure(
    row: dict[str, Any], pixels: Image8, point: tuple[float, int], model: Path, sources: Any
) -> dict[str, Any]:
    """What is missing of a row; `sources`: the codecs, those of the bound alone, and ours."""
    snr_db, samples = point
    if row.get("model") != fingerprint(model):
        row = row | joint_part(pixels, snr_db, samples, model)
    both, extra, own = sources
    if "digital_how" not in row:
        row = row | digital_part(pixels, snr_db, row["uses"], both)
    if extra and "heif_capacity_db" not in row:
        row = row | bound(pixels, snr_db, row["uses"], extra, "heif_capacity")
    if own and "lac_db" not in row:
        torch.manual_seed(0)
        row = row | link_part(pixels, (snr_db, snr_db), row["uses"], own, "lac")
    return row


def main() -> None:
    """Measure what is missing, write results.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crop", type=int, default=0)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--heif-images", type=int, default=0, help="of which HEIF is measured")
    parser.add_argument("--lac-images", type=int, default=0, help="sent by our own codec, too")
    parser.add_argument("--model", type=Path, default=folder() / f"{EMBEDDED}.lac")
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.time()
    store = HERE / "rows.json"
    rows: dict[str, dict[str, Any]] = json.loads(store.read_text()) if store.exists() else {}
    for number, path in enumerate(list_images(data_root() / "kodak")[: options.images]):
        pixels = cropped(load_rgb(path), options.crop)
        sources = (
            remembered(("webp", "jpeg")),
            remembered(("heif",)) if number < options.heif_images else [],
            our_codec() if number < options.lac_images else [],
        )
        for point in product(RATIOS_DB, BANDWIDTHS):
            key = f"{path.stem} {options.crop} {point[0]:g} {point[1]}"
            rows[key] = measure(rows.get(key, {}), pixels, point, options.model, sources)
            print(key, rows[key], flush=True)
        store.write_text(json.dumps(rows, indent=1) + "\n")
    own = {key: row for key, row in rows.items() if key.split()[1] == str(options.crop)}
    points = summary(own)
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
