"""Random graphs over points: who is a parent of whom, and what parents make of a latent.

Two points are joined with a probability that falls with the distance of their embeddings. Among
references the edges follow an ordering, so that there is no circle. All pairs are computed at once.

Source: Louizos 5.2.1.
"""

import torch
from torch import Tensor
from torch.distributions import Normal

NEAREST = 1e-6
"""Smallest -log g of a relaxed edge: the logit of g = 1 would be infinite."""

NO_PARENT = 1e-8
"""Louizos' epsilon: added to the number of parents."""


def ordering(embeddings: Tensor) -> Tensor:
    """t(u), the scalar that orders points.

    Formula: t(u) = sum_k log Phi(u_k), Phi the distribution function of N(0, 1). It is computed
    as one function: the logarithm of a float32 Phi is -infinity below -14, where points would tie.
    Source: Louizos 5.2.1, before eq. 66.

    Args:
        embeddings: `(..., points, dim)`.

    Returns:
        `(..., points)`.
    """
    logs: Tensor = torch.special.log_ndtr(embeddings)
    return logs.sum(-1)


def may_follow(embeddings: Tensor) -> Tensor:
    """Which point may have which parent: I[t(u_i) > t(u_j)].

    Edges within this mask have no circle, since t falls along every path towards the parents.
    Source: Louizos, eq. 66.

    Args:
        embeddings: `(..., points, dim)`.

    Returns:
        bool `(..., points, points)`; row i holds the possible parents of i. Points of equal t are
        not joined.
    """
    t = ordering(embeddings)
    return t[..., :, None] > t[..., None, :]


def log_edge_probability(children: Tensor, parents: Tensor, log_precision: Tensor) -> Tensor:
    """Logarithm of g(u_i, u_j), for all pairs.

    Formula: log g = -tau / 2 |u_i - u_j|².  Source: Louizos 5.2.1 and 10.3.1.

    Args:
        children: `(..., count, dim)`.
        parents: `(..., references, dim)`.
        log_precision: log tau, a scalar.

    Returns:
        `(..., count, references)`, at most 0.
    """
    squares = children.square().sum(-1)[..., :, None] + parents.square().sum(-1)[..., None, :]
    distance = squares - 2 * children @ parents.transpose(-1, -2)
    return -0.5 * log_precision.exp() * distance.clamp(min=0)


def relaxed_edges(log_probability: Tensor, temperature: float) -> Tensor:
    """Binary concrete draws in place of Bernoulli ones, with gradients.

    Formula: sigmoid((logit g + logit u) / temperature), u uniform on (0, 1);
        logit g = log g - log(1 - g).
    Source: Louizos 5.2.2; Maddison et al. 2017.

    Args:
        log_probability: log g, any shape.
        temperature: above 0.
    """
    distance = (-log_probability).clamp(min=NEAREST)
    logits = -distance - torch.log(-torch.expm1(-distance))
    tiny = torch.finfo(logits.dtype).eps
    uniform = torch.rand_like(logits).clamp(tiny, 1 - tiny)
    return torch.sigmoid((logits + uniform.logit()) / temperature)


def drawn_edges(log_probability: Tensor) -> Tensor:
    """Bernoulli draws, 0 or 1, without gradients.  Source: Louizos, eq. 65 and 66.

    Args:
        log_probability: log g, any shape.
    """
    return (torch.rand_like(log_probability) < log_probability.exp()).to(log_probability.dtype)


def latent_prior(edges: Tensor, means: Tensor, log_scales: Tensor) -> Normal:
    """p(z_i | parents of i): without parents the standard normal.

    Formula: N(C_i sum_j A_ij mu_j, exp(C_i sum_j A_ij nu_j)), C_i = 1 / (sum_j A_ij + epsilon);
        the exponent is the log scale, so that parents average it.
    Source: Louizos, eq. 68.

    Args:
        edges: A, `(..., count, references)`.
        means: mu of the references, `(references, latent)`.
        log_scales: nu of the references, `(references, latent)`.

    Returns:
        Over `(..., count, latent)`.
    """
    weights = edges / (edges.sum(-1, keepdim=True) + NO_PARENT)
    both = weights @ torch.cat([means, log_scales], -1)
    mean, log_scale = both.chunk(2, -1)
    return Normal(mean, log_scale.exp(), validate_args=False)
