"""A* sampling on blocks: a search with a bound, over Gumbel variables in decreasing order."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from laconic.coding.queue.stream import IntArray
from laconic.coding.random import FloatArray, quantile_table
from laconic.coding.relative_entropy.blocks.planner import BlockCoder
from laconic.coding.relative_entropy.blocks.search import (
    Found,
    Name,
    Task,
    exponentials,
    log_ratio,
    search_order,
    zipf_bits,
)
from laconic.coding.relative_entropy.standardise import DoubleArray
from laconic.compiled import compiled


@compiled()
def _search_block(
    candidates: Name,
    clocks: Name,
    block: int,
    terms: DoubleArray,
    gains: DoubleArray,
    cap: float,
    limit: int,
    table: FloatArray,
) -> tuple[int, int]:
    """1 + argmax of g_i + min(log r_i, cap) over `limit` candidates; number of those examined."""
    order, top = search_order(gains), terms[:, 3].sum()
    best, spent, chosen = -np.inf, 0.0, 0
    for i in range(limit):
        if i % 4 == 0:
            gaps = exponentials(clocks, block, i)
        # A Gumbel variable truncated at the last one, g: -log(e^-g + exponential).
        spent += gaps[i % 4]
        gumbel = -math.log(spent)
        if gumbel + cap < best:
            return chosen, i
        value = log_ratio(candidates, block, i, terms, order, top, best - gumbel, table)
        if gumbel + min(value, cap) > best:
            best, chosen = gumbel + min(value, cap), i + 1
    return chosen, limit


@compiled()
def _search_all(
    candidates: Name,
    clocks: Name,
    first: IntArray,
    terms: DoubleArray,
    gains: DoubleArray,
    caps: DoubleArray,
    limit: int,
    table: FloatArray,
) -> tuple[IntArray, int]:
    chosen, tries = np.zeros(caps.size, np.int64), 0
    for b in range(caps.size):
        part = slice(first[b], first[b + 1])
        chosen[b], tried = _search_block(
            candidates, clocks, b, terms[part], gains[part], caps[b], limit, table
        )
        tries += tried
    return chosen, tries


@final
@dataclass(frozen=True)
class AStarCoder(BlockCoder):
    """A* sampling as a code, global (AS*).

    Source: Maddison, Tarlow & Minka, "A* sampling", 2014; as a code: Flamich, Markou &
    Hernández-Lobato, "Fast relative entropy coding with A* coding", 2022, Algorithm 1. Candidates
    z_i ~ p carry the points g_1 > g_2 > ... of a Gumbel process, each the Gumbel variable truncated
    at the one before; the chosen one maximises g_i + log r(z_i), r = q/p, and the search ends when
    g_i + log C, C the bound of r, falls below the best.

    The points e^-g_i are a Poisson process of unit rate, so this coder chooses the same candidate
    as the Poisson functional representation (`poisson_functional`); with the same shared numbers
    both coders write the same message, which a test checks. A* adds the search: with bounds over
    subsets of the space it need not examine candidates in order (AD*, `bisection.a_star`). Exact,
    like `poisson_functional`.

    Code length: E[log2 N] <= KL + log2(e)/e + 1, so at most KL + log2(KL + 1) + 4 bits a block
    under a Zipf code; `theory_bits` is the Zipf code's mean length at that bound, summed over
    blocks. Run time: C candidates a block on average.

    Attributes:
        budget: estimated KL of a block before halving, bits.
        cap_bits: a block is halved while log2 C exceeds this.
        map_permille: the map of rates is as fine as this share of the KL pays for.
    """

    id: ClassVar[str] = "a-star"
    exact: ClassVar[bool] = True

    budget: int = 16
    cap_bits: int = 16
    map_permille: int = 15

    def _search(self, task: Task) -> Found:
        chosen, tries = _search_all(
            task.candidates,
            task.clocks,
            task.first,
            task.terms,
            task.q.kl_bits,
            task.log_caps,
            (1 << self._index_bits()) - 1,
            quantile_table(),
        )
        return Found(chosen, np.zeros(chosen.size), tries)

    def _theory_bits(self, kl_bits: DoubleArray) -> float:
        return float(zipf_bits(kl_bits + math.log2(math.e) / math.e + 1).sum())
