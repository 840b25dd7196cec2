"""The plane's geometry against its definitions."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.errors import InputError
from laconic.metrics.frontier import (
    best_negative_elbo,
    distortion_at,
    lower_hull,
    pareto_frontier,
)

GRID = st.integers(0, 12).map(lambda number: number / 4)
"""Few values, so that ties and points in line occur; sums and products are exact."""

POINTS = st.lists(st.tuples(GRID, GRID), min_size=1, max_size=14)


@given(POINTS)
@settings(deadline=None)
def test_the_frontier_by_its_definition(points: list[tuple[float, float]]) -> None:
    frontier = pareto_frontier(points)
    undominated = {
        (r, d)
        for r, d in points
        if not any(a <= r and b <= d and (a, b) != (r, d) for a, b in points)
    }
    assert {points[index] for index in frontier} == undominated
    assert len(frontier) == len(undominated)
    assert all(points[index] not in points[:index] for index in frontier)
    assert [points[i][0] for i in frontier] == sorted(points[i][0] for i in frontier)


@given(POINTS)
@settings(deadline=None)
def test_the_hull_is_convex_and_below_every_point(points: list[tuple[float, float]]) -> None:
    hull = lower_hull(points)
    assert set(hull) <= set(pareto_frontier(points))
    corners = [points[index] for index in hull]
    pairs = pairwise(corners)
    slopes = [(low - high) / (right - left) for (left, high), (right, low) in pairs]
    assert all(slope < 0 for slope in slopes)
    assert all(a < b for a, b in pairwise(slopes))
    for rate, distortion in points:
        assert distortion_at(points, rate) <= distortion + 1e-12
    for index in hull:
        assert distortion_at(points, points[index][0]) == pytest.approx(points[index][1])


@given(POINTS, st.floats(0, 3))
@settings(deadline=None)
def test_the_hull_is_the_best_mixture_of_two_points(
    points: list[tuple[float, float]], rate: float
) -> None:
    """Brute force: no mixture of two points of at most this rate has less distortion."""
    best = min((d for r, d in points if r <= rate), default=math.inf)
    for left, high in points:
        for right, low in points:
            if left <= rate < right:
                best = min(best, low + (high - low) * (right - rate) / (right - left))
    assert distortion_at(points, rate) == pytest.approx(best, abs=1e-9)


def test_the_best_elbo() -> None:
    assert best_negative_elbo([(3.0, 80.0), (20.0, 60.5), (0.0, 81.0)]) == 80.5


@pytest.mark.parametrize("function", [pareto_frontier, lower_hull, best_negative_elbo])
def test_what_is_not_finite_is_refused(function: object) -> None:
    assert callable(function)
    with pytest.raises(InputError, match="not finite"):
        function([(1.0, 2.0), (math.nan, 1.0)])


def test_nothing_measured() -> None:
    assert pareto_frontier([]) == []
    assert lower_hull([]) == []
    assert distortion_at([], 1.0) == math.inf
    with pytest.raises(InputError, match="measure a run"):
        best_negative_elbo([])
