"""Gaussian latents on bins of equal prior mass."""

from typing import final

import numpy as np
from numpy.typing import ArrayLike

from laconic.coding.integer_tables import half_powers, normal_cdf, normal_centres, normal_edges
from laconic.coding.stack.ans import IntArray, Stack
from laconic.coding.stack.kernels import mixture_intervals, pop_mixture
from laconic.coding.stack.symbols import Uniform, alphabet, parameters
from laconic.errors import CodingError

_FINE = 8  # Edges are in units of 2^-24.
_MEAN_LIMIT = 256 << 16
_MOST_BITS = 16


@final
class NormalBins:
    """A posterior N(m, exp(2 l)) over the 2^bits bins of equal mass of a standard normal prior.

    A real latent is coded as the number of a bin; the prior of bins is `NormalBins.prior`. The bits
    that finer bins cost under the prior come back from the posterior: the net cost is the KL as
    long as bins are narrow compared with the posterior. Every bin has at least 2^-28 of the mass.

    Args:
        means: any shape, units of 2^-16, clipped to +-256.
        log_scales: same shape, units of 2^-16 nat, clipped to +-12 nats.
        bits: 1 to 16.

    Source: Ullrich 1.4; Townsend, Bird, Barber 2019, section 2.5.1 (bins of equal mass).
    """

    def __init__(self, means: ArrayLike, log_scales: ArrayLike, bits: int) -> None:
        if not 1 <= bits <= _MOST_BITS:
            raise CodingError(f"a latent has 1 to {_MOST_BITS} bits, not {bits}")
        centre, width = parameters(means), parameters(log_scales)
        if centre.shape != width.shape:
            raise CodingError("means and log-scales of a posterior differ in shape")
        self._shape = centre.shape
        self._bits = bits
        rows = (np.zeros((centre.size, 1), np.int32), centre.reshape(-1, 1), width.reshape(-1, 1))
        tables = (normal_edges(bits), half_powers(), normal_cdf(), _FINE, _MEAN_LIMIT)
        self._arguments = (1, *rows, np.empty((0, 1), np.int32), *tables)

    @staticmethod
    def prior(bits: int, count: int) -> Uniform:
        """The standard normal prior of `count` latents: all bins are equally likely."""
        return Uniform.of_bits(bits, count)

    @staticmethod
    def centres(indices: IntArray, bits: int) -> IntArray:
        """The values of the latents: the median of each bin under the prior, units of 2^-16."""
        return normal_centres(bits)[indices].astype(np.int64)

    def push(self, stack: Stack, symbols: ArrayLike) -> None:
        """Put bins, of the means' shape, on the stack."""
        flat = alphabet(symbols, self._shape, 1 << self._bits).reshape(-1)
        starts, sizes = np.empty(flat.size, np.uint32), np.empty(flat.size, np.uint32)
        mixture_intervals(flat, starts, sizes, *self._arguments)
        stack.push(starts, sizes)

    def pop(self, stack: Stack) -> IntArray:
        """Take them off, in the means' shape."""
        symbols = np.empty(int(np.prod(self._shape)), np.int64)
        return stack.pop(pop_mixture, symbols, *self._arguments).reshape(self._shape)
