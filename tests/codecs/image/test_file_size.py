"""The search for a file size: hits the target in few tries, whatever the curve."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.codecs.image.file_size import TOLERANCE, Found, SizeCurve, largest_below

EXPONENTIAL = SizeCurve(1000, math.log(20) / 1000, math.log, 500)
LINEAR = SizeCurve(1000, 10, float, 300)


def data_of(found: Found | None) -> bytes:
    assert found is not None
    return found.data


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

        found = 8 * len(data_of(largest_below(encode, target, EXPONENTIAL)))
        best = max(8 * size(step) for step in range(1001) if 8 * size(step) <= target)
        assert min(best, target * (1 - TOLERANCE)) <= found <= target
        assert len(tried) <= 12
        assert len(set(tried)) == len(tried)


def test_coarse_steps_give_the_largest_file_below() -> None:
    def encode(step: int) -> bytes:
        return bytes(100 + 50 * (step // 300))

    assert len(data_of(largest_below(encode, 8 * 170, EXPONENTIAL))) == 150


@pytest.mark.parametrize("curve", [EXPONENTIAL, LINEAR])
def test_both_ends(curve: SizeCurve) -> None:
    def encode(step: int) -> bytes:
        return bytes(100 + step)

    for target, size in ((1100, 1094), (100, 100)):
        found = largest_below(encode, 8 * target, curve)
        assert found is not None
        assert len(found.data) >= size
        assert not found.falls_short(8 * target, curve)
    assert largest_below(encode, 8 * 99, curve) is None
    finest = largest_below(encode, 8 * 1107, curve)
    assert finest is not None
    assert finest.falls_short(8 * 1107, curve)


@pytest.mark.slow
@settings(max_examples=300)
@given(
    sizes=st.lists(st.integers(1, 10_000), min_size=1, max_size=40).map(sorted),
    wanted=st.integers(1, 12_000),
    start=st.integers(0, 1000),
)
def test_stairs_are_climbed_in_few_tries(sizes: list[int], wanted: int, start: int) -> None:
    """Sizes that jump or stand still: no creeping, no miss."""
    tried: list[int] = []

    def encode(step: int) -> bytes:
        tried.append(step)
        return bytes(sizes[step * len(sizes) // 1001])

    fitting = [size for size in sizes if size <= wanted]
    found = largest_below(encode, 8 * wanted, SizeCurve(1000, 10, float, start))
    if not fitting:
        assert found is None
    else:
        assert min(max(fitting), wanted * (1 - TOLERANCE)) <= len(data_of(found)) <= wanted
    assert len(tried) <= 33  # Every third try halves what is left, of 1,001 steps.
    assert len(set(tried)) == len(tried)
