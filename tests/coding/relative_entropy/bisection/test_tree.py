"""The coders that bisect the prior's CDF: suite, laws of the tree, oracles, statistics."""

import math
from fractions import Fraction
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate, special
from torch.distributions import Normal

from laconic.coding.random import SharedRandomness, normal_of, quantile_table
from laconic.coding.relative_entropy import standardise
from laconic.coding.relative_entropy.bisection import tree as bisection
from laconic.coding.relative_entropy.bisection.a_star import BisectingAStarCoder
from laconic.coding.relative_entropy.bisection.greedy_poisson import (
    BisectingPoissonCoder,
    raise_level,
)
from laconic.coding.relative_entropy.bisection.greedy_rejection import BisectingRejectionCoder
from laconic.coding.relative_entropy.bisection.tree import BisectingCoder
from laconic.coding.relative_entropy.standardise import Standardised
from laconic.testing import CoderSuite, kolmogorov_smirnov, ladder_pair, transmit

CODERS = [BisectingAStarCoder, BisectingRejectionCoder, BisectingPoissonCoder]
SHARED = SharedRandomness(1)
TABLE = quantile_table()

# Each of the grid's tests fails a correct coder with probability 1e-4 in all, over seeds.
GRID = [
    (0.0, 0.999), (0.02, 0.9999), (0.0, 1.0), (0.5, 1.0), (0.3, 1.1), (0.0, 1.2), (0.0, 0.95),
    (-0.6, 0.9), (0.0, 0.5), (1.0, 0.6), (-2.5, 0.3), (0.7, 0.1), (2.2, 0.03), (-0.1, 0.003),
    (3.0, 0.004), (0.0, 0.0002),
]  # fmt: skip
ALARM = 1e-4 / len(GRID)


class BisectingSuite(CoderSuite):
    max_ratio = 3.05
    max_excess = 0.05
    theory_is_bound = True
    theory_parts = ("outliers", "rates", "depths", "paths")


class TestAStar(BisectingSuite):
    max_ratio = 3.0

    def make(self) -> BisectingCoder:
        return BisectingAStarCoder()


class TestRejection(BisectingSuite):
    def make(self) -> BisectingCoder:
        return BisectingRejectionCoder()


class TestPoisson(BisectingSuite):
    def make(self) -> BisectingCoder:
        return BisectingPoissonCoder()


def kl_bits(mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return (0.5 * (mean**2 + scale**2 - 1) - np.log(scale)) / math.log(2)


def standardised(mean: float | np.ndarray, scale: float, dims: int) -> Standardised:
    means, scales = np.full(dims, mean) + 0.0, np.full(dims, scale)
    return Standardised(means, scales, kl_bits(means, scales))


def elias_delta(kl: np.ndarray) -> float:
    return float((kl + 2 * np.log2(kl + 1) + 1).sum())


def test_words_rise_with_the_quantile() -> None:
    edges = [0, 1 << 31, 32512 << 16, (32512 << 9) | (32512 << 16)]
    near = [e + x for e in edges for x in range(-3000, 3000)]
    spread = (SHARED.bits(0, 20000) >> np.uint32(1)).tolist()
    upper = sorted({w for w in [*near, *spread] if 0 <= w < 1 << 31})
    words = [(1 << 31) - 1 - w for w in reversed(upper)] + [(1 << 31) + w for w in upper]
    values = np.array([bisection.quantile(w, TABLE) for w in words])
    assert (np.diff(values) >= 0).all()
    assert np.array_equal(values, -values[::-1])
    exact = special.ndtri((np.array(words) + 0.5) / 2.0**32)
    assert np.abs(values - exact)[np.abs(values) < 5].max() < 1e-5
    assert bisection.quantile((1 << 32) - 1, TABLE) == TABLE[2, -1]


def test_words_are_those_of_the_shared_normals() -> None:
    for word in SHARED.bits(0, 5000).tolist():
        other = (~word if word < 1 << 31 else word ^ (1 << 31)) & 0xFFFFFFFF
        value = bisection.quantile(word, TABLE)
        plain = float(normal_of(np.uint32(other), TABLE))
        # Same cell of the table: half a cell apart at most, in prior mass.
        tail = min(word + 1, (1 << 32) - word) / 2**32
        cell = 2.0**-16 if tail > 2.0**-8 else 2.0**-23 if tail > 2.0**-15 else 2.0**-30
        assert abs(special.ndtr(value) - special.ndtr(plain)) < max(0.51 * cell, 1e-9)


def test_doubles_are_exact_until_the_last_rounding() -> None:
    # Were an operation rounded, another order of it could give another float32.
    for word in (SHARED.bits(0, 2000) | np.uint32(1 << 31)).tolist():
        v = word - (1 << 31)
        if v >> 16 >= 32512:
            continue
        place = 2 * v + 1 - (1 << 16)
        cell, rest = place >> 17, place & ((2 << 16) - 1)
        low, high = (Fraction(float(TABLE[0, cell + i])) for i in (0, 1))
        assert Fraction(bisection.quantile(word, TABLE)) == low + (high - low) * rest / (2 << 16)


def test_nodes_lie_in_their_intervals() -> None:
    for dim, depth, path in [(0, 0, 0), (5, 1, 1), (70000, 7, 99), (1 << 20, 30, 700000001)]:
        draw = bisection.draw_of(SHARED.name, dim, depth, path, TABLE)
        low, high = bisection.border(depth, path, TABLE), bisection.border(depth, path + 1, TABLE)
        assert low - 1e-6 <= draw <= high + 1e-6
        assert bisection.normal_mass(low, high) == pytest.approx(2.0**-depth, rel=0.02)


@pytest.mark.parametrize(("mean", "scale"), GRID)
def test_masses_above_a_level(mean: float, scale: float) -> None:
    r = bisection.parabola(mean, scale)
    u = np.linspace(-9, 9, 900001)
    ratio = np.exp(r[0] + (r[1] - 0.5 * r[2] * u) * u)
    prior = np.exp(-0.5 * u * u) / math.sqrt(2 * math.pi) * (u[1] - u[0])
    for low, high in [(-math.inf, math.inf), (0.1, 2.0), (-0.7, -0.2)]:
        inside = (u > low) & (u < high)
        for level in (0.0, 0.3, 1.0, 2.0, 30.0):
            over = inside & (ratio >= level)
            q, p = bisection.masses_above(level, low, high, mean, scale)
            assert q == pytest.approx(
                float((ratio * prior)[over].sum()), abs=2e-2 if scale < 0.001 else 2e-3
            )
            assert p == pytest.approx(float(prior[over].sum()), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize(("mean", "scale"), GRID)
def test_draws_are_exact(coder: type[BisectingCoder], mean: float, scale: float) -> None:
    count = 8000
    target = Normal(torch.full((count,), mean).double(), torch.full((count,), scale).double())
    prior = Normal(torch.zeros(count).double(), torch.ones(count).double())
    draw, receipt, _ = transmit(coder(), target, prior, seed=17)
    assert receipt.parts["outliers"] < 3
    residual = ((draw - mean) / scale).numpy()
    assert kolmogorov_smirnov(residual) < math.sqrt(-0.5 * math.log(ALARM / 2))


@pytest.mark.parametrize("coder", CODERS)
def test_steps_grow_like_the_kl(coder: type[BisectingCoder]) -> None:
    dims = np.arange(4000)
    noise = SharedRandomness(9).normals(0, dims.size).astype(np.float64)
    for scale in 2.0 ** -np.arange(1, 12, 2):
        q = standardised(math.sqrt(1 - scale**2) * noise, float(scale), dims.size)
        near = np.setdiff1d(dims, bisection.unreachable(q, 14))
        depths, _, steps = coder().search(q, near, SHARED)
        kl = q.kl_bits[near].mean()
        assert depths.mean() < kl + 0.15
        assert steps.mean() < kl + 2
        assert steps.max() < 2 * kl + 30


@pytest.mark.slow
@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("scale", [0.95, 0.8, 0.3, 0.05, 0.004])
def test_length_is_within_the_formula(coder: type[BisectingCoder], scale: float) -> None:
    mean = math.sqrt(1 - scale**2) * torch.from_numpy(SharedRandomness(9).normals(0, 16384).copy())
    one = torch.ones(16384)
    _, receipt, message = transmit(coder(), Normal(mean, scale * one), Normal(0 * one, one))
    assert 8 * len(message) < 1.02 * receipt.theory_bits
    q = standardise.standardise(Normal(mean, scale * one), Normal(0 * one, one))
    assert receipt.theory_bits == pytest.approx(elias_delta(q.kl_bits))


@pytest.mark.parametrize("coder", CODERS)
def test_a_map_of_rates_is_encoded_where_it_pays(coder: type[BisectingCoder]) -> None:
    row = torch.linspace(-3, 1, 64).repeat(4, 64, 1)
    variance = 10**row
    noise = torch.from_numpy(SharedRandomness(4).normals(0, row.numel()).copy()).reshape(row.shape)
    scale = 1 / (variance + 1).sqrt()
    mean = (1 - scale**2).sqrt() * noise
    prior = Normal(torch.zeros_like(row), torch.ones_like(row))
    _, receipt, _ = transmit(coder(), Normal(mean, scale), prior)
    assert 1 < receipt.parts["rates"] <= 0.05 * receipt.ideal_bits
    shuffled = torch.from_numpy(np.argsort(SharedRandomness(5).bits(0, row.numel())))
    mixed = Normal(*(x.reshape(-1)[shuffled].reshape(row.shape) for x in (mean, scale)))
    _, other, _ = transmit(coder(), mixed, prior)
    assert other.parts["rates"] == 1
    assert receipt.bits < 0.93 * other.bits


@pytest.mark.slow
@pytest.mark.parametrize("coder", CODERS)
def test_the_prior_itself_is_almost_free(coder: type[BisectingCoder]) -> None:
    one = torch.ones(20000)
    for scale in (1.0, 1 - 1e-6, 1 + 1e-6):
        _, receipt, _ = transmit(coder(), Normal(1e-7 * one, scale * one), Normal(0 * one, one))
        assert receipt.bits < 200
        assert receipt.candidates < 20000 * 1.6


def test_wide_far_and_narrow_targets_are_outliers() -> None:
    mean = np.array([0.0, 0.0, 0.0, 1.0, 3.0, 5.9, 0.0])
    scale = np.array([1.0, 1.2, 1.3, 1.0, 1.0, 0.5, 2.0**-16])
    q = Standardised(mean, scale, kl_bits(mean, scale))
    assert bisection.unreachable(q, 14).tolist() == [2, 4, 5, 6]
    beyond = special.ndtr(-(6.1 - np.abs(mean)) / scale) + special.ndtr(
        -(6.1 + np.abs(mean)) / scale
    )
    assert beyond[[0, 1, 3]].max() < 2.0**-20


# A* and greedy Poisson: the whole tree down to some depth, without queue or bounds.


@cache
def whole_tree(dim: int, depth: int) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]:
    """Arrival times, draws and names of all nodes, by the definition."""
    times, draws, names = {}, [], []
    for d in range(depth + 1):
        for path in range(1 << d):
            coin = bisection.coin_of(SHARED.child(3).name, dim, d, path)
            parent = times[d - 1, path // 2] if d else 0.0
            times[d, path] = parent - math.log(coin) * 2**d
            draws.append(bisection.draw_of(SHARED.child(0).name, dim, d, path, TABLE))
            names.append((d, path))
    return np.array(list(times.values())), np.array(draws, np.float64), names


def log_ratio(u: np.ndarray, mean: float, scale: float) -> np.ndarray:
    return -math.log(scale) - 0.5 * ((u - mean) / scale) ** 2 + 0.5 * u * u


ORACLE = [(0.0, 0.9), (0.8, 0.6), (-1.5, 0.4), (0.3, 0.15), (0.4, 1.05)]
LIMIT = 9


@pytest.mark.parametrize(("mean", "scale"), ORACLE)
def test_a_star_finds_the_best_of_the_whole_tree(mean: float, scale: float) -> None:
    dims = np.arange(12)
    coder = BisectingAStarCoder(depth_limit=LIMIT)
    depths, paths, steps = coder.search(standardised(mean, scale, 12), dims, SHARED)
    for dim in dims:
        times, draws, names = whole_tree(int(dim), LIMIT)
        best = int(np.argmin(np.log(times) - log_ratio(draws, mean, scale)))
        assert names[best] == (depths[dim], paths[dim])
    assert steps.max() < 60


@pytest.mark.slow
@pytest.mark.parametrize(("mean", "scale"), ORACLE)
def test_greedy_poisson_accepts_the_first_arrival_under_the_graph(
    mean: float, scale: float
) -> None:
    dims = np.arange(12)
    coder = BisectingPoissonCoder()
    depths, paths, _ = coder.search(standardised(mean, scale, 12), dims, SHARED)
    checked = 0
    for dim in dims:
        if depths[dim] >= LIMIT:
            continue
        times, draws, names = whole_tree(int(dim), LIMIT)
        heights = np.exp(log_ratio(draws, mean, scale))
        first = next(
            i for i in np.argsort(times) if times[i] < stretch(float(heights[i]), mean, scale)
        )
        assert names[first] == (depths[dim], paths[dim])
        checked += 1
    assert checked >= 10


def stretch(height: float, mean: float, scale: float) -> float:
    """Integral of 1 / (w_q - h w_p), with masses by quadrature over u rather than by roots."""

    def slope(h: float) -> float:
        u = np.linspace(-6, 6, 4001)
        excess = np.maximum(np.exp(log_ratio(u, mean, scale)) - h, 0)
        return float((excess * np.exp(-0.5 * u * u)).sum() * (u[1] - u[0]) / math.sqrt(2 * math.pi))

    nodes, weights = np.polynomial.legendre.leggauss(60)
    top = [slope(height * 0.5 * (1 + x)) for x in nodes]
    return math.inf if min(top) < 1e-4 else 0.5 * height * float((weights / np.array(top)).sum())


@pytest.mark.parametrize(("mean", "scale"), ORACLE)
def test_greedy_rejection_matches_its_definition(mean: float, scale: float) -> None:
    dims = np.arange(12)
    q = standardised(mean, scale, 12)
    depths, paths, _ = BisectingRejectionCoder().search(q, dims, SHARED)
    for dim in dims:
        assert reject_slowly(int(dim), mean, scale) == (depths[dim], paths[dim])


def reject_slowly(dim: int, mean: float, scale: float) -> tuple[int, int]:
    """Greedy rejection with masses by quadrature."""

    def left(level: float, depth: int, path: int) -> float:
        p = (path + (np.arange(20000) + 0.5) / 20000) / 2**depth
        ratio = np.exp(log_ratio(special.ndtri(p), mean, scale))
        return float(np.maximum(ratio - level, 0).mean()) / 2**depth

    depth, path, level = 0, 0, 0.0
    while True:
        mass = left(level, depth, path) * 2**depth
        draw = float(bisection.draw_of(SHARED.child(0).name, dim, depth, path, TABLE))
        ratio = math.exp(log_ratio(np.float64(draw), mean, scale))
        if bisection.coin_of(SHARED.child(3).name, dim, depth, path) < (ratio - level) / mass:
            return depth, path
        level += mass
        lower, upper = left(level, depth + 1, 2 * path), left(level, depth + 1, 2 * path + 1)
        turn = bisection.coin_of(SHARED.child(4).name, dim, depth, path)
        depth, path = depth + 1, 2 * path + int(turn * (lower + upper) >= lower)


@pytest.mark.parametrize(("mean", "scale"), [x for x in GRID if x[1] > 0.001])
def test_the_level_inverts_the_stretch_function(mean: float, scale: float) -> None:
    def slope(h: float) -> float:
        return bisection.residual_mass(h, -math.inf, math.inf, mean, scale)

    for level in (0.05, 0.5, 0.9, 1.5, 10.0):
        if slope(level) < 1e-5:
            continue
        cuts = [0, *(level * 10.0**-k for k in (8, 6, 4, 2, 1)), level]
        time = sum(
            integrate.quad(lambda h: 1 / slope(h), a, b, epsrel=1e-10, limit=400)[0]
            for a, b in pairwise(cuts)
        )
        assert raise_level(0.0, 0.0, time, mean, scale) == pytest.approx(level, rel=1e-5)
        half = raise_level(0.0, 0.0, time / 3, mean, scale)
        assert raise_level(half, time / 3, time, mean, scale) == pytest.approx(level, rel=1e-5)


@pytest.mark.parametrize(("mean", "scale"), [(0.5, 0.8), (1.0, 0.4), (0.1, 0.95)])
def test_survival_by_simulation(mean: float, scale: float) -> None:
    # P(no acceptance before t) = slope(level(t)): so slope at the time of acceptance is uniform.
    trials, arrivals = 4000, 400
    waits = -np.log(SharedRandomness(2).uniforms(0, trials * arrivals)).reshape(trials, arrivals)
    draws = SharedRandomness(3).normals(0, trials * arrivals).reshape(trials, arrivals)
    times, ratios = np.cumsum(waits, 1), np.exp(log_ratio(draws.astype(float), mean, scale))
    survival = []
    for time, ratio in zip(times, ratios, strict=True):
        level, now = 0.0, 0.0
        for t, r in zip(time, ratio, strict=True):
            level, now = raise_level(level, now, t, mean, scale), t
            if r > level:
                survival.append(bisection.residual_mass(level, -math.inf, math.inf, mean, scale))
                break
    assert len(survival) == trials
    normal = special.ndtri(np.clip(survival, 1e-9, 1 - 1e-9))
    assert kolmogorov_smirnov(normal) < math.sqrt(-0.5 * math.log(1e-4 / 3 / 2))


def test_depth_limit_trades_bias_for_bits() -> None:
    # DAD*: the distance to the target falls as the limit rises above the KL of 4.8 bits.
    mean, scale = 0.8, 0.03
    one = torch.ones(20, 25, 40).double()
    target, prior = Normal(mean * one, scale * one), Normal(0 * one, one)
    distances, bits = [], []
    for limit in (1, 3, 5, 30):
        draw, receipt, _ = transmit(BisectingAStarCoder(depth_limit=limit), target, prior)
        distances.append(kolmogorov_smirnov(((draw - mean) / scale).numpy().reshape(-1)))
        bits.append(receipt.parts["paths"])
    assert distances[0] > distances[1] > distances[2] > distances[3]
    assert distances[3] < math.sqrt(-0.5 * math.log(1e-3 / 2)) < 5 < distances[0]
    assert bits == sorted(bits)


def test_a_star_and_poisson_messages_differ_in_nodes_only() -> None:
    # One prior, one shared tree: the coders may be mixed, but each reads its own message.
    target, prior = ladder_pair((1, 4, 16, 16))
    draws = [transmit(coder(), target, prior)[0] for coder in CODERS]
    same = [float((draws[0] == other).float().mean()) for other in draws[1:]]
    assert all(0.4 < share < 1 for share in same)
