"""The terms of an objective in the units of pictures: bits per pixel and decibels."""

import math

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution

from laconic.training.objectives.base import Terms


def squared_error(x: Tensor, likelihood: Distribution) -> Tensor:
    """Mean squared error of the likelihood's mean, over pixels and colours, `(batch,)`.

    NaN where no picture is shown: binary pixels, or no mean in closed form.

    Args:
        x: `(batch, colours, height, width)`.
        likelihood: p(x | z).
    """
    unknown = x.new_full((len(x),), math.nan)
    if isinstance(getattr(likelihood, "base_dist", likelihood), Bernoulli):
        return unknown
    try:
        return (likelihood.mean - x).square().flatten(1).mean(1)
    except NotImplementedError:  # An autoregressive likelihood has no mean in closed form.
        return unknown


@torch.no_grad()
def picture_numbers(x: Tensor, likelihood: Distribution, terms: Terms) -> dict[str, float]:
    """Means over a batch of pictures for the log.

    Args:
        x: `(batch, colours, height, width)`.
        likelihood: p(x | z).
        terms: of the same pass.

    Returns:
        Bits per pixel of all levels and of each, R and D in nats per picture, and PSNR in dB where
        a picture is shown.
    """
    bits = 1 / (x[0, 0].numel() * math.log(2))
    levels = [float(nats.mean()) * bits for nats in terms.level_nats]
    numbers = {
        "bits_per_pixel": sum(levels),
        "rate_nats": float(terms.rate_nats.mean()),
        "distortion_nats": float(terms.distortion_nats.mean()),
    }
    psnr = -10 * squared_error(x, likelihood).clamp_min(1e-10).log10().mean()
    if bool(psnr.isfinite()):
        numbers["psnr_db"] = float(psnr)
    return numbers | {f"bits_level_{k}": value for k, value in enumerate(levels)}
