"""Covariances of the rows or columns of a matrix: diagonal, or low-rank + diagonal.

The square root is what is stored: C = diag(d) + A Aᵀ, and the covariance is C².

Source: Louizos 3.2.2, footnote 2, which gives the rank 1.
"""

import torch
from torch import Tensor, nn


class RootCovariance(nn.Module):
    """The square root C of a covariance matrix of size `count`.

    Args:
        like: a tensor whose type and device the parameters get.
        count: size.
        log_scale: initial logarithms of d.
        rank: columns of A; 0 for a diagonal covariance.

    Attributes:
        log_scale: log d, shape `(count,)`.
        low_rank: A, shape `(count, rank)`, or None.
    """

    def __init__(self, like: Tensor, count: int, log_scale: float, rank: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(like.new_full((count,), log_scale))
        start = 0.1 * torch.exp(torch.tensor(log_scale / 2)).item()
        self.low_rank = (
            nn.Parameter(start * torch.randn(count, rank).to(like) / count**0.5) if rank else None
        )

    @property
    def scale(self) -> Tensor:
        """d, shape `(count,)`."""
        return self.log_scale.exp()

    def times(self, x: Tensor) -> Tensor:
        """C x, for matrices `(..., count, columns)`."""
        scale = self.scale.to(x.dtype)
        if self.low_rank is None:
            return scale.unsqueeze(-1) * x
        low_rank = self.low_rank.to(x.dtype)
        return scale.unsqueeze(-1) * x + low_rank @ (low_rank.mT @ x)

    def after(self, x: Tensor) -> Tensor:
        """Product x C, for matrices or vectors `(..., count)`."""
        if self.low_rank is None:
            return x * self.scale
        return x * self.scale + (x @ self.low_rank) @ self.low_rank.mT

    def diagonal(self) -> Tensor:
        """Diagonal of the covariance C², shape `(count,)`."""
        if self.low_rank is None:
            return self.scale.square()
        gram = self.low_rank.mT @ self.low_rank
        rows = self.low_rank.square().sum(1)
        inner = ((self.low_rank @ gram) * self.low_rank).sum(1)
        return self.scale.square() + 2 * self.scale * rows + inner

    def trace(self) -> Tensor:
        """Trace of the covariance C²."""
        return self.diagonal().sum()

    def log_det(self) -> Tensor:
        """Log determinant of the covariance C².

        Formula: 2 (sum log d + log det(I + Aᵀ diag(1 / d) A)).
        """
        total = self.log_scale.sum()
        if self.low_rank is not None:
            inner = self.low_rank.mT @ (self.low_rank / self.scale.unsqueeze(-1))
            identity = torch.eye(len(inner), dtype=inner.dtype, device=inner.device)
            total = total + torch.linalg.slogdet(identity + inner)[1]
        return 2 * total
