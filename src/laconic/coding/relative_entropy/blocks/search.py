"""The search of a block: its arguments and results, and the density ratio of candidates."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from laconic.coding.queue.stream import IntArray
from laconic.coding.random import (
    FloatArray,
    SharedRandomness,
    normal_of,
    philox,
    quantile_table,
    word_at,
)
from laconic.coding.relative_entropy.standardise import DoubleArray, Standardised
from laconic.compiled import compiled

Name = tuple[np.uint64, np.uint64]

TOLERANCE = 2.0**-20
"""Total variation per block between an "exact" coder's draws and the target; see `log_caps`."""

NEGLIGIBLE_BITS = 2.0**-40
"""A block with less KL takes its first candidate: by Pinsker's inequality, TV < 2^-20."""

_ORDERS: DoubleArray = 2.0 ** np.concatenate([np.arange(-3, 9.5, 0.5), np.arange(10, 24)])
"""Orders, less one, of the Rényi divergences that bound a ratio's tail."""


@dataclass(frozen=True)
class Task:
    """The arguments of a search: blocks of standardised Gaussians, and the shared randomness.

    Attributes:
        q: the target, dimensions in the order of the blocks.
        first: block b holds dimensions `first[b]` to `first[b + 1]`.
        log_caps: per block, the bound (nats) at which log q/p is cut off.
        shared: root of the shared randomness.
    """

    q: Standardised
    first: IntArray
    log_caps: DoubleArray
    shared: SharedRandomness

    @property
    def candidates(self) -> Name:
        """Name of the stream of candidates."""
        return self.shared.child(0).name

    @property
    def clocks(self) -> Name:
        """Name of the stream of the search's own randomness (one word per candidate)."""
        return self.shared.child(3).name

    @cached_property
    def terms(self) -> DoubleArray:
        """Log q/p less its maximum, `x0 + x1 u - x2 u²`, and that maximum x3; `(dims, 4)`."""
        m, s = self.q.mean, self.q.scale
        tops = largest_log_ratio(self.q)
        constant = -np.log(s) - 0.5 * (m / s) ** 2 - tops
        return np.stack([constant, self.q.linear, 0.5 * self.q.quadratic, tops], 1)

    @property
    def kl_bits(self) -> DoubleArray:
        """KL per block."""
        return block_sums(self.q.kl_bits, self.first)


@dataclass(frozen=True)
class Found:
    """The result of a search.

    Attributes:
        indices: per block, 1 + the chosen candidate's number; 0: none within the limit.
        levels: where none was chosen, the multiple of p that rejected candidates have used up: the
            draw must come from the rest, max(q - level p, 0).
        tries: candidates examined.
    """

    indices: IntArray
    levels: DoubleArray
    tries: int


def reach() -> float:
    """Largest absolute value that a shared normal can take."""
    return float(quantile_table()[2, -1])


def largest_log_ratio(q: Standardised) -> DoubleArray:
    """Max of log q(u)/p(u) in nats over all |u| that shared normals reach; finite for any scale."""
    m, s, edge = q.mean, q.scale, reach()
    with np.errstate(divide="ignore", invalid="ignore"):
        mode = np.where(s < 1, m / (1 - s**2), np.inf * np.sign(m))
    at = np.where(np.abs(mode) < edge, mode, np.copysign(edge, m))
    # For s > 1 the ratio is least inside and largest at the far edge.
    top: DoubleArray = -np.log(s) - 0.5 * ((at - m) / s) ** 2 + 0.5 * at**2
    return top


def block_sums(values: DoubleArray, first: IntArray) -> DoubleArray:
    """Sums over blocks of the first axis."""
    if first.size < 2:
        return np.zeros((0, *values.shape[1:]))
    sums: DoubleArray = np.add.reduceat(values, first[:-1], axis=0)
    return sums


def cumulants(q: Standardised) -> DoubleArray:
    """Log E_q[r^λ] per dimension for each λ of the grid, last the largest log r; nats.

    Formula: with v = s² + (1 + λ)(1 - s²), log E_q[r^λ] = -λ ln s - ½ ln v + λ(1 + λ) m²/(2v);
    infinite where v <= 0.
    """
    m, s = q.mean[:, None], q.scale[:, None]
    v = s**2 + (1 + _ORDERS) * (1 - s**2)
    with np.errstate(all="ignore"):
        k = -_ORDERS * np.log(s) - 0.5 * np.log(v) + _ORDERS * (1 + _ORDERS) * m**2 / (2 * v)
    k[~(v > 0)] = np.inf
    return np.concatenate([k, largest_log_ratio(q)[:, None]], 1)


def log_caps(sums: DoubleArray) -> DoubleArray:
    """Where the log-ratio of a block may be cut off, nats; `sums`: its `cumulants`.

    Cutting the ratio r at C changes the target by E_p[(r - C)+] in total variation, and for each λ
    E_p[(r - C)+] <= E_q[r^λ] C^-λ λ^λ/(1 + λ)^(1 + λ). The smallest C over the grid of λ that makes
    this `TOLERANCE` is taken, or the true maximum where that is smaller.
    """
    lam = _ORDERS
    slack = lam * np.log(lam) - (1 + lam) * np.log1p(lam) - np.log(TOLERANCE)
    bounds = (sums[:, :-1] + slack) / lam
    bounded: DoubleArray = np.maximum(np.minimum(bounds.min(1, initial=np.inf), sums[:, -1]), 0.0)
    return bounded


@compiled()
def search_order(gains: DoubleArray) -> IntArray:
    """Groups of four dimensions, those of most KL first: poor candidates are dropped early."""
    groups = (gains.size + 3) >> 2
    total = np.zeros(groups)
    for d in range(gains.size):
        total[d >> 2] -= gains[d]
    return np.argsort(total)


@compiled()
def log_ratio(
    name: Name,
    block: int,
    candidate: int,
    terms: DoubleArray,
    order: IntArray,
    top: float,
    floor: float,
    table: FloatArray,
) -> float:
    """Log q/p of one candidate, or -inf as soon as it cannot exceed `floor`.

    Candidate i's dimensions 4 g to 4 g + 3 of block b are the normals of the four words of the
    Philox block numbered `b 2^34 + i 2^8 + g`.
    """
    place = np.uint64(block) << np.uint64(34) | np.uint64(candidate) << np.uint64(8)
    k0, k1 = np.uint32(name[0]), np.uint32(name[0] >> np.uint64(32))
    s0, s1 = np.uint32(name[1]), np.uint32(name[1] >> np.uint64(32))
    value = top
    for j in range(order.size):
        g = order[j]
        n = place | np.uint64(g)
        words = philox(np.uint32(n), np.uint32(n >> np.uint64(32)), s0, s1, k0, k1)
        for k in range(min(4, terms.shape[0] - 4 * g)):
            u = np.float64(normal_of(words[k], table))
            d = 4 * g + k
            value += terms[d, 0] + (terms[d, 1] - terms[d, 2] * u) * u
        if value <= floor:
            return -np.inf
    return value


@compiled()
def exponentials(name: Name, block: int, candidate: int) -> tuple[float, float, float, float]:
    """The sender's four exponential variables for candidates `candidate` (a multiple of 4) on."""
    w = clock_words(name, block, candidate)
    return (
        -math.log((w[0] + 0.5) * 2.0**-32),
        -math.log((w[1] + 0.5) * 2.0**-32),
        -math.log((w[2] + 0.5) * 2.0**-32),
        -math.log((w[3] + 0.5) * 2.0**-32),
    )


@compiled()
def clock_words(
    name: Name, block: int, candidate: int
) -> tuple[np.uint32, np.uint32, np.uint32, np.uint32]:
    """The sender's four words for candidates `candidate` (a multiple of 4) on."""
    n = np.uint64(block) << np.uint64(34) | np.uint64(candidate)
    k0, k1 = np.uint32(name[0]), np.uint32(name[0] >> np.uint64(32))
    s0, s1 = np.uint32(name[1]), np.uint32(name[1] >> np.uint64(32))
    return philox(np.uint32(n), np.uint32(n >> np.uint64(32)), s0, s1, k0, k1)


@compiled()
def draw_residual(
    q: tuple[DoubleArray, DoubleArray],
    terms: DoubleArray,
    level: float,
    noise: FloatArray,
    coins: DoubleArray,
) -> DoubleArray:
    """An exact draw of one block from max(q - level p, 0), by rejection from q."""
    mean, scale = q
    out = np.empty(mean.size)
    for i in range(coins.size):
        value = 0.0
        for d in range(mean.size):
            u = mean[d] + scale[d] * np.float64(noise[i * mean.size + d])
            value += terms[d, 0] + terms[d, 3] + (terms[d, 1] - terms[d, 2] * u) * u
            out[d] = u
        if level * math.exp(-value) < 1 - coins[i]:
            break
    return out


@compiled()
def chosen_values(name: Name, indices: IntArray, first: IntArray, table: FloatArray) -> FloatArray:
    """The normals of each block's chosen candidate; zeros where it was escaped."""
    out = np.zeros(first[-1], np.float32)
    for b in range(indices.size):
        place = np.uint64(b) << np.uint64(34) | np.uint64(max(indices[b], 1) - 1) << np.uint64(8)
        for d in range(first[b], first[b + 1]):
            k = d - first[b]
            word = word_at(name[0], name[1], (place << np.uint64(2)) + np.uint64(k))
            out[d] = normal_of(word, table)
    return out


def zipf_bits(log_index: DoubleArray) -> DoubleArray:
    """Mean length of the Zipf code for an index of mean log2 `log_index` (Li & El Gamal 2018).

    Formula: λ E[log2 N] + log2 ζ(λ), with λ = 1 + 1/E[log2 N].
    """
    x = np.maximum(log_index, 1e-3)
    lam = 1 + 1 / x
    # Euler and Maclaurin: exact to 1e-9 from the eighth term on.
    n = np.arange(1, 8)
    zeta = (n[:, None] ** -lam).sum(0) + 8 ** (1 - lam) / (lam - 1) + 0.5 * 8**-lam
    zeta += lam * 8 ** (-lam - 1) / 12 - lam * (lam + 1) * (lam + 2) * 8 ** (-lam - 3) / 720
    bits: DoubleArray = lam * log_index + np.log2(zeta)
    return bits
