"""The compiled product of matrices: every shape, whole tiles or not."""

import numpy as np
import pytest
from numba import njit

from laconic.networks.fixed_point.product import COLUMNS, ROWS, Floats, add_product, begin


@njit(fastmath={"contract"})
def product(x: Floats, weight: Floats, bias: Floats, out: Floats) -> None:
    begin(bias, out)
    add_product(x, weight, out)


@pytest.mark.parametrize("rows", [0, 1, ROWS, 2 * ROWS + 3])
@pytest.mark.parametrize("columns", [1, COLUMNS, 2 * COLUMNS + 4])
@pytest.mark.parametrize("depth", [0, 1, 9])
def test_it_is_the_product_to_the_bit(rows: int, columns: int, depth: int) -> None:
    """Integers whose sums stay below 2^53, and a part of a larger array."""
    rng = np.random.default_rng(rows + 10 * columns + 100 * depth)
    x = rng.integers(-(2**26), 2**26, (2, rows + 2, depth)).astype(np.float64)[1, 1 : rows + 1]
    weight = rng.integers(-(2**20), 2**20, (depth, columns)).astype(np.float64)
    bias = rng.integers(-(2**40), 2**40, columns).astype(np.float64)
    out = np.full((rows + 1, columns), 7.0)
    product(x, weight, bias, out[:rows])
    expected = x.astype(np.int64) @ weight.astype(np.int64) + bias.astype(np.int64)
    assert np.array_equal(out[:rows], expected)
    assert (out[rows:] == 7).all()  # Nothing beyond the end is written.
