import math
from collections.abc import Callable

import numpy as np
import pytest
from numba import njit
from scipy.special import expit, ndtr, ndtri

from laconic.coding import integer_tables as tables
from laconic.coding.stack import kernels

Array = np.ndarray


@njit
def all_values(arguments: Array, table: Array) -> Array:
    values = np.empty_like(arguments)
    for i in range(arguments.size):
        values[i] = kernels.look_up(arguments[i], table)
    return values


@njit
def all_powers(nats: Array, powers: Array) -> Array:
    values = np.empty(nats.size)
    for i in range(nats.size):
        mantissa, shift = kernels.halvings(kernels.octaves(nats[i]), powers)
        values[i] = mantissa * 2.0 ** (-29 - shift)
    return values


DISTRIBUTIONS = pytest.mark.parametrize(
    ("table", "function", "limit"),
    [(tables.logistic_cdf, expit, 21), (tables.normal_cdf, ndtr, 7)],
    ids=["logistic", "normal"],
)


@DISTRIBUTIONS
def test_nodes_are_rounded_correctly(
    table: Callable[[], Array], function: Callable[[Array], Array], limit: int
) -> None:
    nodes = function(np.arange(-128 * limit, 128 * limit + 1) / 128)
    assert np.abs(table() - nodes * 2**30).max() <= 0.5 + 1e-6


@DISTRIBUTIONS
def test_between_nodes_it_is_close_and_never_falls(
    table: Callable[[], Array], function: Callable[[Array], Array], limit: int
) -> None:
    arguments = np.linspace(-(limit + 1) * 2**24, (limit + 1) * 2**24, 10**6).astype(np.int64)
    values = all_values(arguments, table())
    assert (np.diff(values) >= 0).all()
    assert np.abs(values - 2**30 * function(arguments / 2**24)).max() < 2**30 * 2e-6 + 2
    ends = all_values(np.array([-(2**62), 2**62 - 2**40]), table())
    assert ends.tolist() == [table()[0], table()[-1]]


@DISTRIBUTIONS
def test_it_never_falls_from_unit_to_unit(
    table: Callable[[], Array], function: Callable[[Array], Array], limit: int
) -> None:
    for centre in (-(limit << 24), -(5 << 23), 0, 123456, limit << 24):
        arguments = np.arange(centre - 2**18, centre + 2**18)
        assert (np.diff(all_values(arguments, table())) >= 0).all()


def test_tables_are_symmetric() -> None:
    for table in (tables.logistic_cdf(), tables.normal_cdf()):
        assert (table.astype(np.int64) + table[::-1] == 2**30).all()


def test_powers_of_two() -> None:
    nats = np.arange(-12 * 65536, 12 * 65536 + 1, 97)
    assert all_powers(nats, tables.half_powers()) == pytest.approx(
        np.exp(-nats / 65536),
        rel=3.4e-4,  # Half a step of 2^-10 octave.
    )
    extremes = all_powers(np.array([0, 30 * 65536]), tables.half_powers())
    assert extremes == pytest.approx([1, math.exp(-30)], rel=1e-3)


@pytest.mark.parametrize("bits", [1, 2, 8, 12, 16])
def test_bins_have_equal_mass(bits: int) -> None:
    steps = np.arange(1, 1 << bits)
    edges = tables.normal_edges(bits)[1:-1]
    assert np.abs(edges - 2**24 * ndtri(steps / 2**bits)).max() <= 0.5 + 1e-6
    assert (np.diff(edges) > 0).all()
    assert (edges == -edges[::-1]).all()


@pytest.mark.parametrize("bits", [1, 2, 8, 12, 16])
def test_centres_are_medians(bits: int) -> None:
    centres = tables.normal_centres(bits)
    medians = ndtri((np.arange(1 << bits) + 0.5) / 2**bits)
    assert np.abs(centres - 2**16 * medians).max() <= 0.5 + 2**-8
    assert (centres == -centres[::-1]).all()


def test_tables_cannot_be_changed() -> None:
    for table in (
        tables.half_powers(),
        tables.logistic_cdf(),
        tables.normal_cdf(),
        tables.normal_edges(4),
        tables.normal_centres(4),
        tables._quantiles(),
    ):
        with pytest.raises(ValueError, match="read-only"):
            table[0] = 1
