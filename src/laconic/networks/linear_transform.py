"""The linear block transform fitted to the data (KLT), the start of learned transforms."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional


class BlockTransform(nn.Module):
    """An orthonormal transform of colour blocks, and its learned inverse.

    Analysis multiplies each `block` x `block` x 3 cube by `outputs` filters; synthesis starts as
    its transpose. Both compute in full precision: coefficients span five orders of magnitude.

    Args:
        block: side of the blocks in pixels.
        outputs: coefficients kept of the `3 block²`.
    """

    def __init__(self, block: int, outputs: int) -> None:
        super().__init__()
        self.block = block
        size = 3 * block * block
        filters = torch.eye(size)[:outputs].reshape(outputs, 3, block, block)
        self.analysis = nn.Parameter(filters.clone())
        self.synthesis = nn.Parameter(filters.clone())
        self.variance = nn.Buffer(torch.ones(outputs))

    @torch.no_grad()
    def fit(self, covariance: Tensor) -> None:
        """Set both directions to the eigenvectors of a block covariance, largest eigenvalue first.

        Args:
            covariance: covariance of cubes flattened as (colour, row, column); shape
                `(3 block², 3 block²)`, float64.
        """
        outputs = self.analysis.shape[0]
        values, vectors = torch.linalg.eigh(covariance)
        order = torch.argsort(values, descending=True)[:outputs]
        filters = vectors[:, order].T.reshape(self.analysis.shape).to(self.analysis.dtype)
        self.analysis.copy_(filters)
        self.synthesis.copy_(filters)
        self.variance.copy_(values[order].clamp_min(1e-9))

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, 3, height, width)` -> `(batch, outputs, height / block, width / block)`."""
        with torch.autocast(x.device.type, enabled=False):
            flat = functional.pixel_unshuffle(x, self.block)
            return functional.conv2d(flat, self.analysis.flatten(1)[:, :, None, None])

    def inverse(self, coefficients: Tensor) -> Tensor:
        """`(batch, outputs, rows, columns)` -> `(batch, 3, rows * block, columns * block)`."""
        with torch.autocast(coefficients.device.type, enabled=False):
            weight = self.synthesis.flatten(1).T[:, :, None, None]
            return functional.pixel_shuffle(functional.conv2d(coefficients, weight), self.block)


def block_covariance(batches: Iterable[Tensor], block: int) -> Tensor:
    """Covariance of `block` x `block` colour cubes around mid-grey.

    Args:
        batches: pictures, each `(batch, 3, height, width)` in [0, 1].
        block: side of a cube in pixels.

    Returns:
        `(3 block², 3 block²)` float64; cubes flattened as (colour, row, column).
    """
    total = torch.zeros(3 * block * block, 3 * block * block, dtype=torch.float64)
    seen = 0
    for pictures in batches:
        cubes = functional.unfold(pictures - 0.5, block, stride=block)
        flat = cubes.transpose(1, 2).flatten(0, 1)
        total += (flat.T @ flat).double()
        seen += len(flat)
    return total / seen
