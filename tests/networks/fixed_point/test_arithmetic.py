"""Integer networks: near the float ones, and exact in whatever order the sums are taken."""

import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.networks.fixed_point import arithmetic as fixed_point
from laconic.networks.fixed_point.arithmetic import FRACTION_BITS, from_float, to_float

UNIT = 2.0**-FRACTION_BITS


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.floats(-1000, 1000), min_size=1, max_size=50))
def test_functions_are_near_the_float_ones(values: list[float]) -> None:
    x = from_float(torch.tensor(values, dtype=torch.float64))
    exact = to_float(x)
    leaky = torch.nn.functional.leaky_relu(exact, 0.2)
    assert float((to_float(fixed_point.leaky_relu(x)) - leaky).abs().max()) < 0.01 + UNIT
    asinh = to_float(fixed_point.asinh(x)) - torch.asinh(exact)
    assert float(asinh.abs().max()) < 3e-6 + UNIT
    size = exact.abs() + 1e-6
    assert float((to_float(fixed_point.log(size)) - size.log()).abs().max()) < 3e-6 + UNIT
    ratio = fixed_point.exp(x, 8) / exact.clamp(-8, 8).exp()
    assert float((ratio - 1).abs().max()) < 1.001 / 512 + UNIT


def test_expected_rates_are_those_of_a_gaussian_channel() -> None:
    scale = torch.logspace(-4, 3.4, 1000, dtype=torch.float64).float().double()
    rates = fixed_point.expected_rates(scale)
    assert rates.dtype == torch.int64
    assert float((rates - 128 * torch.log2(1 + scale.square())).abs().max()) < 1


def test_tables_are_the_same_on_every_machine() -> None:
    """Pinned: a file written with one table is read with another one as garbage."""
    tables = fixed_point._log_table(), fixed_point._exp_table(8)
    digests = [hashlib.sha256(table.numpy().tobytes()).hexdigest()[:16] for table in tables]
    assert digests == PINNED


PINNED = ["352fd05ab2173dac", "63f99f1246172d77"]
