"""The block planner, and the survival function that the greedy coders steer by."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal

from laconic.coding.queue.stream import AdaptiveModel, QueueDecoder, QueueEncoder
from laconic.coding.random import SharedRandomness, quantile_table
from laconic.coding.relative_entropy import rate_map
from laconic.coding.relative_entropy.blocks import planner as blocks
from laconic.coding.relative_entropy.blocks import search as block_search
from laconic.coding.relative_entropy.blocks import survival
from laconic.coding.relative_entropy.blocks.poisson_functional import PoissonFunctionalCoder
from laconic.coding.relative_entropy.blocks.search import Task
from laconic.coding.relative_entropy.rejection import masses
from laconic.coding.relative_entropy.standardise import Standardised, standardise
from laconic.errors import CorruptFileError
from laconic.testing import check_round_trip, ladder_pair, standard_pair, transmit

LN2 = math.log(2)


def cap_of(mean: np.ndarray, scale: np.ndarray) -> float:
    q = Standardised(mean, scale, np.zeros_like(mean))
    return float(block_search.log_caps(block_search.cumulants(q).sum(0)[None])[0])


def spread_target(dims: int, seed: int, power: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Like a ladder's: scales from 0.1 to nearly 1, means to match."""
    source = SharedRandomness(seed)
    scale = 1 - 0.9 * source.child(0).uniforms(0, dims) ** power
    mean = source.child(1).normals(0, dims) * np.sqrt(1 - scale**2)
    return mean.astype(np.float64), scale


def left_exactly(mean: np.ndarray, scale: np.ndarray, k: float) -> float:
    """F(e^k) by the integral of `survival`, for all points of the hyperbola at once."""
    step, angle, size = 0.05, 0.2, 1.25
    y = step * np.arange(520)
    s = 0.5 - size * math.sin(angle) * (np.cosh(y) - 1) + 1j * size * math.cos(angle) * np.sinh(y)
    slope = -size * math.sin(angle) * np.sinh(y) + 1j * size * math.cos(angle) * np.cosh(y)
    s, v = s[:, None], scale**2 + s[:, None] * (1 - scale**2)
    each = (1 - s) * np.log(scale) - 0.5 * np.log(v) + s * (s - 1) * mean**2 / (2 * v)
    s = s[:, 0]
    term = (np.exp(each.sum(1) - (s - 1) * k) * slope / (s * (s - 1))).imag
    return float(1 + (term.sum() - term[0] / 2) * step / math.pi)


TARGETS = {
    "one": (np.array([0.7]), np.array([0.4])),
    "two": (np.array([0.7, -1.0]), np.array([0.4, 0.6])),
    "ladder": spread_target(12, 1),
    "many": spread_target(300, 2, 80),
    "shifted": (np.array([0.5, -0.7, 0.4]), np.ones(3)),
    "faint": (np.full(1000, 1e-6), np.ones(1000)),
}


# ------------------------------------------------------------------------------------ the planner


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    rates=st.lists(st.sampled_from([0, 2, 64, 256, 2048]), max_size=300),
    budget=st.integers(1, 20),
)
def test_blocks_partition_the_dimensions_within_budget(rates: list[int], budget: int) -> None:
    first = blocks.cut(np.array(rates, np.int64), budget)
    assert first[0] == 0
    assert first[-1] == len(rates)
    assert bool((np.diff(first) > 0).all())
    for a, b in pairwise(first):
        assert b - a == 1 or sum(4 * r + 1 for r in rates[a:b]) <= budget << 10


def test_blocks_are_no_longer_than_an_index_can_address() -> None:
    first = blocks.cut(np.zeros(5000, np.int64), 64)
    assert int(np.diff(first).max()) == blocks.BLOCK_LIMIT


@settings(max_examples=30, deadline=None, derandomize=True)
@given(sizes=st.lists(st.integers(1, 1024), max_size=12), seed=st.integers(0, 1000))
def test_both_sides_halve_alike(sizes: list[int], seed: int) -> None:
    start = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)
    coins = iter(SharedRandomness(seed).bits(0, 20000) & 1)
    stream = QueueEncoder()

    def encode_depths(first: np.ndarray, nodes: np.ndarray, model: AdaptiveModel) -> np.ndarray:
        flags = np.array([next(coins) for _ in nodes], np.int64)
        stream.adaptive(flags, model)
        return flags.astype(np.bool_)

    first, depths = blocks.halve(start, encode_depths)
    reader = QueueDecoder(stream.finish())
    again, same = blocks.halve(
        start, lambda _, nodes, model: reader.adaptive(nodes.size, model).astype(np.bool_)
    )
    assert np.array_equal(first, again)
    assert np.array_equal(depths, same)
    assert depths.size == first.size - 1
    assert set(start) <= set(first)
    assert bool((np.diff(first) > 0).all())


def test_a_block_can_be_halved_down_to_single_dimensions() -> None:
    first, depths = blocks.halve(
        np.array([0, blocks.BLOCK_LIMIT]), lambda _, nodes, model: np.ones(nodes.size, np.bool_)
    )
    assert np.array_equal(first, np.arange(blocks.BLOCK_LIMIT + 1))
    assert set(depths) == {10}


@pytest.mark.parametrize("name", TARGETS)
def test_the_ratio_is_cut_off_within_the_tolerance(name: str) -> None:
    mean, scale = TARGETS[name]
    cap = cap_of(mean, scale)
    assert cap < 20 * LN2  # no coder's cap is higher
    lost = left_exactly(mean, scale, cap)
    assert lost < block_search.TOLERANCE
    if name in ("ladder", "many", "shifted"):  # where the maximum is out of reach
        assert lost > block_search.TOLERANCE / 100


@pytest.mark.parametrize("scale", [0.3, 0.999, 1.0, 1.2])
@pytest.mark.parametrize("mean", [0.0, 0.5, -2.0])
def test_largest_log_ratio_is_the_largest(mean: float, scale: float) -> None:
    q = Standardised(np.array([mean]), np.array([scale]), np.zeros(1))
    u = np.linspace(-block_search.reach(), block_search.reach(), 100001)
    values = -math.log(scale) - 0.5 * ((u - mean) / scale) ** 2 + 0.5 * u * u
    assert float(block_search.largest_log_ratio(q)[0]) == pytest.approx(
        float(values.max()), abs=1e-6
    )


def test_the_receiver_makes_the_candidate_that_was_weighed() -> None:
    mean, scale = spread_target(37, 3)
    first = np.array([0, 5, 30, 37])
    q = Standardised(mean, scale, np.ones(37))
    task = Task(q, first, np.ones(3), SharedRandomness(4))
    u = block_search.chosen_values(
        task.candidates, np.array([1, 70000, 5]), first, quantile_table()
    )
    for b, number in enumerate([0, 69999, 4]):
        part = slice(first[b], first[b + 1])
        terms = task.terms[part]
        order = block_search.search_order(q.kl_bits[part])
        top = float(terms[:, 3].sum())
        arguments = (task.candidates, b, number, terms, order, top)
        weighed = block_search.log_ratio(*arguments, -np.inf, quantile_table())
        x = u[part].astype(np.float64)
        direct = -np.log(scale[part]) - 0.5 * ((x - mean[part]) / scale[part]) ** 2 + 0.5 * x * x
        assert weighed == pytest.approx(float(direct.sum()), rel=1e-9)
        assert block_search.log_ratio(*arguments, weighed + 1e-9, quantile_table()) == -np.inf


def test_indices_come_back() -> None:
    indices = np.array([0, 1, 2, 3, 65535, 65536, (1 << 23) - 1, 1])
    depths = np.array([0, 1, 2, 3, 4, 0, 9, 0])
    stream = QueueEncoder()
    blocks.write_indices(stream, indices, depths, 23)
    assert np.array_equal(blocks.read_indices(QueueDecoder(stream.finish()), depths, 23), indices)


# --------------------------------------------------------------------- what the planner's map costs


def test_the_map_costs_less_than_a_bit_a_block_and_little_where_neighbours_agree() -> None:
    coder = PoissonFunctionalCoder()
    _, receipt, _ = transmit(coder, *ladder_pair((1, 16, 32, 32)))
    assert receipt.parts["block map"] < 0.15 * receipt.ideal_bits
    loc, scale = torch.full((4, 32, 32), 1.0), torch.full((4, 32, 32), 0.5)
    loc[:2], scale[:2] = 0.1, 0.95
    _, receipt, _ = transmit(coder, *standard_pair(loc, scale))
    assert receipt.parts["block map"] < 0.05 * receipt.ideal_bits


def test_nothing_to_say_costs_nothing() -> None:
    pair = standard_pair(torch.zeros(1, 16, 32, 32), torch.ones(1, 16, 32, 32))
    draw, receipt, message = transmit(PoissonFunctionalCoder(), *pair)
    assert receipt.ideal_bits == 0
    assert 8 * len(message) < 200
    assert float(draw.std()) == pytest.approx(1, abs=0.03)
    assert receipt.candidates < 16384


def test_rounding_of_equal_scales_is_no_target() -> None:
    scale = torch.full((4096,), 1 + 1e-7)
    for coder in (PoissonFunctionalCoder(),):
        _, _, message = transmit(coder, *standard_pair(torch.zeros(4096), scale))
        assert 8 * len(message) < 200


@pytest.mark.parametrize(
    ("loc", "scale", "dims"),
    [(0.0, 1.0, 0), (0.0, 1.0, 1), (0.5, 0.5, 1), (30.0, 0.1, 1), (30.0, 0.1, 100)],
)
def test_edges_of_the_planner(loc: float, scale: float, dims: int) -> None:
    pair = standard_pair(torch.full((dims,), loc), torch.full((dims,), scale))
    check_round_trip(PoissonFunctionalCoder(), *pair)
    _, receipt, _ = transmit(PoissonFunctionalCoder(), *pair)
    if loc == 30.0:  # nothing but outliers
        assert receipt.parts["indices"] == 0
        assert receipt.parts["outliers"] > 16 * dims


def test_targets_out_of_the_normals_reach_are_outliers() -> None:
    target, prior = standard_pair(torch.tensor([0.0, 0.0, 3.0]), torch.tensor([1.0, 3.0, 1.0]))
    q = standardise(target, prior)
    assert PoissonFunctionalCoder()._outliers(q).tolist() == [1, 2]


def test_order_keeps_rates_together_and_shuffles() -> None:
    rates = np.array([64, 0, 64, 256] * 50)
    order = rate_map.order(rates, SharedRandomness(1))
    assert bool((np.diff(rates[order]) >= 0).all())
    assert sorted(order) == list(range(200))
    assert not bool((np.diff(order[:50]) > 0).all())


def test_another_shape_is_damage_or_finite() -> None:
    message = transmit(PoissonFunctionalCoder(), *ladder_pair((1, 4, 16, 16)))[2]
    prior = Normal(torch.zeros(3), torch.ones(3))
    try:
        draw = PoissonFunctionalCoder().decode(prior, QueueDecoder(message), SharedRandomness(1))
    except CorruptFileError:
        return
    assert bool(torch.isfinite(draw).all())


# ---------------------------------------------------------------------------- the survival function


@pytest.mark.parametrize(
    ("mean", "scale"), [(0.0, 0.5), (2.0, 0.3), (0.1, 0.99), (1e-3, 1 - 1e-6), (1.0, 1.0)]
)
def test_the_integral_agrees_with_normal_cdfs(mean: float, scale: float) -> None:
    m, s = np.array([mean]), np.array([scale])
    for k in np.linspace(-3, cap_of(m, s) - 1e-6, 15):
        q, p = masses(math.exp(k), mean, scale)
        assert left_exactly(m, s, k) == pytest.approx(q - math.exp(k) * p, abs=1e-12)


def test_the_integral_agrees_with_simulation() -> None:
    mean, scale = spread_target(12, 1)
    x = SharedRandomness(5).normals(0, 12 * 400000).astype(np.float64).reshape(-1, 12)
    u = mean + scale * x
    log_r = (-np.log(scale) - 0.5 * x**2 + 0.5 * u**2).sum(1)
    for k in (-2.0, -0.5, 0.5, 1.2):
        gains = np.maximum(1 - np.exp(k - log_r), 0)  # E_q[(1 - h/r)+] = E_p[(r - h)+]
        error = float(gains.std()) / math.sqrt(gains.size)
        assert abs(left_exactly(mean, scale, k) - float(gains.mean())) < 3.9 * error


@pytest.mark.parametrize("name", TARGETS)
def test_between_nodes_the_curve_is_right(name: str) -> None:
    # 1e-4 relative wherever more than 1e-3 of the target is left, 1e-6 of it elsewhere.
    mean, scale = TARGETS[name]
    cap = cap_of(mean, scale)
    level, left, slope = survival.tabulate(mean, scale, cap)
    end = left_exactly(mean, scale, cap)
    for n in range(1, survival.NODES, 3):
        h = 0.4 * level[n] + 0.6 * level[n + 1]
        exact = left_exactly(mean, scale, math.log(h)) - end
        found = survival.left_at(h, n, level, left, slope)
        assert found == pytest.approx(exact, rel=1e-4, abs=1e-6)
    assert left[0] == pytest.approx(1 - end, abs=1e-9)
    assert left[-1] == 0
