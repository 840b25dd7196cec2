"""The block planner, and the base class of the coders that search a block of dimensions.

A one-shot code pays a constant per index, so dimensions are coded in blocks; but the time of a
search grows with the largest density ratio of the block, so blocks stay small. The blocks are
encoded in few bits:

1. Outliers, whose own ratio is too large to search for, are sent as 16-bit numbers.
2. The map of rates (`rate_map`) gives both sides an integer estimate of every dimension's KL, for
   about 1.5 % of the KL. Shuffled dimensions of one rate are cut into blocks whose estimates fill
   the budget.
3. The estimates are wrong where neighbours differ. A block that is harder than the search allows
   is halved, repeatedly: one adaptively coded flag per node of the tree of halves.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Normal

from laconic.coding.queue.stream import AdaptiveModel, IntArray, QueueDecoder, QueueEncoder
from laconic.coding.random import (
    FloatArray,
    SharedRandomness,
    quantile_table,
)
from laconic.coding.relative_entropy import rate_map, standardise
from laconic.coding.relative_entropy.base import Receipt, RelativeEntropyCoder
from laconic.coding.relative_entropy.blocks.search import (
    TOLERANCE,
    Found,
    Task,
    block_sums,
    chosen_values,
    cumulants,
    draw_residual,
    log_caps,
    reach,
)
from laconic.coding.relative_entropy.standardise import DoubleArray, Standardised
from laconic.compiled import compiled

BLOCK_LIMIT = 1024
"""Most dimensions of a block: 2^8 groups of four normals."""

_INDEX_BITS = 26
"""Most bits of an index: index, number of the block and group fill a counter of 64 bits."""

_MAX_DEPTH = 10
_EXTRA_BITS = 6
"""A search may examine 2^6 times as many candidates as its ratio's bound."""


# ------------------------------------------------------------------- blocks: what both sides know


@compiled()
def _cut(estimates: IntArray, budget: int, limit: int) -> IntArray:
    first = np.zeros(estimates.size + 1, np.int64)
    block, total = 0, 0
    for d in range(estimates.size):
        if d > first[block] and (total + estimates[d] > budget or d - first[block] == limit):
            block += 1
            first[block] = d
            total = 0
        total += estimates[d]
    if estimates.size:
        block += 1
    first[block] = estimates.size
    return first[: block + 1]


def cut(rates: IntArray, budget: int) -> IntArray:
    """First dimension of each block, and the end; `rates` in 1/256 bit, `budget` in bits.

    A rate of zero counts as 1/1024 bit: an exact coder encodes every dimension.
    """
    first: IntArray = _cut(4 * rates + 1, budget << 10, BLOCK_LIMIT)
    return first


CodeSplits = Callable[[IntArray, IntArray, AdaptiveModel], NDArray[np.bool_]]


def halve(first: IntArray, code_splits: CodeSplits) -> tuple[IntArray, IntArray]:
    """Walk the tree of halves, all blocks of one depth together; returns starts and depths.

    `code_splits(first, nodes, model)` writes or reads which of the blocks `nodes` are halved, and
    returns it.
    """
    depths, active = np.zeros(first.size - 1, np.int64), np.ones(first.size - 1, np.bool_)
    for _ in range(_MAX_DEPTH):
        nodes = np.flatnonzero(active & (np.diff(first) > 1))
        if not nodes.size:
            break
        split = nodes[code_splits(first, nodes, AdaptiveModel(2))]
        copies = np.ones(depths.size, np.int64)
        copies[split] = 2
        active[:] = False
        active[split] = True
        active, depths = (
            np.repeat(active, copies),
            np.repeat(depths, copies) + np.repeat(copies - 1, copies),
        )
        first = np.sort(np.concatenate([first, (first[split] + first[split + 1]) >> 1]))
    return first, depths


# -------------------------------------------------------------------------------------- the coder


class BlockCoder(RelativeEntropyCoder):
    """Plans blocks, searches one index for each, and codes it; concrete coders supply the search.

    An index n >= 1 is written as floor(log2 n), under adaptive counts, then the bits below the
    first. This is within a fraction of a bit of the Zipf code that the papers use, adapts to the
    blocks, and needs no float. Symbol 0 is an escape: the block follows as 16-bit numbers.

    Attributes:
        budget: estimated KL of a block before halving, bits.
        cap_bits: a block is halved while the bound of its log2 q/p exceeds this.
        map_permille: the map of rates is as fine as this share of the KL pays for.
    """

    budget: int
    cap_bits: int
    map_permille: int

    RANGES: ClassVar[Mapping[str, tuple[int, int]]] = {
        "budget": (1, 64),
        "cap_bits": (1, 20),
        "map_permille": (0, 1000),
    }

    @abstractmethod
    def _search(self, task: Task) -> Found:
        """Choose a candidate for every block."""

    @abstractmethod
    def _theory_bits(self, kl_bits: DoubleArray) -> float:
        """Bits of the indices of blocks with these KLs, by the algorithm's own formula."""

    def _alone(self, q: Standardised) -> NDArray[np.bool_]:
        """Dimensions that the search can only handle in a block of their own."""
        return np.zeros(q.mean.size, np.bool_)

    def _index_bits(self) -> int:
        """Indices are below 2^this; the receiver sizes its models by it."""
        return min(self.cap_bits + _EXTRA_BITS, _INDEX_BITS)

    def _fits(self, kl_bits: DoubleArray, caps: DoubleArray) -> NDArray[np.bool_]:
        """Which blocks are small enough for the search; `caps`: bounds of log q/p, nats."""
        fits: NDArray[np.bool_] = caps <= self.cap_bits * np.log(2.0)
        return fits

    def encode(
        self, target: Normal, prior: Normal, stream: QueueEncoder, shared: SharedRandomness
    ) -> tuple[Tensor, Receipt]:
        """Write outliers, the map of blocks, the indices, and blocks that were escaped."""
        q = standardise.standardise(target, prior)
        u = np.zeros(q.mean.size, np.float32)
        marks = [stream.bits]
        far = self._outliers(q)
        u[far] = standardise.write_outliers(stream, far, standardise.draw_exactly(q, far, shared))
        marks.append(stream.bits)
        near_kl = q.kl_bits.copy()
        near_kl[far] = 0
        budget = near_kl.sum() * self.map_permille / 1000
        wanted = near_kl.reshape(prior.loc.shape)
        rates = rate_map.write(stream, wanted, budget, prior)
        order = _coding_order(rates, far, shared)
        near = Standardised(q.mean[order], q.scale[order], q.kl_bits[order])
        first, depths, caps = self._plan(stream, near, cut(rates[order], self.budget))
        marks.append(stream.bits)
        task = Task(near, first, caps, shared)
        found = self._search(task)
        write_indices(stream, found.indices, depths, self._index_bits())
        marks.append(stream.bits)
        u[order] = chosen_values(task.candidates, found.indices, first, quantile_table())
        self._write_escapes(stream, task, found, u, order)
        marks.append(stream.bits)
        names = ("outliers", "block map", "indices", "escapes")
        parts = {name: b - a for name, a, b in zip(names, marks, marks[1:], strict=False)}
        theory = self._theory_bits(task.kl_bits)
        receipt = Receipt(float(q.kl_bits.sum()), theory, parts, found.tries)
        return standardise.restore(u, prior), receipt

    def decode(self, prior: Normal, stream: QueueDecoder, shared: SharedRandomness) -> Tensor:
        """Read what `encode` wrote."""
        u = np.zeros(prior.loc.numel(), np.float32)
        far, values = standardise.read_outliers(stream, u.size)
        u[far] = values
        rates = rate_map.read(stream, prior)
        order = _coding_order(rates, far, shared)
        first, depths = halve(
            cut(rates[order], self.budget),
            lambda _, nodes, model: stream.adaptive(nodes.size, model).astype(np.bool_),
        )
        indices = read_indices(stream, depths, self._index_bits())
        name = shared.child(0).name
        u[order] = chosen_values(name, indices, first, quantile_table())
        escaped = order[np.repeat(indices == 0, np.diff(first))]
        u[escaped] = standardise.read_values(stream, escaped.size)
        return standardise.restore(u, prior)

    def _outliers(self, q: Standardised) -> IntArray:
        """Dimensions too hard even alone, or with over `TOLERANCE` of q beyond all normals."""
        fits = self._fits(q.kl_bits, log_caps(cumulants(q)))
        margin = -float(NormalDist().inv_cdf(TOLERANCE / 2))
        inside = np.abs(q.mean) + margin * q.scale < reach()
        return np.flatnonzero(~(fits & inside))

    def _plan(
        self, stream: QueueEncoder, near: Standardised, first: IntArray
    ) -> tuple[IntArray, IntArray, DoubleArray]:
        """Halve until every block fits; returns starts, depths, and bounds of log q/p."""
        grid, alone = cumulants(near), self._alone(near)

        def write_splits(
            first: IntArray, nodes: IntArray, model: AdaptiveModel
        ) -> NDArray[np.bool_]:
            caps = log_caps(block_sums(grid, first))[nodes]
            fits = self._fits(block_sums(near.kl_bits, first)[nodes], caps)
            mixed = block_sums(alone.astype(np.float64), first)[nodes] > 0
            split: NDArray[np.bool_] = ~fits | mixed
            stream.adaptive(split.astype(np.int64), model)
            return split

        first, depths = halve(first, write_splits)
        return first, depths, log_caps(block_sums(grid, first))

    def _write_escapes(
        self, stream: QueueEncoder, task: Task, found: Found, u: FloatArray, order: IntArray
    ) -> None:
        """Draw escaped blocks from the rest of the target, write them, and fill in `u`."""
        drawn = [np.zeros(0)]
        where = [np.zeros(0, np.int64)]
        for b in np.flatnonzero(found.indices == 0):
            part = slice(task.first[b], task.first[b + 1])
            own = task.shared.child(4).child(int(b))
            tries = max(1, (1 << 20) // max(1, part.stop - part.start))
            drawn.append(
                draw_residual(
                    (task.q.mean[part], task.q.scale[part]),
                    task.terms[part],
                    float(found.levels[b]),
                    own.normals(0, tries * (part.stop - part.start)),
                    own.child(0).uniforms(0, tries),
                )
            )
            where.append(order[part])
        u[np.concatenate(where)] = standardise.write_values(stream, np.concatenate(drawn))


def _coding_order(rates: IntArray, far: IntArray, shared: SharedRandomness) -> IntArray:
    """Dimensions in coding order, without the outliers."""
    order = rate_map.order(rates, shared)
    outlying = np.zeros(rates.size, np.bool_)
    outlying[far] = True
    near: IntArray = order[~outlying[order]]
    return near


def write_indices(stream: QueueEncoder, indices: IntArray, depths: IntArray, width: int) -> None:
    """Write indices below 2^width; the length under counts that depend on the block's depth."""
    lengths = np.frexp(indices.astype(np.float64))[1].astype(np.int64)
    for context in _contexts(depths):
        stream.adaptive(lengths[context], AdaptiveModel(width + 1))
    below = np.maximum(lengths - 1, 0)
    rest = indices & ((1 << below) - 1)
    stream.uniform(rest >> 16, 1 << np.maximum(below - 16, 0))
    stream.uniform(rest & 0xFFFF, 1 << np.minimum(below, 16))


def read_indices(stream: QueueDecoder, depths: IntArray, width: int) -> IntArray:
    """Read what `write_indices` wrote."""
    lengths = np.zeros(depths.size, np.int64)
    for context in _contexts(depths):
        lengths[context] = stream.adaptive(int(context.sum()), AdaptiveModel(width + 1))
    below = np.maximum(lengths - 1, 0)
    rest = stream.uniform(below.size, 1 << np.maximum(below - 16, 0)) << 16
    rest |= stream.uniform(below.size, 1 << np.minimum(below, 16))
    return np.where(lengths > 0, (1 << below) | rest, 0)


def _contexts(depths: IntArray) -> list[NDArray[np.bool_]]:
    """Blocks by the number of times they were halved: 0, 1, 2, more."""
    return [np.minimum(depths, 3) == c for c in range(4)]
