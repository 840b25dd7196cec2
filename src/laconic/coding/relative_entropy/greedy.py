"""The greedy sampler: a draw built as a sum of small pieces, each the best of a few shared ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from torch import Tensor
from torch.distributions import Normal

from laconic.coding.queue.stream import AdaptiveModel, IntArray, QueueDecoder, QueueEncoder
from laconic.coding.random import FloatArray, SharedRandomness
from laconic.coding.relative_entropy import standardise
from laconic.coding.relative_entropy.base import Receipt, RelativeEntropyCoder
from laconic.compiled import compiled

_MAX_SHARDS = 256
_STRIDE = 40503
"""Odd: the columns of a dimension's successive shards start this far apart in the codebook."""


@compiled(fastmath=True)
def _greedy(
    linear: FloatArray,
    quadratic: FloatArray,
    starts: IntArray,
    shards: IntArray,
    block: int,
    book: FloatArray,
    count: int,
) -> IntArray:
    """Index of the best candidate of every shard, block by block."""
    chosen = np.empty(shards.sum(), np.int64)
    score = np.empty(count, np.float32)
    mask, slot = book.size - count - 1, 0
    for g in range(shards.size):
        begin, end = g * block, min(linear.size, (g + 1) * block)
        total = np.zeros(end - begin, np.float32)
        root = np.float32(1 / np.sqrt(max(shards[g], 1)))
        for k in range(shards[g]):
            score[:] = 0
            rest = np.float32(1 - (k + 1) / shards[g])
            for d in range(begin, end):
                damp = np.float32(1) / (np.float32(1) + quadratic[d] * rest)
                b = quadratic[d] * damp
                a = (linear[d] * damp - b * total[d - begin]) * root
                b = np.float32(0.5) * b * root * root
                start = (starts[d] + k * _STRIDE) & mask
                column = book[start : start + count]
                for i in range(count):
                    score[i] += (a - b * column[i]) * column[i]
            best = np.argmax(score)
            chosen[slot] = best
            slot += 1
            for d in range(begin, end):
                total[d - begin] += root * book[((starts[d] + k * _STRIDE) & mask) + best]
    return chosen


@compiled()
def _rebuild(
    chosen: IntArray, starts: IntArray, shards: IntArray, block: int, book: FloatArray, count: int
) -> FloatArray:
    """The sums of the chosen pieces; a block without pieces takes candidate 0 whole."""
    u = np.zeros(starts.size, np.float32)
    mask, slot = book.size - count - 1, 0
    for g in range(shards.size):
        begin, end = g * block, min(starts.size, (g + 1) * block)
        if shards[g] == 0:
            for d in range(begin, end):
                u[d] = book[starts[d] & mask]
            continue
        root = np.float32(1 / np.sqrt(np.float64(shards[g])))
        for k in range(shards[g]):
            for d in range(begin, end):
                u[d] += root * book[((starts[d] + k * _STRIDE) & mask) + chosen[slot]]
            slot += 1
    return u


@final
@dataclass(frozen=True)
class GreedyCoder(RelativeEntropyCoder):
    """Greedy sampling of shards. Source: Flamich, Alg. 2 and 3.4.2 (ERRATA 17).

    A standardised draw is the sum of K shards, each N(0, 1/K). Shard after shard the best of
    2^shard_bits shared candidates is added. Two departures from the source: the KL of a block of
    dimensions sets its number of shards; and the score of a partial sum t is not q(t) but the
    expectation of q/p over the later shards (variance v), whose logarithm is
    (a t - b t²/2) / (1 + b v).

    Attributes:
        shard_bits: width of an index.
        block: dimensions per block, in raster order.
        rate_percent: bits spent, in percent of the KL.
    """

    id: ClassVar[str] = "greedy"
    exact: ClassVar[bool] = False
    RANGES: ClassVar[Mapping[str, tuple[int, int]]] = {
        "shard_bits": (1, 16),
        "block": (1, 65536),
        "rate_percent": (1, 1000),
    }

    shard_bits: int = 12
    block: int = 64
    rate_percent: int = 130

    def encode(
        self, target: Normal, prior: Normal, stream: QueueEncoder, shared: SharedRandomness
    ) -> tuple[Tensor, Receipt]:
        """Write the number of shards of each block, and their indices."""
        q = standardise.standardise(target, prior)
        before, dims = stream.bits, q.mean.size
        far = np.flatnonzero(q.kl_bits > 2 * self.shard_bits)
        outliers = standardise.write_outliers(stream, far, standardise.draw_exactly(q, far, shared))
        after_outliers = stream.bits
        near_kl = q.kl_bits.copy()
        near_kl[far] = 0
        kl = np.add.reduceat(near_kl, np.arange(0, dims, self.block)) if dims else near_kl
        wanted = np.rint(kl * self.rate_percent / (100 * self.shard_bits))
        shards = np.clip(wanted, 0, _MAX_SHARDS - 1).astype(np.int64)
        stream.adaptive(shards, AdaptiveModel(_MAX_SHARDS))
        after_shards = stream.bits
        linear, quadratic = q.linear, q.quadratic
        linear[far], quadratic[far] = 0, 0  # before the cast: they may exceed float32
        count = 1 << self.shard_bits
        starts, book = standardise.offsets(shared, dims), standardise.codebook(shared, count)
        weights = linear.astype(np.float32), np.maximum(quadratic, 0).astype(np.float32)
        chosen = _greedy(*weights, starts, shards, self.block, book, count)
        stream.fixed(chosen, self.shard_bits)
        u = _rebuild(chosen, starts, shards, self.block, book, count)
        u[far] = outliers
        parts = {
            "indices": stream.bits - after_shards,
            "shard counts": after_shards - after_outliers,
            "outliers": after_outliers - before,
        }
        receipt = Receipt(float(q.kl_bits.sum()), parts["indices"], parts, chosen.size * count)
        return standardise.restore(u, prior), receipt

    def decode(self, prior: Normal, stream: QueueDecoder, shared: SharedRandomness) -> Tensor:
        """Read the number of shards of each block, and their indices."""
        dims = prior.loc.numel()
        far, outliers = standardise.read_outliers(stream, dims)
        shards = stream.adaptive(-(-dims // self.block), AdaptiveModel(_MAX_SHARDS))
        chosen = stream.fixed(int(shards.sum()), self.shard_bits)
        count = 1 << self.shard_bits
        starts, book = standardise.offsets(shared, dims), standardise.codebook(shared, count)
        u = _rebuild(chosen, starts, shards, self.block, book, count)
        u[far] = outliers
        return standardise.restore(u, prior)
