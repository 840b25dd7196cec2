"""The bit-budgeted rejection sampler: one exact draw and one index per dimension."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Normal

from laconic.coding.queue.stream import AdaptiveModel, IntArray, QueueDecoder, QueueEncoder
from laconic.coding.random import (
    FloatArray,
    SharedRandomness,
    UInt32Array,
    normal_of,
    quantile_table,
    word_at,
)
from laconic.coding.relative_entropy import standardise
from laconic.coding.relative_entropy.base import Receipt, RelativeEntropyCoder
from laconic.coding.relative_entropy.standardise import DoubleArray
from laconic.compiled import compiled

_PRIVATE_WORDS = 1 << 20


@compiled()
def _cdf(x: float, mean: float, scale: float) -> float:
    return 0.5 * math.erfc((mean - x) / (scale * math.sqrt(2.0)))


@compiled()
def masses(level: float, mean: float, scale: float) -> tuple[float, float]:
    """Target and prior mass of {u: q(u)/p(u) >= level}.

    log r = -ln s - m²/(2s²) + (m/s²) u - (1/s² - 1) u²/2; the set is an interval for s < 1, the
    complement of one for s > 1, a half line for s = 1.
    """
    a, b = mean / scale**2, 1 / scale**2 - 1
    c = -math.log(scale) - 0.5 * a * mean - math.log(level)
    if abs(b) < 1e-9:
        if abs(a) < 1e-12:
            full = 1.0 if c >= 0 else 0.0
            return full, full
        edge = -c / a
        q, p = _cdf(edge, mean, scale), _cdf(edge, 0.0, 1.0)
        return (1 - q, 1 - p) if a > 0 else (q, p)
    square = a * a + 2 * b * c
    if square <= 0:
        return (0.0, 0.0) if b > 0 else (1.0, 1.0)
    root = math.sqrt(square)
    low, high = min((a - root) / b, (a + root) / b), max((a - root) / b, (a + root) / b)
    q = _cdf(high, mean, scale) - _cdf(low, mean, scale)
    p = _cdf(high, 0.0, 1.0) - _cdf(low, 0.0, 1.0)
    return (q, p) if b > 0 else (1 - q, 1 - p)


@compiled()
def _reject(
    mean: DoubleArray,
    scale: DoubleArray,
    far: NDArray[np.bool_],
    draws: tuple[np.uint64, np.uint64],
    coins: tuple[np.uint64, np.uint64],
    table: FloatArray,
    count: int,
) -> tuple[IntArray, DoubleArray, int]:
    """Accepted indices (`count`: none), levels up to which mass was given, draws examined."""
    chosen = np.full(mean.size, count, np.int64)
    levels = np.ones(mean.size, np.float64)
    tries = 0
    for d in range(mean.size):
        if far[d]:
            levels[d] = 0.0
            continue
        m, s = mean[d], scale[d]
        constant, level, left = -math.log(s) - 0.5 * (m / s) ** 2, 0.0, 1.0
        for i in range(count):
            place = np.uint64(d * count + i)
            u = np.float64(normal_of(word_at(draws[0], draws[1], place), table))
            ratio = math.exp(constant + m / s**2 * u - 0.5 * (1 / s**2 - 1) * u * u)
            coin = (word_at(coins[0], coins[1], place) + 0.5) * 2.0**-32
            tries += 1
            if coin * left < ratio - level:
                chosen[d] = i
                break
            level += left
            q, p = masses(level, m, s)
            left = min(left, max(q - level * p, 0.0))
        levels[d] = level
    return chosen, levels, tries


@compiled()
def _residual(
    mean: DoubleArray,
    scale: DoubleArray,
    levels: DoubleArray,
    normals: FloatArray,
    words: UInt32Array,
) -> DoubleArray:
    """Exact draws from what is left of the target, max(q - level p, 0), by rejection from q."""
    out = np.empty(mean.size, np.float64)
    n = 0
    for d in range(mean.size):
        m, s = mean[d], scale[d]
        for _ in range(100000):
            x = np.float64(normals[n % normals.size])
            coin = (words[n % words.size] + 0.5) * 2.0**-32
            n += 1
            u = m + s * x
            out[d] = u
            log_ratio = -math.log(s) - 0.5 * x * x + 0.5 * u * u
            if levels[d] == 0.0 or math.log(levels[d]) - log_ratio < math.log1p(-coin):
                break
    return out


@final
@dataclass(frozen=True)
class RejectionCoder(RelativeEntropyCoder):
    """Rejection sampling, dimension by dimension. Source: Flamich, Alg. 1 and 3.5.1 (ERRATA 4).

    Step i accepts shared draw u_i so that the mass given to it is min(q - already given, what is
    left of p). The mass given after i steps is min(q, L_i p), L_i the sum of the mass left before
    each step, so one level L per dimension is the whole state, and normal CDFs give the mass left.
    Dimensions that accept no draw in 2^budget steps, or are too far out, are drawn exactly from the
    rest of q and sent as 16-bit numbers, the only inexactness. Indices are arithmetic-coded under
    adaptive counts that start at one each (Laplace's rule).

    Attributes:
        budget: log2 of the draws that are examined per dimension.
    """

    id: ClassVar[str] = "rejection"
    exact: ClassVar[bool] = True
    RANGES: ClassVar[Mapping[str, tuple[int, int]]] = {"budget": (1, 11)}

    budget: int = 8

    def encode(
        self, target: Normal, prior: Normal, stream: QueueEncoder, shared: SharedRandomness
    ) -> tuple[Tensor, Receipt]:
        """Write one index per dimension, and the outliers."""
        q = standardise.standardise(target, prior)
        before, count = stream.bits, 1 << self.budget
        # Beyond this KL, fewer than one in 2^16 dimensions accept within the budget: no search.
        far = q.kl_bits > self.budget + 16
        names = shared.child(0).name, shared.child(3).name
        chosen, levels, tries = _reject(q.mean, q.scale, far, *names, quantile_table(), count)
        stream.adaptive(chosen, AdaptiveModel(count + 1, limit=1 << 18))
        after_indices = stream.bits
        out = np.flatnonzero(chosen == count)
        private = shared.child(4)
        values = _residual(
            q.mean[out],
            q.scale[out],
            levels[out],
            private.normals(0, _PRIVATE_WORDS),
            private.child(0).bits(0, _PRIVATE_WORDS),
        )
        u = self._values(chosen, shared)
        u[out] = standardise.write_values(stream, values)
        parts = {"indices": after_indices - before, "outliers": stream.bits - after_indices}
        theory = float((q.kl_bits + 2 * np.log2(q.kl_bits + 1)).sum())
        receipt = Receipt(float(q.kl_bits.sum()), theory, parts, tries)
        return standardise.restore(u, prior), receipt

    def decode(self, prior: Normal, stream: QueueDecoder, shared: SharedRandomness) -> Tensor:
        """Read one index per dimension, and the outliers."""
        count, dims = 1 << self.budget, prior.loc.numel()
        chosen = stream.adaptive(dims, AdaptiveModel(count + 1, limit=1 << 18))
        u = self._values(chosen, shared)
        out = np.flatnonzero(chosen == count)
        u[out] = standardise.read_values(stream, out.size)
        return standardise.restore(u, prior)

    def _values(self, chosen: IntArray, shared: SharedRandomness) -> FloatArray:
        """Every dimension has draws of its own; where none was accepted, a placeholder."""
        count = 1 << self.budget
        return shared.child(0).normals_at(
            np.arange(chosen.size) * count + np.minimum(chosen, count - 1)
        )
