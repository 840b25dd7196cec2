"""A map as a matrix of numbers that are to be rounded: one row a block, one column a frequency.

First every Fourier coefficient is divided by its shell's step, so that the noise that the map may
get is white, and equally strong everywhere. Then the map is cut into cubic blocks, and each block
is transformed by a discrete cosine transform (DCT-II, orthonormal): a particle fills a small part
of its box, so that blocks differ as much as frequencies do. The box is continued with zeros to
whole blocks. The numbers become integers by dependent quantisation (`coding.tensors.quantised`),
which also codes them: every block and every frequency has a scale.
"""

import math

import numpy as np

from laconic.coding.queue.stream import IntArray
from laconic.coding.relative_entropy.standardise import DoubleArray
from laconic.map_file import Array
from laconic.metrics.fourier_shells import shell_numbers

EIGHTHS = 8
"""Steps are powers of 2^(1/8)."""
SHARE = 0.72
"""Step of dependent quantisation over that of plain rounding, at 0.9 of its noise; a measured
optimum: the search for the path prefers small numbers, which adds noise."""


def to_steps(noise: DoubleArray) -> IntArray:
    """Steps whose quantisation has about such noise, in eighths of an octave: SHARE root(12 D)."""
    steps: IntArray = np.rint(EIGHTHS * np.log2(SHARE * np.sqrt(12 * noise))).astype(np.int64)
    return steps


def to_matrix(density: Array, steps: IntArray, block: int) -> DoubleArray:
    """The numbers that become integers.

    Args:
        density: (size, size, size).
        steps: (size // 2 + 1,), of each shell, in eighths of an octave.
        block: voxels along an edge of a block.

    Returns:
        (blocks, block^3).
    """
    size = len(density)
    whitened = _filter(density.astype(np.float64), -steps)
    count = math.ceil(size / block)
    padded = np.pad(whitened, (0, count * block - size))
    blocks = _transform(padded.reshape((count, block) * 3), _cosines(block))
    return np.ascontiguousarray(blocks.transpose(0, 2, 4, 1, 3, 5)).reshape(count**3, block**3)


def to_density(matrix: DoubleArray, size: int, steps: IntArray, block: int) -> DoubleArray:
    """The inverse of `to_matrix`: (size, size, size)."""
    count = math.ceil(size / block)
    blocks = matrix.reshape((count,) * 3 + (block,) * 3).transpose(0, 3, 1, 4, 2, 5)
    padded = _transform(blocks, _cosines(block).T).reshape((count * block,) * 3)
    return _filter(padded[:size, :size, :size], steps)


def _filter(volume: DoubleArray, steps: IntArray) -> DoubleArray:
    """Multiply the Fourier coefficients of each shell by 2^(steps / 8)."""
    size = len(volume)
    shells = np.minimum(shell_numbers(size).numpy(), size // 2)
    factors = np.exp2(steps / EIGHTHS)[shells]
    return np.fft.irfftn(np.fft.rfftn(volume) * factors, s=(size,) * 3, axes=(0, 1, 2))


def _cosines(block: int) -> DoubleArray:
    """The matrix of the transform, (frequencies, voxels)."""
    k, n = np.arange(block)[:, None], np.arange(block)
    cosines: DoubleArray = np.cos(np.pi * k * (2 * n + 1) / (2 * block)) * np.sqrt(2 / block)
    cosines[0] /= np.sqrt(2)
    return cosines


def _transform(blocks: DoubleArray, matrix: DoubleArray) -> DoubleArray:
    """Apply a matrix along axes 1, 3 and 5."""
    for axis in (1, 3, 5):
        blocks = np.moveaxis(np.tensordot(matrix, blocks, (1, axis)), 0, axis)
    return blocks
