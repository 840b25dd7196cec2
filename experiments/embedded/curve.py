"""Quality of weights on the validation photographs: one row of the curve against iterations.

    python experiments/embedded/curve.py [WEIGHTS ...]

Rates are ideal code lengths (KL) in bits per pixel of whole photographs; a row for the same number
of iterations is replaced.
"""

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from laconic.data.patches import load_images, read_split
from laconic.distributions.divergence import kl_normal
from laconic.evaluation.provenance import describe_run
from laconic.metrics.images import ms_ssim, ms_ssim_db, psnr
from laconic.models.base import Context, LatentVariableModel
from laconic.pretrained import DEFAULT, load
from laconic.pretrained.recipe import data_root

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
PHOTOGRAPHS, POINTS, SEED = 12, 5, 0
FIGURES = ("ideal_bits_per_pixel", "psnr_db", "ms_ssim_db")


@torch.inference_mode()
def point(model: LatentVariableModel, pixels: np.ndarray, log_beta: float) -> list[float]:
    """Ideal bits per pixel, PSNR and MS-SSIM in dB of the 8-bit picture, cropped to the stride."""
    height, width = (side - side % model.stride for side in pixels.shape[:2])
    x = torch.from_numpy(pixels[:height, :width].copy()).permute(2, 0, 1)[None].float() / 255
    context = Context(height, width, torch.tensor([log_beta]))
    rungs = model.climb(x, context)
    nats = sum(float(kl_normal(rung.posterior, rung.prior).sum()) for rung in rungs)
    mean = model.likelihood([rung.latent for rung in rungs], context).mean.clamp(0, 1)
    shown = (mean[0] * 255).round().permute(1, 2, 0).numpy().astype(np.uint8)
    cropped = pixels[:height, :width]
    similarity = ms_ssim_db(ms_ssim(cropped, shown))
    return [nats / math.log(2) / height / width, psnr(cropped, shown), similarity]


def row(weights: str) -> dict[str, Any]:
    """The rate-distortion curve of one set of weights."""
    torch.manual_seed(SEED)
    released = load(weights)
    images = load_images(read_split(data_root() / "photos", "valid")[:PHOTOGRAPHS])
    low, high = (math.log(beta) for beta in released.model.beta_range)
    points = []
    for log_beta in np.linspace(high, low, POINTS):
        measured = [point(released.model, pixels, float(log_beta)) for pixels in images]
        figures = dict(zip(FIGURES, np.mean(measured, axis=0).round(4).tolist(), strict=True))
        points.append({"beta": math.exp(log_beta), **figures})
    return {"iterations": released.steps, "photographs": len(images), "points": points}


def main() -> None:
    """Measure the named weights, or the embedded model's."""
    started = time.time()
    rows = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    for weights in sys.argv[1:] or [DEFAULT]:
        new = row(weights)
        rows = [old for old in rows if old["iterations"] != new["iterations"]] + [new]
        print(json.dumps(new, indent=1))
    rows.sort(key=lambda each: each["iterations"])
    command = "python experiments/embedded/curve.py"
    run = describe_run(command, started, HERE.parents[1], seeds=[SEED])
    RESULTS.write_text(json.dumps({"run": run, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
