"""The adaptive importance sampler: groups of dimensions, one index each."""

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
from laconic.errors import CorruptFileError


@compiled(fastmath=True)
def _select(
    linear: FloatArray,
    quadratic: FloatArray,
    sizes: IntArray,
    starts: IntArray,
    book: FloatArray,
    log_noise: FloatArray,
    noise_starts: IntArray,
    count: int,
) -> IntArray:
    """Gumbel-max: per group the candidate with the largest log weight plus Gumbel noise."""
    chosen = np.empty(sizes.size, np.int64)
    score = np.empty(count, np.float32)
    first = 0
    for g in range(sizes.size):
        score[:] = log_noise[noise_starts[g] : noise_starts[g] + count]
        for d in range(first, first + sizes[g]):
            a, b = linear[d], np.float32(0.5) * quadratic[d]
            column = book[starts[d] : starts[d] + count]
            for i in range(count):
                score[i] += (a - b * column[i]) * column[i]
        chosen[g] = np.argmax(score)
        first += sizes[g]
    return chosen


@final
@dataclass(frozen=True)
class ImportanceCoder(RelativeEntropyCoder):
    """Adaptive importance sampling. Source: Flamich, Alg. 3 and 5 (ERRATA 16).

    Dimensions in raster order are grouped until their KL fills the budget; among 2^index_bits
    shared draws from the prior, one is chosen with probability proportional to q/p. Not exact: the
    bias falls as `index_bits` rises above the budget.

    Attributes:
        budget: KL of a group, bits.
        index_bits: width of an index.
        group_limit: largest group, dimensions.
    """

    id: ClassVar[str] = "importance"
    exact: ClassVar[bool] = False
    RANGES: ClassVar[Mapping[str, tuple[int, int]]] = {
        "budget": (1, 16),
        "index_bits": (1, 16),
        "group_limit": (1, 4096),
    }

    budget: int = 12
    index_bits: int = 14
    group_limit: int = 256

    def encode(
        self, target: Normal, prior: Normal, stream: QueueEncoder, shared: SharedRandomness
    ) -> tuple[Tensor, Receipt]:
        """Write outliers, group sizes and indices."""
        q = standardise.standardise(target, prior)
        dims, before = q.mean.size, stream.bits
        u = np.zeros(dims, np.float32)
        far = np.flatnonzero(q.kl_bits > self.budget)
        u[far] = standardise.write_outliers(stream, far, standardise.draw_exactly(q, far, shared))
        after_outliers = stream.bits
        near = np.flatnonzero(q.kl_bits <= self.budget)
        sizes = standardise.form_groups(q.kl_bits[near], self.budget, self.group_limit)
        stream.integer(sizes.size)
        stream.adaptive(sizes - 1, AdaptiveModel(self.group_limit))
        after_sizes = stream.bits
        indices = self._search(q, near, sizes, shared)
        stream.fixed(indices, self.index_bits)
        u[near] = self._values(indices, sizes, near, shared)
        parts = {
            "indices": stream.bits - after_sizes,
            "group sizes": after_sizes - after_outliers,
            "outliers": after_outliers - before,
        }
        ideal = float(q.kl_bits.sum())
        tries = sizes.size << self.index_bits
        return standardise.restore(u, prior), Receipt(ideal, parts["indices"], parts, tries)

    def decode(self, prior: Normal, stream: QueueDecoder, shared: SharedRandomness) -> Tensor:
        """Read outliers, group sizes and indices."""
        dims = prior.loc.numel()
        u = np.zeros(dims, np.float32)
        far, values = standardise.read_outliers(stream, dims)
        u[far] = values
        near = np.setdiff1d(np.arange(dims), far, assume_unique=True)
        groups = stream.integer(near.size)
        sizes = stream.adaptive(groups, AdaptiveModel(self.group_limit)) + 1
        if int(sizes.sum()) != near.size:
            raise CorruptFileError("the group sizes do not add up: the file is damaged")
        indices = stream.fixed(sizes.size, self.index_bits)
        u[near] = self._values(indices, sizes, near, shared)
        return standardise.restore(u, prior)

    def _search(
        self, q: standardise.Standardised, near: IntArray, sizes: IntArray, shared: SharedRandomness
    ) -> IntArray:
        count = 1 << self.index_bits
        noise = -np.log(-np.log(shared.child(3).uniforms(0, 1 << standardise.BOOK_BITS)))
        chosen: IntArray = _select(
            q.linear[near].astype(np.float32),
            q.quadratic[near].astype(np.float32),
            sizes,
            standardise.offsets(shared, q.mean.size)[near],
            standardise.codebook(shared, count),
            np.concatenate([noise, noise[:count]]).astype(np.float32),
            standardise.offsets(shared.child(4), sizes.size),
            count,
        )
        return chosen

    def _values(
        self, indices: IntArray, sizes: IntArray, near: IntArray, shared: SharedRandomness
    ) -> FloatArray:
        starts = standardise.offsets(shared, int(near.max(initial=-1)) + 1)[near]
        book = standardise.codebook(shared, 1 << self.index_bits)
        return book[starts + np.repeat(indices, sizes)]
