"""Filtered rows of PNG pictures: what goes in comes back, also by another program's reader."""

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laconic_decoder.deep import decode_deep_png
from numpy.typing import NDArray

from laconic.deep_image.rows import PASSES, DamagedRowsError, pack_rows, unpack_rows

FEW = settings(max_examples=20, deadline=None)


@st.composite
def samples(draw: st.DrawFn) -> NDArray[np.uint16]:
    """Noise and ramps, so that every filter is the best one somewhere."""
    shape = draw(st.integers(1, 12)), draw(st.integers(1, 12)), draw(st.integers(1, 4))
    noise = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 65536, shape)
    row, column, channel = np.indices(shape)
    ramp = row * draw(st.integers(0, 999)) + column * draw(st.integers(0, 999)) + channel
    return (noise // draw(st.sampled_from([1, 99, 65536])) + ramp).astype(np.uint16)


@FEW
@given(samples())
def test_rows_come_back(given: NDArray[np.uint16]) -> None:
    data = pack_rows(given, 6)
    assert np.array_equal(unpack_rows(data, *given.shape), given)
    if given.shape[2] > 1:
        assert np.array_equal(decode_deep_png(data, *given.shape), given)


@FEW
@given(samples(), st.integers(0, 4))
def test_every_filter_is_read(given: NDArray[np.uint16], kind: int) -> None:
    """Rows filtered by the definition, byte by byte."""
    height, width, channels = given.shape
    rows = given.astype(">u2").view(np.uint8).reshape(height, -1).astype(int)
    step, out = 2 * channels, []
    for y in range(height):
        line = [kind]
        for x in range(rows.shape[1]):
            west = rows[y, x - step] if x >= step else 0
            north = rows[y - 1, x] if y else 0
            corner = rows[y - 1, x - step] if y and x >= step else 0
            guess = west + north - corner
            near = min((west, north, corner), key=lambda one: abs(guess - one))
            line.append((rows[y, x] - (0, west, north, (west + north) // 2, near)[kind]) % 256)
        out.append(bytes(line))
    data = zlib.compress(b"".join(out))
    assert np.array_equal(unpack_rows(data, height, width, channels), given)


@FEW
@given(samples())
def test_interlaced_rows_are_read(given: NDArray[np.uint16]) -> None:
    plain = b""
    for y, x, dy, dx in PASSES:
        for row in given[y::dy, x::dx]:
            plain += (b"\0" + row.astype(">u2").tobytes()) if row.size else b""
    assert np.array_equal(unpack_rows(zlib.compress(plain), *given.shape, interlaced=True), given)


def test_damage_is_named() -> None:
    given = np.arange(60, dtype=np.uint16).reshape(4, 5, 3)
    data = pack_rows(given, 6)
    for bad in (b"", b"no stream", data[:9], zlib.compress(bytes(9))):
        with pytest.raises(DamagedRowsError):
            unpack_rows(bad, 4, 5, 3)
    with pytest.raises(DamagedRowsError, match="filter"):
        unpack_rows(zlib.compress(b"\7" * 4 * 31), 4, 5, 3)
