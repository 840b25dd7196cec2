"""Greedy Poisson rejection sampling by branch-and-bound over the prior's CDF."""

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
    masses_above,
    parabola,
    peak,
    to_end,
)
from laconic.coding.relative_entropy.standardise import DoubleArray
from laconic.compiled import compiled

_STEP = 0.125
_FIRST_STEP = 2.0**-10


@compiled()
def _slope(level: float, mean: float, scale: float) -> tuple[float, float]:
    """Rise of the level in a unit of time, w_q(level) - level w_p(level), and w_p."""
    q, p = masses_above(level, -math.inf, math.inf, mean, scale)
    return max(q - level * p, 0.0), p


@compiled()
def raise_level(level: float, time: float, until: float, mean: float, scale: float) -> float:
    """Integrate the inverse stretch function from (time, level) to time `until`, by Runge-Kutta.

    The slope falls by the share w_p a unit of time, so that steps of 1/8 / w_p resolve it. Near
    time 0 its second derivative is infinite: the steps grow in proportion to time.
    """
    while time < until:
        k1, w_p = _slope(level, mean, scale)
        step = min(until - time, max(time, _FIRST_STEP), _STEP / max(w_p, 1e-300))
        if level + step * k1 == level:
            return level
        k2, _ = _slope(level + 0.5 * step * k1, mean, scale)
        k3, _ = _slope(level + 0.5 * step * k2, mean, scale)
        k4, _ = _slope(level + step * k3, mean, scale)
        level += step * (k1 + 2 * k2 + 2 * k3 + k4) / 6
        time += step
    return level


@compiled()
def _search_one(
    dim: int,
    mean: float,
    scale: float,
    names: tuple[Name, Name],
    table: FloatArray,
    keys: DoubleArray,
    nodes: IntArray,
) -> tuple[int, int, int]:
    """The first arrival with r above the level; a queue ranked by time holds the live nodes."""
    r = parabola(mean, scale)
    level, now, size = 0.0, 0.0, 1
    keys[0, 0], keys[1, 0] = -math.log(coin_of(names[1], dim, 0, 0)), math.inf
    nodes[0, 0], nodes[1, 0] = 0, 0
    depth, path, steps = 0, 0, 0
    while size:
        to_end(keys, nodes, size)
        size -= 1
        level = raise_level(level, now, keys[0, size], mean, scale)
        now, log_level = keys[0, size], math.log(level)
        if keys[1, size] <= log_level:
            continue
        depth, path = nodes[0, size], nodes[1, size]
        steps += 1
        draw = np.float64(draw_of(names[0], dim, depth, path, table))
        if log_ratio(draw, r) > log_level or depth == MAX_DEPTH or size + 2 > QUEUE:
            break
        for child in (2 * path, 2 * path + 1):
            top = peak(depth + 1, child, r, table)
            if top > log_level:
                wait = -math.log(coin_of(names[1], dim, depth + 1, child))
                keys[0, size], keys[1, size] = now + math.ldexp(wait, depth + 1), top
                nodes[0, size], nodes[1, size] = depth + 1, child
                size += 1
    return depth, path, steps


@compiled()
def _search(
    mean: DoubleArray,
    scale: DoubleArray,
    dims: IntArray,
    names: tuple[Name, Name],
    table: FloatArray,
) -> Nodes:
    depths, paths = np.empty(dims.size, np.int64), np.empty(dims.size, np.int64)
    steps = np.empty(dims.size, np.int64)
    keys, nodes = np.empty((2, QUEUE)), np.empty((2, QUEUE), np.int64)
    for i in range(dims.size):
        d = dims[i]
        found = _search_one(d, mean[d], scale[d], names, table, keys, nodes)
        depths[i], paths[i], steps[i] = found
    return depths, paths, steps


@final
@dataclass(frozen=True)
class BisectingPoissonCoder(BisectingCoder):
    """Greedy Poisson rejection sampling by branch-and-bound.

    Source: Flamich, "Greedy Poisson rejection sampling", 2023.

    A Poisson process of unit rate over (time, prior), made top down as in A* coding; accepted is
    the first arrival (t, u) with t < stretch(r(u)), r = q/p. With w_p(h), w_q(h) the prior's and
    the target's mass of {r >= h}, stretch(h) = integral_0^h of 1 / (w_q - x w_p) dx; its inverse,
    the level, thus solves d level / dt = w_q(level) - level w_p(level), level(0) = 0, which is also
    the probability that nothing has been accepted by t. The level is integrated from arrival to
    arrival (error below 1e-5 of the level), so no integral is infinite. Nodes whose greatest r is
    below the level are dropped. The paper splits at the sample and keeps the side of the mode; here
    splits are dyadic, a queue holds the few nodes that reach above the level, and the ratio may
    have several modes.

    Exact for any ratio, up to the level's error, the table of normals, nodes at depth 30 (four
    words, accepted) and outliers. Code length: KL + 2 log2(KL + 1) + O(1) bits. Steps: O(KL) where
    r has one mode; measured KL + 1.3.

    Attributes:
        outlier_bits: dimensions whose KL exceeds this are sent as 16-bit numbers instead.
    """

    id: ClassVar[str] = "greedy-poisson-bisecting"
    exact: ClassVar[bool] = True
    RANGES: ClassVar[Mapping[str, tuple[int, int]]] = {"outlier_bits": (1, 20)}

    outlier_bits: int = 14

    def search(
        self, q: standardise.Standardised, dims: IntArray, shared: SharedRandomness
    ) -> Nodes:
        """The branch-and-bound search, dimension by dimension."""
        names = shared.child(0).name, shared.child(3).name
        nodes: Nodes = _search(q.mean, q.scale, dims, names, quantile_table())
        return nodes
