"""Greedy rejection coding by branch-and-bound over the prior's CDF."""

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
    BisectingCoder,
    Name,
    Nodes,
    border,
    coin_of,
    draw_of,
    log_ratio,
    parabola,
    residual_mass,
)
from laconic.coding.relative_entropy.standardise import DoubleArray
from laconic.compiled import compiled


@compiled()
def _search_one(
    dim: int, mean: float, scale: float, names: tuple[Name, Name, Name], table: FloatArray
) -> tuple[int, int]:
    """Accept the node's draw or go to one of its halves."""
    r = parabola(mean, scale)
    depth, path = 0, 0
    low, high = -math.inf, math.inf
    level, left = 0.0, 1.0
    while depth < MAX_DEPTH:
        draw = np.float64(draw_of(names[0], dim, depth, path, table))
        density = math.ldexp(left, depth)
        coin = coin_of(names[1], dim, depth, path)
        if coin * density < math.exp(log_ratio(draw, r)) - level:
            break
        level += density
        middle = border(depth + 1, 2 * path + 1, table)
        lower = residual_mass(level, low, middle, mean, scale)
        upper = residual_mass(level, middle, high, mean, scale)
        if lower + upper <= 0.0:
            break
        if coin_of(names[2], dim, depth, path) * (lower + upper) < lower:
            path, left, high = 2 * path, lower, middle
        else:
            path, left, low = 2 * path + 1, upper, middle
        depth += 1
    return depth, path


@compiled()
def _search(
    mean: DoubleArray,
    scale: DoubleArray,
    dims: IntArray,
    names: tuple[Name, Name, Name],
    table: FloatArray,
) -> Nodes:
    depths, paths = np.empty(dims.size, np.int64), np.empty(dims.size, np.int64)
    for i in range(dims.size):
        d = dims[i]
        depths[i], paths[i] = _search_one(d, mean[d], scale[d], names, table)
    return depths, paths, depths + 1


@final
@dataclass(frozen=True)
class BisectingRejectionCoder(BisectingCoder):
    """Greedy rejection coding with dyadic splits.

    Source: Flamich, Markou & Hernandez-Lobato, "Faster relative entropy coding with greedy
    rejection coding", 2023 (GRCD).

    At depth d the search is at a node S of prior mass 2^-d. The target's density ratio r is used up
    to a level L there, and left = mass of (r - L)^+ over S. The node's draw is accepted with
    probability min(1, (r - L)^+ 2^-d / left): the draw takes as much of the rest as the prior
    holds. Otherwise the level rises by left 2^d, and the search goes to one half of S with
    probability in proportion to the mass left there. {r >= L} is an interval, so normal CDFs give
    the mass left.

    Exact for any ratio, up to the table of normals, nodes at depth 30 (four words, accepted) and
    outliers. Code length: KL + 2 log2(KL + 1) + O(1) bits. Steps: depth + 1, O(KL) where r has one
    mode; measured KL + 1.2.

    Attributes:
        outlier_bits: dimensions whose KL exceeds this are sent as 16-bit numbers instead.
    """

    id: ClassVar[str] = "greedy-rejection-bisecting"
    exact: ClassVar[bool] = True
    RANGES: ClassVar[Mapping[str, tuple[int, int]]] = {"outlier_bits": (1, 20)}

    outlier_bits: int = 14

    def search(
        self, q: standardise.Standardised, dims: IntArray, shared: SharedRandomness
    ) -> Nodes:
        """One walk down the tree per dimension."""
        names = shared.child(0).name, shared.child(3).name, shared.child(4).name
        nodes: Nodes = _search(q.mean, q.scale, dims, names, quantile_table())
        return nodes
