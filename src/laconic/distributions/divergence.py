"""Divergences between the distributions of latents and of weights, in nats."""

import math

import torch
from torch import Tensor
from torch.distributions import Distribution, LogNormal, Normal
from torch.nn import functional


def kl_normal(posterior: Normal, prior: Normal) -> Tensor:
    """KL(posterior || prior) per dimension, in nats, accurate where the two nearly agree.

    Formula: ½ (r - 1 - log r + ((m_q - m_p) / s_p)²) with r = (s_q / s_p)².
    """
    ratio = (posterior.scale / prior.scale).square()
    shift = ((posterior.loc - prior.loc) / prior.scale).square()
    return 0.5 * (ratio - 1 - torch.log(ratio) + shift)


def density(distribution: Distribution, value: Tensor) -> Tensor:
    """Log density of every example, in nats, for any batch and event axes of the distribution.

    Args:
        distribution: over values of shape `(batch, ...)`.
        value: `(batch, ...)`.

    Returns:
        `(batch,)`: the sum over all axes but the first.
    """
    log_density: Tensor = distribution.log_prob(value)
    return log_density.reshape(len(value), -1).sum(1)


def rate(posterior: Distribution, prior: Distribution, draw: Tensor) -> Tensor:
    """The rate of a draw, in nats: the KL if both are normal, else its estimate from the draw.

    Formula: log q(z) - log p(z), z ~ q; its mean is KL(q || p).
    Source: Alemi, eq. 2.

    Args:
        posterior: q, over `(batch, ...)`.
        prior: p, over the same.
        draw: z ~ q, `(batch, ...)`.

    Returns:
        `(batch,)`.
    """
    if isinstance(posterior, Normal) and isinstance(prior, Normal):
        return kl_normal(posterior, prior).reshape(len(draw), -1).sum(1)
    return density(posterior, draw) - density(prior, draw)


def kl_log_uniform(log_alpha: Tensor) -> Tensor:
    """KL of N(mu, alpha mu²) to the log-uniform prior, up to a constant: 0 as alpha grows.

    The prior is improper: this is a penalty, not a code length.
    Formula: k1 - k1 sigmoid(k2 + k3 log alpha) + softplus(-log alpha) / 2, within 0.01 nats.
    Source: Molchanov et al. 2017; Ullrich 3.9, Louizos 81 (ERRATA 6: printed with the other sign).
    """
    k1, k2, k3 = 0.63576, 1.87320, 1.48695
    return k1 * torch.sigmoid(-k2 - k3 * log_alpha) + 0.5 * functional.softplus(-log_alpha)


def kl_log_normal_gamma(posterior: LogNormal, shape: float, scale: float) -> Tensor:
    """KL of a log-normal to a Gamma of this shape and scale; a rate would be 1 / scale.

    Formula: a log b + lgamma(a) - a mu + exp(mu + s²/2) / b - ½ (log s² + 1 + log 2 pi), with
    shape a and scale b.
    Source: Louizos 152, Ullrich 9.12 (ERRATA 7).
    """
    log_mean = posterior.loc + 0.5 * posterior.scale.square()
    expected = torch.exp(log_mean - math.log(scale))
    known = shape * math.log(scale) + math.lgamma(shape)
    return known - shape * posterior.loc + expected - _entropy_of_log(posterior)


def kl_log_normal_inverse_gamma(posterior: LogNormal, shape: float, scale: float) -> Tensor:
    """KL of a log-normal to an inverse Gamma of this shape and scale.

    Formula: lgamma(a) - a log b + a mu + b exp(s²/2 - mu) - ½ (log s² + 1 + log 2 pi), with
    shape a and scale b.
    Source: Louizos 148, Ullrich 9.8 (ERRATA 7).
    """
    log_mean = 0.5 * posterior.scale.square() - posterior.loc
    expected = torch.exp(log_mean + math.log(scale))
    known = math.lgamma(shape) - shape * math.log(scale)
    return known + shape * posterior.loc + expected - _entropy_of_log(posterior)


def _entropy_of_log(posterior: LogNormal) -> Tensor:
    """Entropy of the logarithm, which is normal: that of the log-normal without its term mu."""
    return torch.log(posterior.scale) + 0.5 * (1 + math.log(2 * math.pi))
