"""The Poisson functional representation: the candidate of least arrival time over density ratio."""

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
    finite: bool,
    table: FloatArray,
) -> tuple[int, int]:
    """1 + argmin of t_i / min(r_i, e^cap) over at most `limit` candidates; candidates examined.

    `finite`: t_i are the order statistics of `limit` exponentials, else a Poisson process.
    """
    order, top = search_order(gains), terms[:, 3].sum()
    best, stop, floor, time, chosen = np.inf, np.inf, -np.inf, 0.0, 0
    for i in range(limit):
        if i % 4 == 0:
            gaps = exponentials(clocks, block, i)
            if i % 16 == 0 and chosen:
                floor = math.log(time) - best  # stays a lower bound until the next update
        time += gaps[i % 4] / (limit - i) if finite else gaps[i % 4]
        if time > stop:
            return chosen, i
        value = log_ratio(candidates, block, i, terms, order, top, floor, table)
        if value > -np.inf:
            score = math.log(time) - min(value, cap)
            if score < best:
                best, chosen = score, i + 1
                stop = math.exp(min(best + cap, 700.0))
                floor = math.log(time) - best
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
    finite: bool,
    table: FloatArray,
) -> tuple[IntArray, int]:
    chosen, tries = np.zeros(caps.size, np.int64), 0
    for b in range(caps.size):
        part = slice(first[b], first[b + 1])
        chosen[b], tried = _search_block(
            candidates, clocks, b, terms[part], gains[part], caps[b], limit, finite, table
        )
        tries += tried
    return chosen, tries


def search(task: Task, limit: int, finite: bool) -> Found:
    """The candidate of least t_i / r_i of each block."""
    chosen, tries = _search_all(
        task.candidates,
        task.clocks,
        task.first,
        task.terms,
        task.q.kl_bits,
        task.log_caps,
        limit,
        finite,
        quantile_table(),
    )
    return Found(chosen, np.zeros(chosen.size), tries)


@final
@dataclass(frozen=True)
class PoissonFunctionalCoder(BlockCoder):
    """The Poisson functional representation.

    Source: Li & El Gamal, "Strong functional representation lemma and applications to coding
    theorems", 2018. Candidates z_i ~ p arrive at the times t_i of a unit-rate Poisson process,
    which only the sender draws; the chosen one minimises t_i / r(z_i), r = q/p. The points
    (t_i / r(z_i), z_i) are again a Poisson process, of mean measure dt q(dz), and so its first
    point follows q: exact (up to `search.TOLERANCE`, where r is cut off at C, and the table
    of normals). The search ends when t_i / C exceeds the best.

    Code length: E[log2 N] <= KL + log2(e)/e + 1, so at most KL + log2(KL + 1) + 4 bits a block
    under a Zipf code of exponent 1 + 1/(KL + log2(e)/e + 1). `theory_bits` is the Zipf code's mean
    length at that bound, summed over blocks. Run time: C candidates a block on average, most of
    them dropped after four dimensions.

    Attributes:
        budget: estimated KL of a block before halving, bits.
        cap_bits: a block is halved while log2 C exceeds this.
        map_permille: the map of rates is as fine as this share of the KL pays for.
    """

    id: ClassVar[str] = "poisson-functional"
    exact: ClassVar[bool] = True

    budget: int = 16
    cap_bits: int = 16
    map_permille: int = 15

    def _search(self, task: Task) -> Found:
        return search(task, (1 << self._index_bits()) - 1, finite=False)

    def _theory_bits(self, kl_bits: DoubleArray) -> float:
        return float(zipf_bits(kl_bits + math.log2(math.e) / math.e + 1).sum())
