"""A* coding by bisection of the prior's CDF: AD* and its depth-limited form DAD*."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from laconic.coding.queue.stream import IntArray
from laconic.coding.random import FloatArray, SharedRandomness, quantile_table
from laconic.coding.relative_entropy import standardise
from laconic.coding.relative_entropy.bisection.tree import (
    MAX_DEPTH,
    QUEUE,
    BisectingCoder,
    Name,
    Nodes,
    coin_of,
    draw_of,
    log_ratio,
    parabola,
    peak,
    to_end,
)
from laconic.coding.relative_entropy.standardise import DoubleArray
from laconic.compiled import compiled


@compiled()
def _search_one(
    dim: int,
    r: tuple[float, float, float],
    limit: int,
    names: tuple[Name, Name],
    table: FloatArray,
    keys: DoubleArray,
    nodes: IntArray,
) -> tuple[int, int, int]:
    """The node with the least time/r; the queue is ranked by a lower bound on its subtree's."""
    best, chosen, steps = math.inf, (0, 0), 0
    keys[0, 0], keys[1, 0] = -math.inf, -math.log(coin_of(names[1], dim, 0, 0))
    nodes[0, 0], nodes[1, 0] = 0, 0
    size = 1
    while size:
        to_end(keys, nodes, size)
        size -= 1
        if keys[0, size] >= best:
            break
        time, depth, path = keys[1, size], nodes[0, size], nodes[1, size]
        steps += 1
        draw = np.float64(draw_of(names[0], dim, depth, path, table))
        score = math.log(time) - log_ratio(draw, r)
        if score < best:
            best, chosen = score, (depth, path)
        if depth == limit or size + 2 > QUEUE:
            continue
        for child in (2 * path, 2 * path + 1):
            wait = -math.log(coin_of(names[1], dim, depth + 1, child))
            child_time = time + math.ldexp(wait, depth + 1)
            bound = math.log(child_time) - peak(depth + 1, child, r, table)
            if bound < best:
                keys[0, size], keys[1, size] = bound, child_time
                nodes[0, size], nodes[1, size] = depth + 1, child
                size += 1
    return chosen[0], chosen[1], steps


@compiled()
def _search(
    mean: DoubleArray,
    scale: DoubleArray,
    dims: IntArray,
    limit: int,
    names: tuple[Name, Name],
    table: FloatArray,
) -> Nodes:
    depths, paths = np.empty(dims.size, np.int64), np.empty(dims.size, np.int64)
    steps = np.empty(dims.size, np.int64)
    keys, nodes = np.empty((2, QUEUE)), np.empty((2, QUEUE), np.int64)
    for i in range(dims.size):
        r = parabola(mean[dims[i]], scale[dims[i]])
        found = _search_one(dims[i], r, limit, names, table, keys, nodes)
        depths[i], paths[i], steps[i] = found
    return depths, paths, steps


@final
@dataclass(frozen=True)
class BisectingAStarCoder(BisectingCoder):
    """A* coding with dyadic splits: AD*, and DAD* where the depth is limited.

    Source: Flamich, Markou & Hernandez-Lobato, "Fast relative entropy coding with A* coding", 2022;
    A* sampling: Maddison, Tarlow & Minka, 2014.

    A Poisson process of unit rate over (time, prior) is made top down: the node of prior mass 2^-d
    holds the first arrival in its interval after its parent's, at time t + 2^d E, E a unit
    exponential. The arrival with the least time / r(u), r = q/p, follows q. (In the paper's words,
    Gumbel g = -log time, and the greatest g + log r.) No arrival in a node's subtree has a smaller
    value than the node's time over the greatest r in its interval; this bound ranks the queue, and
    the search ends when the best arrival is below every bound.

    Exact for any ratio, up to the table of normals, subtrees below depth 30 (four words) and
    outliers; with `depth_limit` < 30 it is DAD*, whose bias falls as the limit rises above the KL.
    Code length: KL + 2 log2(KL + 1) + O(1) bits. Steps: the paper proves O(log r_max) where r has
    one mode; measured KL + 1.5.

    Attributes:
        outlier_bits: dimensions whose KL exceeds this are sent as 16-bit numbers instead.
        depth_limit: nodes at this depth are not split; 30 for AD*.
    """

    id: ClassVar[str] = "a-star-bisecting"
    exact: ClassVar[bool] = True
    RANGES: ClassVar[Mapping[str, tuple[int, int]]] = {
        "outlier_bits": (1, 20),
        "depth_limit": (1, MAX_DEPTH),
    }

    outlier_bits: int = 14
    depth_limit: int = MAX_DEPTH

    @property
    def greatest_depth(self) -> int:
        """Greatest depth that a node can have."""
        return self.depth_limit

    def search(
        self, q: standardise.Standardised, dims: IntArray, shared: SharedRandomness
    ) -> Nodes:
        """The A* search, dimension by dimension."""
        names = shared.child(0).name, shared.child(3).name
        nodes: Nodes = _search(q.mean, q.scale, dims, self.depth_limit, names, quantile_table())
        return nodes
