"""Levels: values that do not occur take no bits, whatever the law; and the choice for 16 bits."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from laconic.codecs.lossless.direct.choice import choose
from laconic.codecs.lossless.direct.levels import Levels, choose_levels
from laconic.codecs.lossless.direct.plain import Plain
from laconic.codecs.lossless.direct.png import Png
from laconic.codecs.lossless.direct.predicted import Predicted
from laconic.errors import CorruptFileError

RNG = np.random.default_rng(0)
Deep = NDArray[np.uint16]


def photo(bits: int, height: int = 60, width: int = 70, channels: int = 3) -> Deep:
    """A photograph's statistics: smooth, with noise of about 1 / 200."""
    row, column, channel = np.indices((height, width, channels))
    waves = 0.5 + np.sin(row / 9 + channel) * 0.2 + np.cos(column / 7) * 0.2
    noisy = waves + RNG.normal(0, 0.005, waves.shape)
    return (np.clip(noisy, 0, 1) * (2**bits - 1)).astype(np.uint16)


LAWS: dict[str, Callable[[Deep, int], Deep]] = {
    "shifted": lambda v, bits: v << (16 - bits),
    "repeated": lambda v, bits: v << (16 - bits) | v >> (2 * bits - 16),
    "rounded": lambda v, bits: (v.astype(np.int64) * 65535 + 2 ** (bits - 1)) // (2**bits - 1),
    "rounded down": lambda v, bits: v.astype(np.int64) * 65535 // (2**bits - 1),
}


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("law", LAWS)
def test_unused_bits_take_no_bytes(law: str, bits: int) -> None:
    values = photo(bits)
    stretched = LAWS[law](values, bits).astype(np.uint16)
    found = choose(stretched)
    assert (choose(values).size if bits > 8 else found.size) * 1.02 + 64 >= found.size
    assert found.method == Levels.number
    assert found.size < 0.9 * len(Predicted().encode(stretched, 5) or b"")


def test_any_sparse_histogram_has_levels() -> None:
    curve = np.sort(RNG.choice(65536, (3, 256), replace=False), axis=1).astype(np.uint16)
    values = photo(8, 200, 200)
    curved = np.stack([curve[k][values[..., k]] for k in range(3)], 2)
    choice = choose_levels(curved)
    assert choice is not None
    assert choice.sharing == 1
    data = Levels().encode(curved, 5)
    assert data is not None
    assert len(data) < len(Levels().encode(values * np.uint16(257), 5) or b"") + 3 * 400
    assert np.array_equal(Levels().decode(data, 200, 200, 3, 16), curved)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 4), st.integers(0, 99), st.sampled_from([1, 16, 257, 4096]))
def test_levels_come_back(channels: int, seed: int, factor: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 65536, (9, 8, channels))
    samples = (noise // factor * factor).astype(np.uint16)
    data = Levels().encode(samples, 5)
    assert data is not None
    assert np.array_equal(Levels().decode(data, 9, 8, channels, 16), samples)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\1\0\0\0\0", "before it"),  # The first channel has those of another.
        (b"\0\0\0\0\7\1", "8 or 16"),
        (b"\0\0\0\5abcde\x10\1", "damaged"),
        (b"\3\0\0\1\0\x10\1", "."),
    ],
)
def test_damage_is_named(data: bytes, words: str) -> None:
    with pytest.raises(CorruptFileError, match=words):
        Levels().decode(data, 2, 2, 3, 16)


def test_a_file_takes_no_more_bytes_than_png() -> None:
    tile = RNG.integers(0, 65536, (32, 32, 3), np.uint16)
    pictures = {
        "photo": photo(16),
        "few colours": photo(2) * np.uint16(999),
        "repeats": np.tile(tile, (6, 6, 1)),
        "flat": np.full((50, 60, 4), 700, np.uint16),
        "noise": RNG.integers(0, 65536, (50, 60, 4), np.uint16),
        "grey and alpha": photo(12, channels=2),
    }
    for name, samples in pictures.items():
        found = choose(samples)
        png = Png().encode(samples, 5)
        assert png is not None
        assert found.size <= len(png), name
        assert found.size <= samples.nbytes, name
        assert not found.try_model
    assert choose(pictures["repeats"]).method == Png.number
    assert choose(pictures["photo"]).method in (Predicted.number, Levels.number)
    assert choose(pictures["noise"]).method == Plain.number
