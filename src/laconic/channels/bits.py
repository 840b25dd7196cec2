"""Bits as draws: relaxed for training, hard for sending, and their two kinds of gradients."""

import torch
from torch import Tensor
from torch.distributions import RelaxedBernoulli
from torch.nn import functional

TEMPERATURE = 0.5
"""Of relaxed bits; the smaller it is, the rarer are values between 0 and 1."""


def relaxed_bits(logits: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Draws in (0, 1) that have a gradient by their logits.

    Formula: sigmoid((L + logit p) / T), L logistic, which has the binary concrete density
        T a x^(-T-1) (1-x)^(-T-1) / (a x^-T + (1-x)^-T)^2, a = p / (1 - p).
    Source: Ullrich 9.30 and 9.31 (ERRATA 10 corrects the exponents).

    Args:
        logits: log p / (1 - p), any shape.
        temperature: T, above 0.
    """
    relaxed = RelaxedBernoulli(logits.new_tensor(temperature), logits=logits, validate_args=False)
    draw: Tensor = relaxed.rsample()
    return draw


def hard(bits: Tensor) -> Tensor:
    """0 or 1, whichever is nearer; no gradient."""
    return (bits.detach() > 0.5).to(bits)


def scored_bits(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Hard draws, and their log probability, whose gradient is the score.

    The score-function gradient of E f(bits) is that of f(bits) log p(bits), f being constant.
    Source: Ullrich 9.4, the alternative to relaxed draws; Williams 1992.

    Args:
        logits: `(batch, bits)`.

    Returns:
        Bits `(batch, bits)`; nats `(batch,)`.
    """
    bits = (torch.rand_like(logits) < torch.sigmoid(logits)).to(logits)
    each = functional.binary_cross_entropy_with_logits(logits, bits, reduction="none")
    return bits, -each.sum(-1)
