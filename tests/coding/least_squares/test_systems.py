"""Weights by least squares: they are those of the textbook's formula, in doubles."""

import numpy as np
import pytest

from laconic.coding.least_squares.systems import (
    ABOVE,
    EASE,
    FIRST_TAPS,
    NEAR,
    RIDGE,
    SLOW,
    WIDE_RIDGE,
    Systems,
    dot,
    learn,
    new_systems,
    solve_around,
    solve_wide,
    start_row,
    terms,
)

TAPS, WIDTH, ROWS = 14, 9, 5


def trained() -> tuple[Systems, dict[tuple[int, int], tuple[np.ndarray, float, int]]]:
    """Systems at column 4 of the last row, and what they have seen."""
    source = np.random.default_rng(3)
    found, seen = new_systems(TAPS, WIDTH), {}
    for row in range(ROWS):
        start_row(found)
        for column in range(WIDTH if row < ROWS - 1 else 4):
            taps = source.integers(-90, 90, TAPS) / 2
            target, expected = source.integers(-90, 90) / 2, int(source.integers(0, 900))
            found.taps[:] = taps
            learn(found, column, np.float32(target), expected)
            seen[row, column] = taps, target, expected
    return found, seen


def expect(
    seen: dict[tuple[int, int], tuple[np.ndarray, float, int]], around: bool, count: int
) -> np.ndarray:
    """The weights of the first `count` taps, by the definition."""
    left, right = np.zeros((TAPS, TAPS)), np.zeros(TAPS)
    for number, ((row, column), (taps, target, expected)) in enumerate(seen.items()):
        weight = 1 / (1 + float(EASE) * expected**2)
        if around:
            weight *= float(NEAR) ** abs(column - 4) * float(ABOVE) ** (ROWS - 1 - row)
        else:
            weight *= float(SLOW) ** (len(seen) - 1 - number)
        left += weight * np.outer(taps, taps)
        right += weight * taps * target
    ridge = float(RIDGE if around else WIDE_RIDGE) * np.eye(count)
    return np.linalg.solve(left[:count, :count] + ridge, right[:count])


@pytest.mark.parametrize(("which", "count"), [(0, FIRST_TAPS), (1, TAPS), (2, TAPS)])
def test_weights_minimise_weighted_squares(which: int, count: int) -> None:
    found, seen = trained()
    solve_around(found, 4)
    solve_wide(found)
    assert np.allclose(found.weights[which, :count], expect(seen, which < 2, count), atol=2e-4)


def test_a_system_without_positive_diagonal_keeps_the_weights() -> None:
    found, _ = trained()
    solve_wide(found)
    before = found.weights.copy()
    found.wide[:] = -1e6
    solve_wide(found)
    assert np.array_equal(found.weights, before)
    assert before[2].any()


@pytest.mark.parametrize("size", [0, 1, 3, 4, 7, 21])
def test_a_dot_product_is_that_of_doubles(size: int) -> None:
    source = np.random.default_rng(size)
    first, second = source.normal(size=(2, size)).astype(np.float32)
    assert dot(first, second) == pytest.approx(float(first.astype(float) @ second), abs=1e-5)


def test_a_system_has_a_triangle_and_a_column() -> None:
    assert terms(3) == 3 + 2 + 1 + 3
