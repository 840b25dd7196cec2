"""Divergences between the distributions of latents and of weights, in nats."""

import torch
from torch import Tensor
from torch.distributions import Normal
from torch.nn import functional


def kl_normal(posterior: Normal, prior: Normal) -> Tensor:
    """KL(posterior || prior) per dimension, in nats, accurate where the two nearly agree.

    Formula: ½ (r - 1 - log r + ((m_q - m_p) / s_p)²) with r = (s_q / s_p)².
    """
    ratio = (posterior.scale / prior.scale).square()
    shift = ((posterior.loc - prior.loc) / prior.scale).square()
    return 0.5 * (ratio - 1 - torch.log(ratio) + shift)


def kl_log_uniform(log_alpha: Tensor) -> Tensor:
    """KL of N(mu, alpha mu²) to the log-uniform prior, up to a constant: 0 as alpha grows.

    The prior is improper: this is a penalty and no code length.
    Formula: k1 - k1 sigmoid(k2 + k3 log alpha) + softplus(-log alpha) / 2, within 0.01 nats.
    Source: Molchanov et al. 2017; Ullrich 3.9, Louizos 81 (ERRATA 6: printed with the other sign).
    """
    k1, k2, k3 = 0.63576, 1.87320, 1.48695
    return k1 * torch.sigmoid(-k2 - k3 * log_alpha) + 0.5 * functional.softplus(-log_alpha)
