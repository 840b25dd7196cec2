"""The capacity gate lets nothing through that cannot be sent."""

import math

import pytest

from laconic.channels import Budget, make_channel
from laconic.errors import ConfigError, UnreachableTargetError


def test_a_budget_is_uses_times_capacity() -> None:
    """The field's example: CIFAR-10, 1 / 48 of 3,072 numbers, 1 dB: 75 bits."""
    budget = Budget.of(make_channel({"name": "awgn", "snr_db": 1.0}), 64)
    assert budget.bits == pytest.approx(64 * math.log2(1 + 10**0.1))
    assert 74 < budget.bits < 76
    budget.check(75, "a small picture")
    with pytest.raises(UnreachableTargetError, match=r"BPG \+ LDPC sends 3,000 bits"):
        budget.check(3000, "BPG + LDPC")
    with pytest.raises(UnreachableTargetError):
        budget.check(math.nan, "nothing")


@pytest.mark.parametrize(("uses", "capacity"), [(0, 1.0), (5, math.inf), (5, -1.0), (5, math.nan)])
def test_budgets_that_cannot_be(uses: int, capacity: float) -> None:
    with pytest.raises(ConfigError):
        Budget(uses, capacity)
