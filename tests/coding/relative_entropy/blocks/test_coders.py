"""The coders that search i.i.d. candidates for a block of dimensions."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from laconic.coding.random import SharedRandomness, quantile_table
from laconic.coding.relative_entropy.base import RelativeEntropyCoder
from laconic.coding.relative_entropy.blocks.a_star import AStarCoder
from laconic.coding.relative_entropy.blocks.greedy_poisson import GreedyPoissonCoder
from laconic.coding.relative_entropy.blocks.greedy_rejection import GreedyRejectionCoder
from laconic.coding.relative_entropy.blocks.ordered import OrderedCoder
from laconic.coding.relative_entropy.blocks.planner import BlockCoder
from laconic.coding.relative_entropy.blocks.poisson_functional import PoissonFunctionalCoder
from laconic.coding.relative_entropy.blocks.search import (
    Found,
    Standardised,
    Task,
    block_sums,
    chosen_values,
    cumulants,
    log_caps,
    zipf_bits,
)
from laconic.metrics.samples import critical_distance, normal_distance
from laconic.testing import FALSE_ALARM, CoderSuite, check_round_trip, ladder_pair, transmit

EXACT: list[type[BlockCoder]] = [
    PoissonFunctionalCoder,
    AStarCoder,
    GreedyRejectionCoder,
    GreedyPoissonCoder,
]


@pytest.mark.slow
class TestOrdered(CoderSuite):
    max_ratio = 1.7
    max_excess = 0.04
    theory_is_bound = True

    def make(self) -> RelativeEntropyCoder:
        return OrderedCoder()

    def budgets(self) -> list[RelativeEntropyCoder]:
        return [OrderedCoder(cap_bits=6, spare_bits=t) for t in (0, 2, 5)]


@pytest.mark.slow
class TestPoissonFunctional(CoderSuite):
    max_ratio = 1.6
    max_excess = 0.04
    theory_is_bound = True

    def make(self) -> RelativeEntropyCoder:
        return PoissonFunctionalCoder()


class TestAStar(CoderSuite):
    max_ratio = 1.6
    max_excess = 0.04
    theory_is_bound = True

    def make(self) -> RelativeEntropyCoder:
        return AStarCoder()


class TestGreedyRejection(CoderSuite):
    max_ratio = 1.65
    max_excess = 0.04
    theory_is_bound = True

    def make(self) -> RelativeEntropyCoder:
        return GreedyRejectionCoder()


class TestGreedyPoisson(CoderSuite):
    max_ratio = 1.65
    max_excess = 0.04
    theory_is_bound = True

    def make(self) -> RelativeEntropyCoder:
        return GreedyPoissonCoder()


class TestParallelGreedyPoisson(CoderSuite):
    max_ratio = 1.7
    max_excess = 0.04
    theory_is_bound = True

    def make(self) -> RelativeEntropyCoder:
        return GreedyPoissonCoder(process_bits=2)


# Means and scales of one block of six dimensions: narrow, mixed with some near the prior, shifted.
BLOCKS = {
    "narrow": ([0.5, -0.8, 0.1, 0.0, 0.9, -0.3], [0.4, 0.6, 0.7, 0.5, 0.8, 0.9]),
    "mixed": ([0.0, 2e-3, 0.05, -1.5, 0.0, 0.0], [1.0, 1 - 1e-6, 0.999, 0.3, 0.97, 0.9999]),
    "shifted": ([0.5, -0.7, 0.4, 0.2, -0.3, 0.1], [1.0] * 6),
}
COUNT = 4000


def search_blocks(coder: BlockCoder, name: str) -> tuple[Found, Standardised, np.ndarray]:
    """`COUNT` blocks of one target: what was found, the target, residuals `(COUNT, 6)`."""
    mean, scale = (np.tile(np.array(x), COUNT) for x in BLOCKS[name])
    kl_bits = (0.5 * (mean**2 + scale**2 - 1) - np.log(scale)) / math.log(2)
    q = Standardised(mean, scale, kl_bits)
    first = 6 * np.arange(COUNT + 1)
    task = Task(q, first, log_caps(block_sums(cumulants(q), first)), SharedRandomness(11))
    found = coder._search(task)
    u = chosen_values(task.candidates, found.indices, first, quantile_table())
    return found, q, ((u - mean) / scale).reshape(COUNT, 6)


def as_normals(probabilities: np.ndarray) -> np.ndarray:
    inverse = NormalDist().inv_cdf
    return np.array([inverse(min(max(float(p), 1e-12), 1 - 1e-12)) for p in probabilities])


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("coder", [*EXACT, "parallel"])
def test_whole_blocks_follow_the_target(coder: type[BlockCoder] | str, name: str) -> None:
    # Mahalanobis radius: chi-square with six degrees of freedom; a random direction; the log-ratio
    # q/p, which is what a wrong search would bias; 1e-3 false alarms over the three.
    made = GreedyPoissonCoder(process_bits=3) if isinstance(coder, str) else coder()
    found, q, x = search_blocks(made, name)
    assert bool((found.indices > 0).all())
    half = 0.5 * (x**2).sum(1)
    radius = as_normals(1 - np.exp(-half) * (1 + half + 0.5 * half**2))
    direction = x @ np.array([1, -1, 2, 2, -1, 1]) / math.sqrt(12)
    m, s = q.mean[:6], q.scale[:6]
    ratio = 0.5 * ((m + s * x) ** 2 - x**2).sum(1)
    true = SharedRandomness(12).normals(0, 6 * 200000).astype(np.float64).reshape(-1, 6)
    ranks = np.searchsorted(np.sort(0.5 * ((m + s * true) ** 2 - true**2).sum(1)), ratio)
    critical = critical_distance(COUNT, FALSE_ALARM / 3)
    assert normal_distance(radius) < critical
    assert normal_distance(direction) < critical
    # 200,000 true draws stand for the CDF: their own distance from it is at most 0.005.
    assert normal_distance(as_normals((ranks + 0.5) / 200001)) < critical + 0.005


@pytest.mark.parametrize("coder", EXACT)
def test_index_costs_what_the_formula_says(coder: type[BlockCoder]) -> None:
    # E[log2 N] <= KL + log2(e)/e + 1 (Li & El Gamal), and no code can do without some KL - log2(e).
    found, q, _ = search_blocks(coder(), "narrow")
    kl = float(q.kl_bits[:6].sum())
    mean = float(np.log2(found.indices).mean())
    assert kl - math.log2(math.e) < mean < kl + math.log2(math.e) / math.e + 1


@pytest.mark.parametrize("coder", EXACT)
def test_run_time_is_the_largest_ratio(coder: type[BlockCoder]) -> None:
    found, q, _ = search_blocks(coder(), "narrow")
    m, s = q.mean[:6], q.scale[:6]
    largest = math.exp(float((m**2 / (2 * (1 - s**2)) - np.log(s)).sum()))
    assert found.tries / COUNT == pytest.approx(largest, rel=0.25)


def test_a_star_chooses_what_the_poisson_functional_representation_does() -> None:
    pair = ladder_pair((1, 8, 16, 16))
    config = PoissonFunctionalCoder().config()
    a, b = PoissonFunctionalCoder(**config), AStarCoder(**config)
    assert transmit(a, *pair)[2] == transmit(b, *pair)[2]


def test_ordered_costs_less_than_the_bits_of_its_candidates() -> None:
    coder = OrderedCoder()
    _, receipt, _ = transmit(coder, *ladder_pair((1, 16, 32, 32)))
    assert receipt.parts["indices"] < receipt.theory_bits
    found, q, _ = search_blocks(coder, "narrow")
    assert float(np.log2(found.indices).mean()) < float(q.kl_bits[:6].sum()) + 1.54


@pytest.mark.parametrize("coder", [*EXACT, OrderedCoder])
def test_written_bits_are_within_the_sum_of_their_parts(coder: type[BlockCoder]) -> None:
    _, receipt, message = transmit(coder(), *ladder_pair((1, 16, 32, 32)))
    assert set(receipt.parts) == {"outliers", "block map", "indices", "escapes"}
    assert receipt.bits <= 8 * len(message) + 1 <= receipt.bits + 100
    assert receipt.parts["indices"] > receipt.ideal_bits


@pytest.mark.parametrize("coder", [GreedyRejectionCoder, GreedyPoissonCoder])
def test_blocks_that_find_nothing_are_drawn_from_the_rest(
    coder: type[BlockCoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    # With 3 candidates many of these blocks escape; the draws must still follow the target.
    monkeypatch.setattr(coder, "_index_bits", lambda self: 2)

    def pair(blocks: int) -> tuple[Normal, Normal]:
        target = Normal(torch.tensor([1.2, -0.4]).expand(blocks, 2), torch.tensor([0.3, 0.5]))
        return target, Normal(torch.zeros(blocks, 2), torch.ones(blocks, 2))

    target, prior = pair(1000)
    draw, receipt, _ = transmit(coder(budget=1), target, prior)
    assert receipt.parts["escapes"] > 16 * 200
    x = ((draw - target.loc) / target.scale).double().numpy()
    critical = critical_distance(1000, FALSE_ALARM / 2)
    assert normal_distance(x[:, 0]) < critical
    assert normal_distance(x[:, 1]) < critical
    check_round_trip(coder(budget=1), *pair(100))


@pytest.mark.parametrize("kl_bits", [0.5, 2.0, 6.0, 14.0])
def test_zipf_bits(kl_bits: float) -> None:
    lam = 1 + 1 / kl_bits
    n = np.arange(1, 400000, dtype=np.float64)
    zeta = float((n**-lam).sum()) + 400000 ** (1 - lam) / (lam - 1) + 0.5 * 400000**-lam
    expected = lam * kl_bits + math.log2(zeta)
    assert float(zipf_bits(np.array([kl_bits]))[0]) == pytest.approx(expected, rel=1e-6)
    assert expected < kl_bits + math.log2(kl_bits + 1) + 1
