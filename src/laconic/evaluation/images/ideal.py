"""The ideal rate and quality of a ladder's pictures, without a coder."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from laconic.distributions.divergence import rate as rate_of
from laconic.metrics.images import Image8, ms_ssim, ms_ssim_db, psnr
from laconic.models.base import Condition, Context, LatentVariableModel


@dataclass(frozen=True)
class IdealPoint:
    """One operating point.

    Attributes:
        beta: beta of the operating point.
        ideal_bits_per_pixel: KL divergence of posteriors and priors, in bits per pixel.
        psnr_db: PSNR of the 8-bit picture decoded from one draw.
        ms_ssim_db: -10 log10(1 - MS-SSIM) of the same picture.
    """

    beta: float
    ideal_bits_per_pixel: float
    psnr_db: float
    ms_ssim_db: float


@torch.inference_mode()
def ideal_point(
    model: LatentVariableModel, pixels: Image8, log_beta: float, taste: float | None = None
) -> IdealPoint:
    """One picture at one operating point; the draw comes from torch's generator.

    Args:
        model: a model in evaluation mode.
        pixels: uint8 `(height, width, 3)`; cropped to multiples of the model's stride.
        log_beta: log beta of the operating point.
        taste: from 0, squared error, to 1, MS-SSIM, for models that have it.
    """
    height, width = (side - side % model.stride for side in pixels.shape[:2])
    cropped = pixels[:height, :width]
    x = torch.from_numpy(cropped.copy()).permute(2, 0, 1)[None].float() / 255
    tastes = None if taste is None else torch.tensor([taste])
    context = Context((height, width), Condition(torch.tensor([log_beta]), taste=tastes))
    rungs, likelihood = model.pass_through(x, context)
    nats = sum(float(rate_of(rung.posterior, rung.prior, rung.latent)) for rung in rungs)
    mean = likelihood.mean.clamp(0, 1)
    shown = (mean[0] * 255).round().permute(1, 2, 0).numpy().astype(np.uint8)
    similarity = ms_ssim_db(ms_ssim(cropped, shown))
    rate = nats / math.log(2) / height / width
    return IdealPoint(math.exp(log_beta), rate, psnr(cropped, shown), similarity)


def ideal_curve(
    model: LatentVariableModel,
    images: Sequence[Image8],
    count: int,
    taste: float | None = None,
    seed: int = 0,
) -> list[IdealPoint]:
    """Means over pictures at `count` values of beta, the largest first, equal steps of its log.

    Args:
        model: a model in evaluation mode.
        images: pictures as for `ideal_point`.
        count: number of operating points, at least 2.
        taste: see `ideal_point`.
        seed: seed of all draws.
    """
    torch.manual_seed(seed)
    low, high = (math.log(beta) for beta in model.beta_range)
    curve = []
    for log_beta in np.linspace(high, low, count).tolist():
        points = [ideal_point(model, pixels, log_beta, taste) for pixels in images]
        rates = [point.ideal_bits_per_pixel for point in points]
        errors = [point.psnr_db for point in points]
        similarities = [point.ms_ssim_db for point in points]
        means = [round(float(np.mean(values)), 4) for values in (rates, errors, similarities)]
        curve.append(IdealPoint(math.exp(log_beta), *means))
    return curve
