"""Greedy rejection: every candidate takes as much of the target's mass as possible."""

import math
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
    clock_words,
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


@compiled()
def _search_block(
    candidates: Name,
    clocks: Name,
    block: int,
    terms: DoubleArray,
    gains: DoubleArray,
    cap: float,
    curve: tuple[DoubleArray, DoubleArray, DoubleArray],
    limit: int,
    table: FloatArray,
) -> tuple[int, float, int]:
    """1 + the accepted candidate's number (0: none), the level at the end, candidates examined."""
    order, top = search_order(gains), terms[:, 3].sum()
    level, node, floor, ceiling = 0.0, 0, -np.inf, math.exp(cap)
    left = curve[1][0]
    for i in range(limit):
        if i % 4 == 0:
            words = clock_words(clocks, block, i)
            if i % 16 == 0 and level > 0:
                floor = math.log(level)  # stays a lower bound until the next update
        value = log_ratio(candidates, block, i, terms, order, top, floor, table)
        if value > -np.inf:
            coin = (words[i % 4] + 0.5) * 2.0**-32
            if coin * left < min(math.exp(min(value, cap)), ceiling) - level:
                return i + 1, level, i + 1
        level += left
        while node < NODES - 1 and curve[0][node + 1] < level:
            node += 1
        left = left_at(level, node, curve[0], curve[1], curve[2])
    return 0, level, limit


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
    table: FloatArray,
) -> tuple[IntArray, DoubleArray, int]:
    chosen, levels, tries = np.ones(caps.size, np.int64), np.zeros(caps.size), 0
    for b in range(caps.size):
        part = slice(first[b], first[b + 1])
        if gains[part].sum() > NEGLIGIBLE_BITS:
            curve = tabulate(q[0][part], q[1][part], caps[b])
            chosen[b], levels[b], tried = _search_block(
                candidates, clocks, b, terms[part], gains[part], caps[b], curve, limit, table
            )
            tries += tried
    return chosen, levels, tries


@final
@dataclass(frozen=True)
class GreedyRejectionCoder(BlockCoder):
    """Greedy rejection, global: Harsha's rule on blocks.

    Source: Harsha, Jain, McAllester & Radhakrishnan, "The communication complexity of correlation",
    2007; for densities, Flamich & Theis, "Adaptive greedy rejection sampling" (GRS), and Flamich,
    Markou & Hernández-Lobato, "Faster relative entropy coding with greedy rejection coding" (GRC),
    both 2023. Candidate i is accepted with probability alpha_i(z) / ((1 - A_(i-1)) p(z)) with
    alpha_i = min(q - sum of earlier alphas, (1 - A_(i-1)) p) and A_i the mass accepted so far. The
    mass given after i steps is min(q, L_i p) with L_i = L_(i-1) + F(L_(i-1)), F(L) = E_p[(r - L)+]
    what is then left: one level per block is the whole state, and F comes from the masses of the
    super-level sets of r, for blocks too (`survival`). Candidate z_i is accepted if
    U_i F(L_i) < r(z_i) - L_i.

    Exact, up to `search.TOLERANCE` a block where r is cut off, `survival`'s error in F, and
    the table of normals. The rare blocks without a candidate within the limit are drawn from what
    is left and sent as 16-bit numbers. A dimension wider than the prior takes a block of its own.

    Code length: E[log2 N] <= KL + log2(e), hence KL + log2(KL + 1) + O(1) bits a block under a
    Zipf code; `theory_bits` is that code's mean length at this bound, summed over blocks. Run time:
    the largest ratio, on average, in candidates a block.

    Attributes:
        budget: estimated KL of a block before halving, bits.
        cap_bits: a block is halved while the bound of log2 r exceeds this.
        map_permille: the map of rates is as fine as this share of the KL pays for.
    """

    id: ClassVar[str] = "greedy-rejection"
    exact: ClassVar[bool] = True

    budget: int = 16
    cap_bits: int = 17
    map_permille: int = 15

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
                quantile_table(),
            )
        )

    def _theory_bits(self, kl_bits: DoubleArray) -> float:
        return float(zipf_bits(kl_bits + math.log2(math.e)).sum())

    def _alone(self, q: Standardised) -> NDArray[np.bool_]:
        return needs_own_block(q)
