"""PPM files of more than 8 bits a sample."""

import numpy as np
import pytest

from laconic.deep_image.ppm import read_ppm, write_ppm
from laconic.deep_image.rows import DamagedRowsError

SAMPLES = np.random.default_rng(0).integers(0, 65536, (6, 5, 3), np.uint16)


def test_files_come_back() -> None:
    assert np.array_equal(read_ppm(write_ppm(SAMPLES)), SAMPLES)


@pytest.mark.parametrize("largest", [256, 1023, 4095, 65534, 65535])
def test_smaller_ranges_are_stretched_one_to_one(largest: int) -> None:
    values = np.arange(largest + 1)
    head = f"P5 # a comment\n{len(values)} 1\n{largest}\n".encode()
    found = read_ppm(head + values.astype(">u2").tobytes()).reshape(-1).astype(int)
    assert (found[0], found[-1]) == (0, 65535)
    assert (np.diff(found) > 0).all()
    assert np.abs(found - values * 65535 / largest).max() <= 0.5


def test_plain_files() -> None:
    text = b"P3 # colour\n2 1 # size\n65535\n1 2 3 # first\n400 500 65535\n"
    assert read_ppm(text).tolist() == [[[1, 2, 3], [400, 500, 65535]]]
    assert read_ppm(b"P2 2 1 65535\n7 9\n").tolist() == [[[7], [9]]]


@pytest.mark.parametrize(
    "bad",
    [b"", b"P6 1 1 65535\n12345", b"P3 1 1 65535\n1 2", b"P3 1 1 999\n1 2 1000",
     b"P3 1 1 999\n1 x 3", b"P6 1 1 255\n123", b"P6 0 1 65535\n", b"P3 1 1 999\n1 -2 3"],
)  # fmt: skip
def test_damage_is_named(bad: bytes) -> None:
    with pytest.raises(DamagedRowsError):
        read_ppm(bad)
