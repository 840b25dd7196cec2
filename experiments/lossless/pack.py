"""Pack a lossless model into the .lac file that is embedded, at a stated price in bits.

    python experiments/lossless/pack.py WEIGHTS.safetensors NAME [--price 0.1]

The coarsest tolerance of the network codec is taken that makes validation photographs at most
`--price` percent longer; NAME.lac goes beside the embedded models, the numbers into NAME.json.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import laconic
from laconic.data.datasets import data_root
from laconic.data.patches import load_images, read_split
from laconic.distributions.divergence import kl_normal
from laconic.evaluation.report.provenance import describe_run
from laconic.models.base import Condition, Context, LatentVariableModel
from laconic.pretrained import load

HERE = Path(__file__).resolve().parent
EMBEDDED = HERE.parents[1] / "src" / "laconic" / "pretrained"
TOLERANCES = (0.08, 0.06, 0.045, 0.03, 0.02, 0.015, 0.01, 0.007, 0.005, 0.003, 0.002, 0.001)
CROP, SEED = 256, 0


def validation_crops() -> list[Tensor]:
    """The middle of the validation photographs that never were JPEG files."""
    paths = [
        p for p in read_split(data_root() / "photos", "valid") if not p.name.startswith("bsds_")
    ]
    crops = []
    for pixels in load_images(paths[::3]):
        top, left = ((side - CROP) // 2 for side in pixels.shape[:2])
        crop = pixels[top : top + CROP, left : left + CROP]
        crops.append(torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 255)
    return crops


@torch.inference_mode()
def bits_per_pixel(model: LatentVariableModel, crops: Sequence[Tensor]) -> float:
    """Mean negative ELBO, with the same noise for every model."""
    bits = []
    for x in crops:
        torch.manual_seed(SEED)
        rungs, likelihood = model.pass_through(x, Context((CROP, CROP), Condition(torch.zeros(1))))
        nats = sum(float(kl_normal(rung.posterior, rung.prior).sum()) for rung in rungs)
        nats -= float(likelihood.log_prob(x).sum())
        bits.append(nats / math.log(2) / CROP**2)
    return float(np.mean(bits))


def main() -> None:
    """Search, write, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("name")
    parser.add_argument("--price", type=float, default=0.1, help="percent of bits")
    options = parser.parse_args()
    started, crops = time.time(), validation_crops()
    before, target = (
        bits_per_pixel(load(options.weights).model, crops),
        EMBEDDED / f"{options.name}.lac",
    )
    for tolerance in TOLERANCES:
        data = laconic.shrink(options.weights, tolerance=tolerance)
        trial = options.weights.with_name(f"packed-{tolerance}.lac")
        trial.write_bytes(data)
        after = bits_per_pixel(load(trial).model, crops)
        trial.unlink()
        price = 100 * (after / before - 1)
        print(tolerance, len(data), f"{price:.3f} %", flush=True)
        if price <= options.price:
            break
    else:
        raise SystemExit(f"no tolerance costs less than {options.price} % of the bits")
    target.write_bytes(data)
    half = options.weights.stat().st_size
    results = {
        "run": describe_run(
            f"python experiments/lossless/pack.py WEIGHTS {options.name}", started, HERE.parents[1]
        ),
        "iterations": load(target).steps,
        "parameters": sum(p.numel() for p in load(target).model.parameters()),
        "tolerance": tolerance,
        "half_precision_bytes": half,
        "bytes": len(data),
        "share": len(data) / half,
        "validation_bits_per_pixel": {"half": before, "packed": after},
        "price_percent": price,
    }
    (HERE / f"{options.name}.json").write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
