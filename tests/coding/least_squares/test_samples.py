"""Least squares: planes come back, and their bytes are the same on every machine."""

import threading
import zlib
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.coding.least_squares import samples
from laconic.coding.least_squares.kernels import REACH
from laconic.coding.least_squares.samples import (
    Planes,
    decode_planes,
    encode_planes,
    student_law,
    taps,
)
from laconic.cores import limited


@st.composite
def planes(draw: st.DrawFn) -> Planes:
    """Noise around waves, of any range."""
    shape = draw(st.integers(1, 4)), draw(st.integers(1, 20)), draw(st.integers(1, 20))
    channel, row, column = np.indices(shape)
    noise = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, shape)
    scale = draw(st.sampled_from([1, 9, 60, 300]))
    return (noise // scale + (row * column * 7 + channel * 9) % 200 // scale).astype(np.uint8)


def check(given: Planes, differences: Sequence[bool]) -> list[bytes]:
    parts = encode_planes(given, differences)
    first, largest = given[:, 0, 0].tolist(), [int(one.max()) for one in given]
    shape = given.shape[0], given.shape[1], given.shape[2]
    back = decode_planes(parts, shape, first, largest, differences)
    assert back.dtype == np.uint8
    assert np.array_equal(back, given)
    return parts


@settings(max_examples=30, deadline=None)
@given(planes(), st.booleans())
def test_planes_come_back(given: Planes, differences: bool) -> None:
    check(given, [differences and 0 < k < 3 for k in range(len(given))])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.binary(max_size=60), min_size=3, max_size=3), st.integers(0, 255))
def test_any_bytes_give_samples_of_the_range(parts: list[bytes], largest: int) -> None:
    first, flags = [largest, 0, largest // 2], [False, True, True]
    found = decode_planes(parts, (3, 5, 6), first, [largest] * 3, flags)
    assert found.shape == (3, 5, 6)
    assert found.max() <= largest


def test_a_flat_plane_takes_no_bytes() -> None:
    flat = np.full((3, 9, 7), 5, np.uint8)
    flat[1, 2, 3] = 6
    parts = check(flat, [False] * 3)
    assert [bool(part) for part in parts] == [False, True, False]


def waves(noise: int) -> Planes:
    """Made of integers, the same on every machine for ever."""
    channel, row, column = np.indices((4, 40, 50))
    values = (row * row * 9 + column * 30 + channel * row * 11) % 4000 // 20 + row * column % noise
    return values.astype(np.uint8)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_bytes_stay_the_same(threads: int) -> None:
    """Another result means that files of released versions no longer decode."""
    with limited(threads):
        parts = check(waves(7), [False, True, False, False])
    assert [len(part) for part in parts] == [893, 428, 581, 901]
    assert zlib.crc32(b"".join(parts)) == 1812192914


def test_a_grey_picture_in_colour_costs_little_more_than_in_grey() -> None:
    """Its systems have no full rank."""
    grey = waves(29)[:1]
    alone, both = check(grey, [False]), check(np.repeat(grey, 3, 0), [False, True, True])
    assert sum(map(len, both)) <= 1.15 * len(alone[0])


def test_least_squares_finds_a_linear_law() -> None:
    """Each sample is a sum of its neighbours, rounded: less than a bit of noise remains."""
    source = np.random.default_rng(0)
    plane = source.uniform(90, 160, (120, 120))
    for y in range(2, 120):
        for x in range(2, 119):
            near = 0.9 * plane[y, x - 1] + 0.8 * plane[y - 1, x] - 0.7 * plane[y - 1, x - 1]
            plane[y, x] = near + source.normal(0, 0.5)
    values = np.clip(np.round(plane), 0, 255).astype(np.uint8)[None]
    (part,) = check(values, [False])
    inner_bits = 8 * len(part) - 6.2 * (values.size - 117 * 118)
    assert inner_bits / values.size < 2.0


def test_the_law_is_students() -> None:
    x = np.arange(-REACH, REACH + 1) / 64
    assert np.abs(student_law() / 2.0**30 - (0.5 + x / (2 * np.sqrt(2 + x * x)))).max() < 1e-8


@pytest.mark.parametrize(("plane", "count"), [(0, 21), (1, 27), (2, 36), (3, 21)])
def test_taps_are_known_when_they_are_needed(plane: int, count: int) -> None:
    found = taps(plane)
    assert len(set(found)) == len(found) == count
    assert all((row, column) < (0, 0) for part, row, column in found if part == 0)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_an_error_in_a_thread_ends_all(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object) -> int:
        raise MemoryError

    monkeypatch.setattr(samples, "code_rows", fail)
    with limited(threads), pytest.raises(MemoryError):
        encode_planes(waves(7), [False] * 4)


def test_no_more_threads_run_than_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, code_rows = set(), samples.code_rows

    def watch(*given: object) -> int:
        seen.add(threading.get_ident())
        return int(code_rows(*given))

    monkeypatch.setattr(samples, "code_rows", watch)
    with limited(2):
        check(waves(7), [False] * 4)
    assert 1 <= len(seen) <= 2 * 2  # Two for writing, two for reading.
