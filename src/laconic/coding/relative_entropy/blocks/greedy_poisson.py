"""Greedy Poisson rejection: the first point of a Poisson process under a curve."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from laconic.coding.queue.stream import IntArray
from laconic.coding.random import FloatArray, quantile_table
from laconic.coding.relative_entropy.blocks.planner import BlockCoder
from laconic.coding.relative_entropy.blocks.search import (
    NEGLIGIBLE_BITS,
    Found,
    Name,
    Task,
    exponentials,
    log_ratio,
    search_order,
    zipf_bits,
)
from laconic.coding.relative_entropy.blocks.survival import (
    NODES,
    left_at,
    needs_own_block,
    tabulate,
)
from laconic.coding.relative_entropy.standardise import DoubleArray, Standardised
from laconic.compiled import compiled

# Gauss and Legendre's four points on (0, 1).
_POINTS = (0.06943184420297371, 0.33000947820757187, 0.6699905217924281, 0.9305681557970263)
_WEIGHTS = (0.17392742256872692, 0.32607257743127307, 0.32607257743127307, 0.17392742256872692)

Curve = tuple[DoubleArray, DoubleArray, DoubleArray]


@compiled()
def _time_from(start: float, h: float, n: int, curve: Curve) -> float:
    """Integral of dh / F(h) from `start` to h, both between nodes n and n + 1."""
    total = 0.0
    for j in range(4):
        x = start + (h - start) * _POINTS[j]
        total += _WEIGHTS[j] / max(left_at(x, n, curve[0], curve[1], curve[2]), 1e-300)
    return total * (h - start)


@compiled()
def _times(curve: Curve) -> DoubleArray:
    """The time s(h) = integral of dh / F(h) at every node; infinite at the last."""
    times = np.zeros(NODES + 1)
    for n in range(NODES - 1):
        times[n + 1] = times[n] + _time_from(curve[0][n], curve[0][n + 1], n, curve)
    times[NODES] = np.inf
    return times


@compiled()
def _search_block(
    candidates: Name,
    clocks: Name,
    block: int,
    terms: DoubleArray,
    gains: DoubleArray,
    curve: Curve,
    limit: int,
    process_bits: int,
    table: FloatArray,
) -> tuple[int, float, int]:
    """1 + the chosen candidate's number (0: none), the level at the end, candidates examined."""
    order, top, level = search_order(gains), terms[:, 3].sum(), curve[0]
    times, processes = _times(curve), 1 << process_bits
    time, node = np.zeros(processes), np.zeros(processes, np.int64)
    gaps = np.zeros((processes, 4))
    best, chosen, tries = np.inf, 0, 0
    for i in range(limit >> process_bits):
        running = False
        for j in range(processes):
            if time[j] >= best:
                continue
            if i % 4 == 0:
                gaps[j] = exponentials(clocks, block, i << process_bits | j << 2)
            time[j] += gaps[j, i % 4] * processes
            if time[j] >= best:
                continue
            running = True
            while times[node[j] + 1] < time[j]:
                node[j] += 1
            tries += 1
            number = i << process_bits | j
            # s(r) >= t needs at least the ratio at the node before t.
            floor = math.log(level[node[j]]) if node[j] else -np.inf
            value = log_ratio(candidates, block, number, terms, order, top, floor, table)
            if value > -np.inf:
                h = math.exp(min(value, 700.0))
                n = int(np.searchsorted(level, h, side="right")) - 1
                if n >= NODES or time[j] < times[n] + _time_from(level[n], h, n, curve):
                    best, chosen = time[j], number + 1
        if not running:
            break
    return chosen, level[node.min()], tries


@compiled()
def _search_all(
    candidates: Name,
    clocks: Name,
    first: IntArray,
    q: tuple[DoubleArray, DoubleArray],
    terms: DoubleArray,
    gains: DoubleArray,
    caps: DoubleArray,
    limit: int,
    process_bits: int,
    table: FloatArray,
) -> tuple[IntArray, DoubleArray, int]:
    chosen, levels, tries = np.ones(caps.size, np.int64), np.zeros(caps.size), 0
    for b in range(caps.size):
        part = slice(first[b], first[b + 1])
        if gains[part].sum() > NEGLIGIBLE_BITS:
            curve = tabulate(q[0][part], q[1][part], caps[b])
            chosen[b], levels[b], tried = _search_block(
                candidates,
                clocks,
                b,
                terms[part],
                gains[part],
                curve,
                limit,
                process_bits,
                table,
            )
            tries += tried
    return chosen, levels, tries


@final
@dataclass(frozen=True)
class GreedyPoissonCoder(BlockCoder):
    """Greedy Poisson rejection sampling (GPRS), global.

    Source: Flamich, "Greedy Poisson rejection sampling", 2023, Algorithm 3. Candidates z_i ~ p
    arrive at the times t_i of a unit-rate Poisson process; the first one with t_i < s(r(z_i)) is
    chosen, r = q/p. With s(h) = integral from 0 to h of du / F(u), where
    F(u) = w_q(u) - u w_p(u) = E_p[(r - u)+], the first point under the curve follows q: the
    probability that none has come by the time s(h) is F(h). It is greedy rejection
    (`greedy_rejection`) in continuous time: that coder's levels L + F(L) are Euler's steps of
    dh/dt = F(h). `survival` computes F, for blocks too; Gauss and Legendre's rule between its nodes
    gives s.

    Exact, up to `search.TOLERANCE` a block where r is cut off, `survival`'s error in F, and
    the table of normals. The rare blocks without a candidate within the limit are drawn from what
    is left and sent as 16-bit numbers. A dimension wider than the prior takes a block of its own.

    Parallel form (Algorithm 4): 2^process_bits processes, each of rate 2^-process_bits, are
    searched apart, each until its time exceeds the best so far, and the earliest accepted point is
    chosen. Together they are one process of unit rate. Candidate i of process j has the number
    2^process_bits i + j, which costs as much as encoding i and j.

    Code length: E[log2 N] <= KL + log2(e), hence KL + log2(KL + 1) + O(1) bits a block under a
    Zipf code; `theory_bits` is that code's mean length at this bound, summed over blocks. Run time:
    the largest ratio, on average, in candidates a block.

    Attributes:
        budget: estimated KL of a block before halving, bits.
        cap_bits: a block is halved while the bound of log2 r exceeds this.
        map_permille: the map of rates is as fine as this share of the KL pays for.
        process_bits: log2 of the processes that are searched apart.
    """

    id: ClassVar[str] = "greedy-poisson"
    exact: ClassVar[bool] = True
    RANGES: ClassVar[Mapping[str, tuple[int, int]]] = {
        **BlockCoder.RANGES,
        "process_bits": (0, 6),
    }

    budget: int = 16
    cap_bits: int = 17
    map_permille: int = 15
    process_bits: int = 0

    def _search(self, task: Task) -> Found:
        return Found(
            *_search_all(
                task.candidates,
                task.clocks,
                task.first,
                (task.q.mean, task.q.scale),
                task.terms,
                task.q.kl_bits,
                task.log_caps,
                (1 << self._index_bits()) - 1,
                self.process_bits,
                quantile_table(),
            )
        )

    def _theory_bits(self, kl_bits: DoubleArray) -> float:
        return float(zipf_bits(kl_bits + math.log2(math.e)).sum())

    def _alone(self, q: Standardised) -> NDArray[np.bool_]:
        return needs_own_block(q)
