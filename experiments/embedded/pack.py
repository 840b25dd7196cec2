"""Pack released weights into the .lac file that is embedded; each tensor errs by what it bears.

    python experiments/embedded/pack.py WEIGHTS.safetensors [--share 0.295]

Sensitivities are measured on validation photographs by the ELBO, tolerances shared out so that the
file takes `--share` of the half-precision one, and what packing costs is then measured on the
Kodak pictures, which had no part in choosing: ideal bits and PSNR of both, at three qualities.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import laconic
from laconic.data.datasets import data_root
from laconic.data.folders import list_images, load_rgb
from laconic.data.patches import load_images, read_split
from laconic.distributions.divergence import kl_normal
from laconic.evaluation.report.provenance import describe_run
from laconic.metrics.images import psnr
from laconic.models.base import LatentVariableModel
from laconic.pretrained import load
from laconic.weights.sensitivity import allocate, sensitivities

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
EMBEDDED = REPOSITORY / "src" / "laconic" / "pretrained" / "default.lac"
STEPS, PHOTOGRAPHS, CROP, SEED = (150, 450, 800), 6, 256, 0
SMALLEST = 256


@torch.inference_mode()
def elbo(model: LatentVariableModel, crops: Sequence[Tensor]) -> list[float]:
    """Nats of rate + squared error / (2 beta), summed over the crops, for each of `STEPS`."""
    found = []
    for step in STEPS:
        torch.manual_seed(SEED)
        total = 0.0
        for x in crops:
            context = model.context(x.shape[2:], step, 1000)
            rungs = model.draw_rungs(x, context)
            total += sum(float(kl_normal(rung.posterior, rung.prior).sum()) for rung in rungs)
            mean = model.likelihood([rung.latent for rung in rungs], context).mean
            error = float((mean - x).square().sum())
            total += error / (2 * float(context.log_beta.exp()))
        found.append(total)
    return found


def validation_crops() -> list[Tensor]:
    """The middle of the first validation photographs, (1, 3, CROP, CROP) in [0, 1]."""
    crops = []
    for pixels in load_images(read_split(data_root() / "photos", "valid")[:PHOTOGRAPHS]):
        top, left = ((side - CROP) // 2 for side in pixels.shape[:2])
        crop = pixels[top : top + CROP, left : left + CROP]
        crops.append(torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 255)
    return crops


def pack(weights: Path, share: float) -> tuple[bytes, dict[str, float]]:
    """The file and its tolerances; the added loss is searched by halving its logarithm."""
    model, crops = load(weights).model, validation_crops()
    start = elbo(model, crops)
    large = {k: p.numel() for k, p in model.named_parameters() if p.ndim > 1}
    counts = {name: count for name, count in large.items() if count >= SMALLEST}

    unit = sum(math.sqrt(before) for before in start)

    def loss() -> float:
        # Between nats, which the highest quality dominates, and shares, which favour the lowest.
        added = zip(elbo(model, crops), start, strict=True)
        return sum((now - before) / math.sqrt(before) for now, before in added) / unit

    measured = sensitivities(model, loss, list(counts))
    low, high, best = -14.0, 0.0, (b"", {"": 0.0})
    for _ in range(9):
        middle = (low + high) / 2
        tolerances = allocate(measured, counts, math.exp(middle))
        data = laconic.shrink(weights, tolerance=tolerances)
        if len(data) <= share * weights.stat().st_size:
            high, best = middle, (data, tolerances)
        else:
            low = middle
    if not best[0]:
        raise SystemExit(f"no tolerances make {weights} as small as {share} of itself")
    return best


@torch.inference_mode()
def curve(model: LatentVariableModel, folder: Path) -> np.ndarray:
    """Mean ideal bits per pixel and PSNR in dB of the 8-bit pictures, a row for each of `STEPS`."""
    rows = []
    for step in STEPS:
        points = []
        for path in list_images(folder)[:16]:
            torch.manual_seed(SEED)
            pixels = load_rgb(path)
            x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
            context = model.context(pixels.shape[:2], step, 1000)
            rungs = model.draw_rungs(x, context)
            nats = sum(float(kl_normal(rung.posterior, rung.prior).sum()) for rung in rungs)
            mean = model.likelihood([rung.latent for rung in rungs], context).mean.clamp(0, 1)
            shown = (mean[0] * 255).round().permute(1, 2, 0).numpy().astype(np.uint8)
            points.append((nats / math.log(2) / pixels[..., 0].size, psnr(pixels, shown)))
        rows.append(np.mean(points, axis=0))
    return np.array(rows)


def cost(plain: np.ndarray, packed: np.ndarray) -> list[float]:
    """PSNR lost at equal rate: differences, moved along the plain curve to its rate."""
    slopes = np.gradient(plain[:, 1], np.log2(plain[:, 0]))
    moved = slopes * np.log2(packed[:, 0] / plain[:, 0])
    return [round(float(x), 4) for x in plain[:, 1] - packed[:, 1] + moved]


def main() -> None:
    """Pack, measure, write the embedded file and packing.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--share", type=float, default=0.298)
    options = parser.parse_args()
    started = time.time()
    data, tolerances = pack(options.weights, options.share)
    EMBEDDED.write_bytes(data)
    kodak = next(path for path in (data_root() / "kodak").rglob("kodim01.png")).parent
    curves = [curve(load(path).model, kodak) for path in (options.weights, EMBEDDED)]
    half = options.weights.stat().st_size
    results: dict[str, Any] = {
        "run": describe_run("python experiments/embedded/pack.py WEIGHTS", started, REPOSITORY),
        "iterations": load(EMBEDDED).steps,
        "half_precision_bytes": half,
        "bytes": len(data),
        "share": len(data) / half,
        "wanted_share": 0.3,
        "psnr_lost_db_at_equal_rate": cost(*curves),
        "wanted_psnr_lost_db": 0.05,
        "bits_per_pixel_and_psnr": {"half": curves[0].tolist(), "packed": curves[1].tolist()},
        "tolerances": {name: round(value, 5) for name, value in tolerances.items()},
    }
    (HERE / "packing.json").write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps({k: v for k, v in results.items() if k != "tolerances"}, indent=1))


if __name__ == "__main__":
    main()
