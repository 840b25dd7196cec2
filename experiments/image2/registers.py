"""What the length of the trellis coder's register gains: validation photographs, real files.

    python experiments/image2/registers.py [--weights FILE]

The middles of six photographs at four qualities, taste psnr. BD-rate on PSNR of the mean curves
against the default register, and the encoder's processor seconds, into registers.json.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from laconic.codecs.image.codec import ImageCodec
from laconic.coding.relative_entropy.blocks.trellis import TrellisCoder
from laconic.data.datasets import data_root
from laconic.data.patches import load_images, read_split
from laconic.evaluation.report.provenance import describe_run
from laconic.metrics import bd_rate
from laconic.metrics.images import Image8, psnr
from laconic.pretrained import load

HERE = Path(__file__).parent
SIDE, PHOTOGRAPHS, QUALITIES = 384, 6, (8, 20, 40, 65)
REGISTERS = (13, 14, 15, 16)


def middle(pixels: Image8) -> Image8:
    """At most `SIDE` x `SIDE` pixels."""
    top, left = ((full - min(SIDE, full)) // 2 for full in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + SIDE, left : left + SIDE])


def curve(codec: ImageCodec, images: list[Image8]) -> dict[str, Any]:
    """Mean bits per pixel and PSNR at each quality, and the encoder's seconds."""
    found: dict[str, Any] = {"bpp": [], "psnr_db": [], "encode_cpu_seconds": 0.0}
    for quality in QUALITIES:
        rates, values = [], []
        for pixels in images:
            start = time.process_time()
            data = codec.encode(pixels, quality=quality)
            found["encode_cpu_seconds"] += time.process_time() - start
            rates.append(8 * len(data) / pixels.shape[0] / pixels.shape[1])
            values.append(psnr(pixels, np.asarray(codec.decode(data).convert("RGB"))))
        found["bpp"].append(float(np.mean(rates)))
        found["psnr_db"].append(float(np.mean(values)))
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="photo2")
    options = parser.parse_args()
    started, loaded = time.time(), load(options.weights)
    images = [
        middle(pixels)
        for pixels in load_images(read_split(data_root() / "photos", "valid")[:PHOTOGRAPHS])
    ]
    curves = {}
    for bits in REGISTERS:
        codec = ImageCodec(loaded.model, loaded.name, loaded.fingerprint, threads=1, tune="psnr")
        codec.coders = [TrellisCoder(state_bits=bits) for _ in codec.coders]
        curves[bits] = curve(codec, images)
        print(bits, curves[bits], flush=True)
    usual = curves[TrellisCoder().state_bits]
    rows = [
        {
            "state_bits": bits,
            "bd_rate_percent": round(
                bd_rate(one["bpp"], one["psnr_db"], usual["bpp"], usual["psnr_db"]), 2
            ),
            **one,
        }
        for bits, one in curves.items()
    ]
    command = "python experiments/image2/registers.py"
    facts = {"run": describe_run(command, started, HERE.parents[1]), "iterations": loaded.steps}
    (HERE / "registers.json").write_text(json.dumps(facts | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
