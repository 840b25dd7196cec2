"""The base of the coders that bisect the prior's CDF: the tree, the ratio q/p, the heap index.

The CDF of the standardised prior, [0, 1), is cut into halves, quarters, ... The node (depth, path)
of the binary tree has the dyadic interval [path, path + 1) / 2^depth and one shared draw from the
prior within it: a word of 32 bits whose top `depth` bits are the path and whose other bits come
from Philox at the position (dimension, 2^depth + path). So a receiver needs only the heap index
2^depth + path, and computes with integers up to the table of quantiles. The prior mass of a node is
exactly 2^-depth.
"""

import math
from abc import abstractmethod

import numpy as np
from torch import Tensor
from torch.distributions import Normal

from laconic.coding.queue.stream import AdaptiveModel, IntArray, QueueDecoder, QueueEncoder
from laconic.coding.random import FloatArray, SharedRandomness, quantile_table, word_at
from laconic.coding.relative_entropy import rate_map, standardise
from laconic.coding.relative_entropy.base import Receipt, RelativeEntropyCoder
from laconic.coding.relative_entropy.standardise import DoubleArray
from laconic.compiled import compiled

MAX_DEPTH = 30
"""Nodes at this depth hold four words: they are not split, and a search ends there."""

Name = tuple[np.uint64, np.uint64]
"""Seed and stream of shared randomness as compiled functions take them."""

Nodes = tuple[IntArray, IntArray, IntArray]
"""Per dimension: depth and path of the chosen node, and nodes examined."""

QUEUE = 4096
"""Room for waiting nodes of a search; a search has some tens."""

_EDGE, _SPAN = 6.1, 4.9
_MAP_SHARES = (0.015, 0.05)
"""Shares of the KL for the map of rates; the sender tries each, and no map, and takes the best."""

_CLASSES_PER_CONTEXT = 4


@compiled()
def quantile(word: int | np.int64, table: FloatArray) -> float:
    """The prior's quantile at (word + 1/2) / 2^32, rising with `word`.

    The words are those of `normal_of` in rising order: word w of the CDF is the table's word
    ~w below the median, w XOR 2^31 above it. Between the entries of a table the quantile is
    interpolated, because targets may be narrower than the table's cells. Entries have 24 bits and
    fractions at most 17, so every double here is exact, and only the result is rounded to float32.
    """
    v = (1 << 31) - 1 - word if word < 1 << 31 else word - (1 << 31)
    level, shift = 0, 16
    if v >= 32512 << 16:
        v &= 0xFFFFFF
        level, shift = 1, 9
        if v >= 32512 << 9:
            v &= 0x1FFFF
            level, shift = 2, 2
    place = 2 * v + 1 - (1 << shift)
    cell = place >> (shift + 1)
    fraction = (place & ((2 << shift) - 1)) * 0.5 ** (shift + 1)
    if cell >= 0:
        low = np.float64(table[level, cell])
        high = np.float64(table[level, min(cell + 1, 32767)])
    else:
        high = np.float64(table[level, 0])
        low = -high if level == 0 else high
    x = low + (high - low) * fraction
    return -x if word < 1 << 31 else x


@compiled()
def place_of(dim: int, depth: int, path: int) -> np.uint64:
    """Position of a node's word in the stream: dimension above, heap index below."""
    return np.uint64((dim << 31) | (1 << depth) | path)


@compiled()
def draw_of(name: Name, dim: int, depth: int, path: int, table: FloatArray) -> np.float32:
    """The shared draw of a node."""
    word = np.int64(word_at(name[0], name[1], place_of(dim, depth, path)))
    return np.float32(quantile((path << (32 - depth)) | (word >> depth), table))


@compiled()
def coin_of(name: Name, dim: int, depth: int, path: int) -> float:
    """A node's uniform number on (0, 1); only the sender uses it."""
    return (np.float64(word_at(name[0], name[1], place_of(dim, depth, path))) + 0.5) * 2.0**-32


@compiled()
def border(depth: int, path: int, table: FloatArray) -> float:
    """Lower end of a node's interval as a value; the upper end is `border(depth, path + 1)`."""
    if path == 0:
        return -math.inf
    if path == 1 << depth:
        return math.inf
    return quantile(path << (32 - depth), table)


@compiled()
def parabola(mean: float, scale: float) -> tuple[float, float, float]:
    """Coefficients (c, a, b) of log r(u) = c + a u - b u²/2, r = q/p."""
    a = mean / scale**2
    return -math.log(scale) - 0.5 * a * mean, a, (1 - scale) * (1 + scale) / scale**2


@compiled()
def log_ratio(u: float, r: tuple[float, float, float]) -> float:
    """Log r(u)."""
    return r[0] + (r[1] - 0.5 * r[2] * u) * u


@compiled()
def peak(depth: int, path: int, r: tuple[float, float, float], table: FloatArray) -> float:
    """Greatest log r over the words of a node."""
    width = 1 << (32 - depth)
    low, high = quantile(path * width, table), quantile(path * width + width - 1, table)
    if r[2] > 0 and low * r[2] < r[1] < high * r[2]:
        return r[0] + 0.5 * r[1] * r[1] / r[2]
    return max(log_ratio(low, r), log_ratio(high, r))


@compiled()
def normal_mass(low: float, high: float) -> float:
    """Mass of N(0, 1) on [low, high], without cancellation in the tails."""
    if low >= high:
        return 0.0
    root = math.sqrt(0.5)
    if low > 0:
        return 0.5 * (math.erfc(low * root) - math.erfc(high * root))
    if high < 0:
        return 0.5 * (math.erfc(-high * root) - math.erfc(-low * root))
    return 0.5 * (math.erf(high * root) - math.erf(low * root))


@compiled()
def _masses(low: float, high: float, mean: float, scale: float) -> tuple[float, float]:
    q = normal_mass((low - mean) / scale, (high - mean) / scale)
    return q, normal_mass(low, high)


@compiled()
def masses_above(
    level: float, low: float, high: float, mean: float, scale: float
) -> tuple[float, float]:
    """Target and prior mass of {u in [low, high]: r(u) >= level}.

    For scale < 1 the set is an interval, for scale > 1 the complement of one, for scale 1 a half
    line.
    """
    if level <= 0.0:
        return _masses(low, high, mean, scale)
    c, a, b = parabola(mean, scale)
    c -= math.log(level)
    square = a * a + 2 * b * c
    if b == 0.0 or square <= 0.0:
        if b == 0.0 and a != 0.0:
            edge = -c / a
            low, high = (max(low, edge), high) if a > 0 else (low, min(high, edge))
        elif c < 0 or b > 0:
            return 0.0, 0.0
        return _masses(low, high, mean, scale)
    # The roots of c + a u - b u²/2, without cancellation where b is small.
    half = a + math.copysign(math.sqrt(square), a)
    first, second = half / b, -2 * c / half
    left, right = min(first, second), max(first, second)
    if b > 0:
        return _masses(max(low, left), min(high, right), mean, scale)
    below = _masses(low, min(high, left), mean, scale)
    above = _masses(max(low, right), high, mean, scale)
    return below[0] + above[0], below[1] + above[1]


@compiled()
def residual_mass(level: float, low: float, high: float, mean: float, scale: float) -> float:
    """Prior-weighted integral of (r - level)^+ over [low, high]."""
    q, p = masses_above(level, low, high, mean, scale)
    return max(q - level * p, 0.0)


@compiled()
def to_end(keys: DoubleArray, nodes: IntArray, size: int) -> None:
    """Bring the queue's least entry to its end, column `size - 1`; `keys[0]` ranks."""
    first = np.argmin(keys[0, :size])
    for i in range(2):
        keys[i, first], keys[i, size - 1] = keys[i, size - 1], keys[i, first]
        nodes[i, first], nodes[i, size - 1] = nodes[i, size - 1], nodes[i, first]


@compiled()
def _values(
    dims: IntArray, depths: IntArray, paths: IntArray, name: Name, table: FloatArray
) -> FloatArray:
    out = np.empty(dims.size, np.float32)
    for i in range(dims.size):
        out[i] = draw_of(name, dims[i], depths[i], paths[i], table)
    return out


def unreachable(q: standardise.Standardised, outlier_bits: int) -> IntArray:
    """Dimensions that the tree codes badly; they are sent as outliers.

    Either their KL exceeds `outlier_bits`, so that too few words lie under the target; or 4.9
    target scales reach past 6.1 prior scales, where the table ends: the target is much wider than
    the prior, or far out. For all other dimensions, less than 2^-20 of the target lies beyond the
    table.
    """
    far = (q.kl_bits > outlier_bits) | (np.abs(q.mean) + _SPAN * q.scale > _EDGE)
    return np.flatnonzero(far)


def _contexts(rates: IntArray) -> list[IntArray]:
    """Dimensions grouped by similar rate."""
    classes = np.searchsorted(rate_map.RATES, rates) // _CLASSES_PER_CONTEXT
    return [np.flatnonzero(classes == c) for c in np.unique(classes)]


def _write_depths(stream: QueueEncoder, depths: IntArray, rates: IntArray, limit: int) -> None:
    for where in _contexts(rates):
        stream.adaptive(depths[where], AdaptiveModel(limit + 1))


def _read_depths(stream: QueueDecoder, rates: IntArray, limit: int) -> IntArray:
    depths = np.zeros(rates.size, np.int64)
    for where in _contexts(rates):
        depths[where] = stream.adaptive(where.size, AdaptiveModel(limit + 1))
    return depths


def _write_paths(stream: QueueEncoder, depths: IntArray, paths: IntArray) -> None:
    stream.uniform(paths >> 16, 1 << np.maximum(depths - 16, 0))
    stream.uniform(paths & 0xFFFF, 1 << np.minimum(depths, 16))


def _read_paths(stream: QueueDecoder, depths: IntArray) -> IntArray:
    high = stream.uniform(depths.size, 1 << np.maximum(depths - 16, 0))
    return high << 16 | stream.uniform(depths.size, 1 << np.minimum(depths, 16))


def _best_share(depths: IntArray, wanted: DoubleArray, prior: Normal, limit: int) -> float:
    """The share of the KL, or 0 for no map, that makes map and depths together shortest."""
    bits = {}
    for share in (0.0, *_MAP_SHARES):
        trial, rates = QueueEncoder(), np.zeros(depths.size, np.int64)
        budget = share * float(wanted.sum())
        if share > 0:
            rates = rate_map.write(trial, wanted, budget, prior)
        spent = trial.bits
        _write_depths(trial, depths, rates, limit)
        bits[share] = trial.bits
        if 8 * spent < budget:
            break  # These tiles are already the finest.
    return min(bits, key=bits.__getitem__)


def _write_index(
    stream: QueueEncoder,
    depths: IntArray,
    paths: IntArray,
    wanted: DoubleArray,
    prior: Normal,
    limit: int,
) -> dict[str, float]:
    """Write depths, under contexts from a map of rates if that is shorter, then paths.

    Args:
        stream: where to write.
        depths: depth of each node, in raster order; 0 for outliers, like the path.
        paths: path of each node.
        wanted: KL per dimension in bits, in the tensor's own shape; 0 for outliers.
        prior: what both sides know.
        limit: greatest depth.
    """
    share = _best_share(depths, wanted, prior, limit)
    marks = [stream.bits]
    stream.uniform([int(share > 0)], 2)
    rates = np.zeros(depths.size, np.int64)
    if share > 0:
        rates = rate_map.write(stream, wanted, float(wanted.sum()) * share, prior)
    marks.append(stream.bits)
    _write_depths(stream, depths, rates, limit)
    marks.append(stream.bits)
    _write_paths(stream, depths, paths)
    marks.append(stream.bits)
    return dict(zip(("rates", "depths", "paths"), np.diff(marks).tolist(), strict=True))


class BisectingCoder(RelativeEntropyCoder):
    """A coder that encodes, per dimension, a node of the tree over the prior's CDF.

    The message: outliers; a bit that says whether a map of rates follows, and the map; depths under
    adaptive counts, one set for each range of rates in the map; `depth` bits of path per dimension.
    Outliers count as nodes of depth 0, which are almost free.

    Expected length (`Receipt.theory_bits`): KL + 2 log2(KL + 1) + O(1) bits per dimension, the
    bound that all three papers give for the heap index. The constant here is 1: Elias's delta code
    of a heap index of depth d has d + 2 floor(log2(d + 1)) + 1 bits, and the mean depth is about
    KL (measured: KL + 0.1 at most).

    Attributes:
        outlier_bits: dimensions whose KL exceeds this are sent as 16-bit numbers instead.
    """

    outlier_bits: int

    @property
    def greatest_depth(self) -> int:
        """Greatest depth that a node can have."""
        return MAX_DEPTH

    @abstractmethod
    def search(
        self, q: standardise.Standardised, dims: IntArray, shared: SharedRandomness
    ) -> Nodes:
        """Choose a node for each of `dims`; the nodes' draws come from `shared.child(0)`."""

    def encode(
        self, target: Normal, prior: Normal, stream: QueueEncoder, shared: SharedRandomness
    ) -> tuple[Tensor, Receipt]:
        """Write one node per dimension, and the outliers."""
        q = standardise.standardise(target, prior)
        before, dims = stream.bits, q.mean.size
        far = unreachable(q, self.outlier_bits)
        outliers = standardise.write_outliers(stream, far, standardise.draw_exactly(q, far, shared))
        parts = {"outliers": stream.bits - before}
        near = np.setdiff1d(np.arange(dims), far, assume_unique=True)
        depths, paths = np.zeros(dims, np.int64), np.zeros(dims, np.int64)
        depths[near], paths[near], steps = self.search(q, near, shared)
        wanted = q.kl_bits.copy()
        wanted[far] = 0
        wanted = wanted.reshape(prior.loc.shape)
        parts |= _write_index(stream, depths, paths, wanted, prior, self.greatest_depth)
        theory = float((q.kl_bits + 2 * np.log2(q.kl_bits + 1) + 1).sum())
        receipt = Receipt(float(q.kl_bits.sum()), theory, parts, int(steps.sum()))
        return standardise.restore(
            self._draws(depths, paths, far, outliers, shared), prior
        ), receipt

    def decode(self, prior: Normal, stream: QueueDecoder, shared: SharedRandomness) -> Tensor:
        """Read one node per dimension, and the outliers."""
        dims = prior.loc.numel()
        far, outliers = standardise.read_outliers(stream, dims)
        rates = np.zeros(dims, np.int64)
        if int(stream.uniform(1, 2)[0]):
            rates = rate_map.read(stream, prior)
        depths = _read_depths(stream, rates, self.greatest_depth)
        paths = _read_paths(stream, depths)
        return standardise.restore(self._draws(depths, paths, far, outliers, shared), prior)

    def _draws(
        self,
        depths: IntArray,
        paths: IntArray,
        far: IntArray,
        outliers: FloatArray,
        shared: SharedRandomness,
    ) -> FloatArray:
        every = np.arange(depths.size)
        u: FloatArray = _values(every, depths, paths, shared.child(0).name, quantile_table())
        u[far] = outliers
        return u
