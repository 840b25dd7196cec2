"""Dependent quantisation: against enumeration and the definition, and what it gains."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.coding.tensors import kernels_dependent as kernels
from laconic.coding.tensors import quantised

NEXT = ((0, 2), (7, 5), (1, 3), (6, 4), (2, 0), (5, 7), (3, 1), (4, 6))
"""The states of ISO/IEC 15938-17, as docs/format.md has them."""


def slow_values(k: list[int], state: int) -> tuple[list[int], int]:
    values = []
    for index in k:
        sign = (index > 0) - (index < 0)
        values.append(2 * index - sign * (state % 2))
        state = NEXT[state][index % 2]
    return values, state


@settings(deadline=None)
@given(st.lists(st.integers(-(2**30), 2**30), min_size=1, max_size=40), st.integers(0, 7))
def test_values_follow_the_format_and_come_back(k: list[int], state: int) -> None:
    r, last = quantised.to_values(np.array(k), state)
    assert (r.tolist(), last) == slow_values(k, state)
    again = r.copy()
    assert kernels.to_indices(again, state) == last
    assert again.tolist() == k


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(0, 7), st.floats(0.3, 6.0))
def test_the_best_path_is_that_of_enumeration(seed: int, state: int, scale: float) -> None:
    """Of all 2^6 paths whose values are the two around each number, in its quantiser."""
    rng = np.random.default_rng(seed)
    values, price = scale * rng.normal(size=(2, 3)), rng.uniform(0, 1, (4, 5))
    rows, columns, k = rng.integers(0, 3, 2), rng.integers(0, 3, 3), np.zeros((2, 3), np.int64)
    end = kernels.find_path(values, rows, columns, price, state, k)
    contexts = np.minimum(rows[:, None] + columns, 3).reshape(-1)

    def cost(indices: list[int]) -> float:
        stood = np.array(slow_values(indices, state)[0])
        rate_bits = price[contexts, np.minimum(np.abs(indices), 4)]
        return float(((stood - values.reshape(-1)) ** 2).sum() + rate_bits.sum())

    best = np.inf
    for farther in product((0, 1), repeat=6):
        indices, now = list[int](), state
        for value, far in zip(values.reshape(-1), farther, strict=True):
            size = int((abs(value) + now % 2) / 2) + far
            indices.append(size if value > 0 else -size)
            now = NEXT[now][size % 2]
        best = min(best, cost(indices))
    assert cost(k.reshape(-1).tolist()) == pytest.approx(best)
    assert slow_values(k.reshape(-1).tolist(), state)[1] == end


@pytest.mark.parametrize(("scale", "saved_bits"), [(1.0, 0.06), (4.0, 0.14), (30.0, 0.14)])
def test_fewer_bits_at_the_same_error(scale: float, saved_bits: float) -> None:
    """Gaussian weights of 2 to 7 bits: 8 states save 1 dB at high rates, which is 0.17 bits."""
    values = scale * np.random.default_rng(0).normal(size=(300, 300))
    plain = quantised.quantise(values, 1.0)
    error = float(((plain - values) ** 2).sum())
    step = 0.7
    for _ in range(6):
        k, _ = quantised.quantise_dependently(values, step)
        stood = quantised.to_values(k, 0)[0] * step
        spoilt = float(((stood - values) ** 2).sum())
        step *= (error / spoilt) ** 0.5
    assert spoilt == pytest.approx(error, rel=0.005)
    saved = quantised.bits_per_number(plain) - quantised.bits_per_number(k)
    assert saved_bits < saved < 0.25


def test_what_is_pruned_stays_pruned() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60, 50)) * (rng.random((60, 50)) < 0.5)
    k, _ = quantised.quantise_dependently(values, 0.2)
    assert not k[values == 0].any()


def test_only_paths_are_taken_for_paths() -> None:
    rng = np.random.default_rng(0)
    k = rng.integers(-9, 10, (40, 30))
    r, _ = quantised.to_values(k, 0)
    parts = quantised.to_indices([r[:13].astype(np.int32), r[13:].astype(np.int32)])
    assert parts is not None
    assert np.array_equal(np.concatenate(parts), k)
    assert quantised.to_indices([k]) is None
