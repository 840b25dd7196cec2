"""Codecs of pixels under mixtures of discretised logistics or normals.

Parameters are int arrays in units of 2^-16: logits, means on the scale of 8-bit pixels (128.5 is
128.5 * 65536), and natural logarithms of scales on that same scale. Alphabets of more than 256
symbols divide the same range more finely: with 65536 levels a symbol is 1/256 pixel.
"""

from functools import cache
from typing import final

import numpy as np
from numpy.typing import ArrayLike

from laconic.coding.integer_tables import half_powers, logistic_cdf, normal_cdf
from laconic.coding.stack.ans import IntArray, Stack
from laconic.coding.stack.kernels import (
    ParameterArray,
    TableArray,
    WordArray,
    mixture_intervals,
    pop_mixture,
)
from laconic.coding.stack.symbols import alphabet, parameters
from laconic.errors import CodingError

_PIXELS = 256
_LARGEST = 1 << 16
_MEAN_LIMIT = 1024 << 16


@cache
def _edges(levels: int) -> TableArray:
    """Lower edges of `levels` bins, and the end, in units of 2^-16 pixel."""
    if not 2 <= levels <= _LARGEST or (levels > _PIXELS and levels & (levels - 1)):
        raise CodingError(
            f"pixels have 2 to {_PIXELS} levels, or a power of two up to {_LARGEST}, not {levels}"
        )
    step = (_PIXELS << 16) // max(levels, _PIXELS)
    edges = (np.arange(levels + 1, dtype=np.int64) * step - step // 2).astype(np.int32)
    edges.flags.writeable = False
    return edges


class _Mixture:
    """The shared part of the codecs below: parameters `(n, channels, components)`, push and pop."""

    def __init__(
        self,
        arrays: tuple[ParameterArray, ParameterArray, ParameterArray, ParameterArray],
        levels: int,
        cdf: TableArray,
    ) -> None:
        logits, means, log_scales, couplings = arrays
        size, channels, components = logits.shape
        shape = (size, 3 if channels == 3 else 0, components)
        if means.shape != logits.shape or log_scales.shape != logits.shape:
            raise CodingError("logits, means and log-scales of a mixture differ in shape")
        if components < 1 or couplings.shape != shape:
            raise CodingError(f"couplings of shape {couplings.shape} where {shape} is needed")
        self._shape = (size, channels)
        self._levels = levels
        rows = [array.reshape(-1, components) for array in arrays]
        tables = (_edges(levels), half_powers(), cdf, 0, _MEAN_LIMIT)
        self._arguments = (channels, *rows, *tables)

    def intervals(self, symbols: ArrayLike) -> tuple[WordArray, WordArray]:
        flat = alphabet(symbols, self._shape, self._levels).reshape(-1)
        starts, sizes = np.empty(flat.size, np.uint32), np.empty(flat.size, np.uint32)
        mixture_intervals(flat, starts, sizes, *self._arguments)
        return starts, sizes

    def push(self, stack: Stack, symbols: ArrayLike) -> None:
        stack.push(*self.intervals(symbols))

    def pop(self, stack: Stack) -> IntArray:
        symbols = np.empty(self._shape[0] * self._shape[1], np.int64)
        return stack.pop(pop_mixture, symbols, *self._arguments).reshape(self._shape)


def _one_channel(
    logits: ArrayLike, means: ArrayLike, log_scales: ArrayLike
) -> tuple[ParameterArray, ParameterArray, ParameterArray, ParameterArray]:
    arrays = [parameters(array) for array in (logits, means, log_scales)]
    if any(array.ndim != 2 for array in arrays):
        raise CodingError("a mixture's parameters have the shape (symbols, components)")
    weights, places, widths = (array[:, None] for array in arrays)
    return weights, places, widths, np.empty((weights.shape[0], 0, weights.shape[2]), np.int32)


@final
class LogisticMixture:
    """Pixels under mixtures of discretised logistics.

    Formula: p(x) = Σ_k w_k (σ((x + 1/2 - m_k) / s_k) - σ((x - 1/2 - m_k) / s_k)); the first
    and last symbol take the tails. Source: Salimans et al., "PixelCNN++", 2017, eq. 2.

    Args:
        logits: `(n, components)`, units of 2^-16; softmax gives the weights.
        means: `(n, components)`, units of 2^-16 pixel, clipped to +-1024 pixels.
        log_scales: `(n, components)`, units of 2^-16 nat, clipped to +-12 nats.
        levels: size of the alphabet: 2 to 256, or a power of two up to 65536.
    """

    def __init__(
        self, logits: ArrayLike, means: ArrayLike, log_scales: ArrayLike, levels: int = 256
    ) -> None:
        self._mixture = _Mixture(_one_channel(logits, means, log_scales), levels, logistic_cdf())

    def intervals(self, symbols: ArrayLike) -> tuple[WordArray, WordArray]:
        """Starts and sizes, in parts of 2^28, of `(n,)` symbols; `(n,)` each."""
        return self._mixture.intervals(symbols)

    def push(self, stack: Stack, symbols: ArrayLike) -> None:
        """Put `(n,)` symbols on the stack."""
        self._mixture.push(stack, symbols)

    def pop(self, stack: Stack) -> IntArray:
        """Take them off, `(n,)`."""
        return self._mixture.pop(stack)[:, 0]


@final
class GaussianMixture:
    """Pixels under mixtures of discretised normals; else as `LogisticMixture`.

    Args:
        logits: `(n, components)`, units of 2^-16.
        means: `(n, components)`, units of 2^-16 pixel.
        log_scales: `(n, components)`, log of the standard deviation, units of 2^-16 nat.
        levels: size of the alphabet.
    """

    def __init__(
        self, logits: ArrayLike, means: ArrayLike, log_scales: ArrayLike, levels: int = 256
    ) -> None:
        self._mixture = _Mixture(_one_channel(logits, means, log_scales), levels, normal_cdf())

    def push(self, stack: Stack, symbols: ArrayLike) -> None:
        """Put `(n,)` symbols on the stack."""
        self._mixture.push(stack, symbols)

    def pop(self, stack: Stack) -> IntArray:
        """Take them off, `(n,)`."""
        return self._mixture.pop(stack)[:, 0]


@final
class ColourMixture:
    """RGB pixels under mixtures of discretised logistics; green depends on red, blue on both.

    Formula: mean_R = m_R; mean_G = m_G + c_0 (r - 128);
    mean_B = m_B + c_1 (r - 128) + c_2 (g - 128). Each channel is a mixture of its own given the
    channels before. Source: Salimans et al., "PixelCNN++", 2017, eq. 3, with weights per channel.

    Args:
        logits: `(n, 3, components)`, units of 2^-16.
        means: `(n, 3, components)`, units of 2^-16 pixel.
        log_scales: `(n, 3, components)`, units of 2^-16 nat.
        couplings: `(n, 3, components)`: c_0, c_1, c_2 in units of 2^-16.
    """

    def __init__(
        self,
        logits: ArrayLike,
        means: ArrayLike,
        log_scales: ArrayLike,
        couplings: ArrayLike,
    ) -> None:
        arrays = (
            parameters(logits),
            parameters(means),
            parameters(log_scales),
            parameters(couplings),
        )
        if arrays[0].ndim != 3 or arrays[0].shape[1] != 3:
            raise CodingError("colour parameters have the shape (pixels, 3, components)")
        self._mixture = _Mixture(arrays, _PIXELS, logistic_cdf())

    def intervals(self, symbols: ArrayLike) -> tuple[WordArray, WordArray]:
        """Starts and sizes, in parts of 2^28, of `(n, 3)` pixels; `(3 n,)` each."""
        return self._mixture.intervals(symbols)

    def push(self, stack: Stack, symbols: ArrayLike) -> None:
        """Put `(n, 3)` pixels on the stack."""
        self._mixture.push(stack, symbols)

    def pop(self, stack: Stack) -> IntArray:
        """Take them off, `(n, 3)`: pixel by pixel, red, green, blue."""
        return self._mixture.pop(stack)
