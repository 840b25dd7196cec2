"""The search for a file size: hits the target in few tries, whatever the curve."""

import math

import pytest

from laconic.codecs.target import TOLERANCE, largest_below
from laconic.errors import UnreachableTargetError


@pytest.mark.parametrize("growth", [0.5, 2.0, 5.0])
@pytest.mark.parametrize("bend", [0.3, 1.0, 3.0])
def test_target_is_hit_in_few_tries(growth: float, bend: float) -> None:
    def size(step: int) -> int:
        return round(9000 * math.exp(growth * (step / 1000) ** bend))

    for wanted in (0.1, 0.37, 0.9):
        target = 8 * size(round(1000 * wanted))
        tried: list[int] = []

        def encode(step: int, tried: list[int] = tried) -> bytes:
            tried.append(step)
            return bytes(size(step))

        found = 8 * len(largest_below(encode, target, 1, 1000))
        best = max(8 * size(step) for step in range(1001) if 8 * size(step) <= target)
        assert min(best, target * (1 - TOLERANCE)) <= found <= target
        assert len(tried) <= 12
        assert len(set(tried)) == len(tried)


def test_coarse_steps_give_the_largest_file_below() -> None:
    assert len(largest_below(lambda step: bytes(100 + 50 * (step // 300)), 8 * 170, 1, 1000)) == 150


def test_both_ends() -> None:
    assert len(largest_below(lambda step: bytes(100 + step), 8 * 1100, 1, 1000)) >= 1094
    assert len(largest_below(lambda step: bytes(100 + step), 8 * 100, 1, 1000)) == 100
    for target in (99, 1107):
        with pytest.raises(UnreachableTargetError, match=r"offers 800 to 8\.8e"):
            largest_below(lambda step: bytes(100 + step), 8 * target, 1, 1000)
