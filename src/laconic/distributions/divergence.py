"""Divergences between the ladder's distributions, in nats."""

import torch
from torch import Tensor
from torch.distributions import Normal


def kl_normal(posterior: Normal, prior: Normal) -> Tensor:
    """KL(posterior || prior) per dimension, in nats, accurate where the two nearly agree.

    Formula: ½ (r - 1 - log r + ((m_q - m_p) / s_p)²) with r = (s_q / s_p)².
    """
    ratio = (posterior.scale / prior.scale).square()
    shift = ((posterior.loc - prior.loc) / prior.scale).square()
    return 0.5 * (ratio - 1 - torch.log(ratio) + shift)
