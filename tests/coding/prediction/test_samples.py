"""The predictive coder: samples come back, and its bytes are the same on every machine."""

import zlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.coding.prediction.samples import Planes, decode_samples, encode_samples


@st.composite
def planes(draw: st.DrawFn) -> Planes:
    """Noise around waves, of any range."""
    shape = draw(st.integers(1, 4)), draw(st.integers(1, 20)), draw(st.integers(1, 20))
    channel, row, column = np.indices(shape)
    noise = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 65536, shape)
    scale = draw(st.sampled_from([1, 9, 300, 70_000]))
    return (noise // scale + (row * column * 7 + channel * 99) % 5000).astype(np.uint16)


def check(given: Planes, colours: int) -> tuple[bytes, bytes]:
    coded = encode_samples(given, colours, 3 * given.nbytes + 64)
    assert coded is not None
    first, largest = given[:, 0, 0].astype(np.int64), int(given.max())
    shape = given.shape[0], given.shape[1], given.shape[2]
    back = decode_samples(*coded, shape, colours, first, largest)
    assert back.dtype == np.uint16
    assert np.array_equal(back, given)
    return coded


@settings(max_examples=30, deadline=None)
@given(planes())
def test_samples_come_back(given: Planes) -> None:
    check(given, 3 if len(given) > 2 else 1)


@settings(max_examples=20, deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=20), st.integers(0, 65535))
def test_any_bytes_give_samples_of_the_range(data: bytes, low: bytes, largest: int) -> None:
    first = np.array([largest, 0, largest // 2])
    found = decode_samples(data, low, (3, 5, 6), 3, first, largest)
    assert found.shape == (3, 5, 6)
    assert found.max() <= largest


def test_more_bytes_than_the_limit_are_none() -> None:
    noise = np.random.default_rng(0).integers(0, 65536, (3, 20, 20), np.uint16)
    assert encode_samples(noise, 3, noise.nbytes // 2) is None


def test_the_bytes_stay_the_same() -> None:
    """All is integers: another result means that files of released versions no longer decode."""
    channel, row, column = np.indices((4, 40, 50))
    values = (row * row * 9 + column * 300 + channel * row * 11) % 30_000 + row * column % 101
    data, low = check((2 * values).astype(np.uint16), 3)
    assert (len(data), len(low)) == (1631, 1045)
    assert zlib.crc32(data + low) == 2725672876
