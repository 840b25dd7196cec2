"""Layer normalisation with removed inputs, whose values are known."""

import torch
from torch import Tensor, nn


class PartialLayerNorm(nn.Module):
    """Normalises over the last axis as if the removed numbers were among its inputs.

    Args:
        norm: the normalisation over all numbers of the last axis.
        present: which of them are kept; bool, `(features,)`.
        constant: values of the removed ones, the same for any input; `(features,)`.

    Formula: mean (Σ x + Σ c) / n and variance (Σ (x - mean)² + Σ (c - mean)²) / n, with x the kept
    numbers, c the removed ones and n the number of both.
    """

    def __init__(self, norm: nn.LayerNorm, present: Tensor, constant: Tensor) -> None:
        super().__init__()
        removed = constant[~present].double()
        self.features, self.removed, self.eps = int(present.sum()), len(removed), norm.eps
        centre = removed.mean()
        kind = constant.dtype
        self.centre: Tensor
        self.spread: Tensor
        self.register_buffer("centre", centre.to(kind))
        self.register_buffer("spread", (removed - centre).square().sum().to(kind))
        self.weight, self.bias = _kept(norm.weight, present), _kept(norm.bias, present)

    def forward(self, x: Tensor) -> Tensor:
        """`(..., features)` to the same."""
        count = self.features + self.removed
        mean = (x.sum(-1, keepdim=True) + self.removed * self.centre) / count
        squares = (x - mean).square().sum(-1, keepdim=True) + self.spread
        variance = (squares + self.removed * (self.centre - mean).square()) / count
        x = (x - mean) / torch.sqrt(variance + self.eps)
        if self.weight is not None:
            x = x * self.weight
        return x if self.bias is None else x + self.bias

    def extra_repr(self) -> str:
        """Numbers of kept and of removed features."""
        return f"{self.features}, removed={self.removed}, eps={self.eps}"


def _kept(full: Tensor | None, present: Tensor) -> nn.Parameter | None:
    return None if full is None else nn.Parameter(full.detach()[present])
