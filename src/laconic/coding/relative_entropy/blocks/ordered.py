"""Ordered random coding: importance sampling whose index prefers small numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from laconic.coding.relative_entropy.blocks.planner import BlockCoder
from laconic.coding.relative_entropy.blocks.poisson_functional import search
from laconic.coding.relative_entropy.blocks.search import Found, Task, zipf_bits
from laconic.coding.relative_entropy.standardise import DoubleArray


@final
@dataclass(frozen=True)
class OrderedCoder(BlockCoder):
    """Ordered random coding.

    Source: Theis & Yosri, "Algorithms for the communication of samples", 2022, Algorithm 3. Of
    N = 2^(cap_bits + spare_bits) candidates z_i ~ p the one with the least e_(i) / r(z_i) is
    chosen, r = q/p; e_(1) <= e_(2) <= ... are the order statistics of N exponentials, computed in
    order as the sums of x_j / (N - j + 1). Like exponentials in any order, they choose i with
    probability proportional to r(z_i); but the index, which would be uniform, is skewed to small
    values. As N grows it becomes the Poisson functional representation.

    Not exact: it is importance sampling with N candidates. Once N exceeds 2^KL, total variation
    falls with log2 N - KL = t at least as fast as 2^(-t / 8), but for a term for the tail of log r
    (Chatterjee & Diaconis 2018).

    Code length: E[log2 index] is at most that of the Poisson functional representation, and so the
    index costs about KL + log2(KL + 1) + 4 bits at most; `theory_bits` is the Zipf code's mean
    length at the bound E[log2 index] <= KL + log2(e)/e + 1, summed over blocks. Run time: N
    candidates a block, fewer where r has a bound that lets the search end early.

    Attributes:
        budget: estimated KL of a block before halving, bits.
        cap_bits: a block is halved while its KL exceeds this.
        map_permille: the map of rates is as fine as this share of the KL pays for.
        spare_bits: log2 of the candidates beyond 2^cap_bits.
    """

    id: ClassVar[str] = "ordered"
    exact: ClassVar[bool] = False
    RANGES: ClassVar[Mapping[str, tuple[int, int]]] = {
        **BlockCoder.RANGES,
        "spare_bits": (0, 20),
    }

    budget: int = 10
    cap_bits: int = 10
    map_permille: int = 15
    spare_bits: int = 5

    def _index_bits(self) -> int:
        return min(self.cap_bits + self.spare_bits, 25) + 1

    def _fits(self, kl_bits: DoubleArray, caps: DoubleArray) -> NDArray[np.bool_]:
        fits: NDArray[np.bool_] = kl_bits <= self.cap_bits
        return fits

    def _search(self, task: Task) -> Found:
        return search(task, 1 << (self._index_bits() - 1), finite=True)

    def _theory_bits(self, kl_bits: DoubleArray) -> float:
        return float(zipf_bits(kl_bits + np.log2(np.e) / np.e + 1).sum())
