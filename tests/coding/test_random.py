import math

import numpy as np
import pytest
from scipy.special import ndtri

from laconic.coding.random import SharedRandomness, philox, quantile_table, ranked_normals


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_random123s_known_answers(
    counter: tuple[int, ...], key: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    words = philox(*(np.uint32(word) for word in counter + key))
    assert tuple(int(word) for word in words) == expected


def test_words_are_the_counters() -> None:
    assert SharedRandomness(0).bits(0, 4).tolist() == [
        0x6627E8D5,
        0xE169C58D,
        0xBC57AC4C,
        0x9B00DBD8,
    ]


@pytest.mark.parametrize("start", [0, 1, 3, 4, 1001, 2**34 + 3])
def test_any_part_can_be_made_by_itself(start: int) -> None:
    shared = SharedRandomness(11).child(4)
    assert (shared.bits(start, 9) == shared.bits(start - start % 4, 16)[start % 4 :][:9]).all()
    assert (shared.normals(start, 9) == shared.normals_at(np.arange(start, start + 9))).all()
    assert shared.normals(start, 0).size == 0


def test_the_quantile_file_is_what_it_says() -> None:
    cell = (np.arange(32768) + 0.5) / 32768
    for level, row in enumerate(quantile_table()):
        expected = -ndtri(0.5 * 2.0 ** (-7 * level) * (1 - cell))
        np.testing.assert_array_max_ulp(row, expected.astype(np.float32), 1)
        assert (np.diff(row) > 0).all()


def test_normals_have_normal_moments() -> None:
    x = SharedRandomness(2).normals(0, 1_000_000).astype(np.float64)
    # Five standard errors of each moment.
    assert abs(x.mean()) < 5e-3
    assert abs((x**2).mean() - 1) < 5 * 2**0.5 * 1e-3
    assert abs((x**4).mean() - 3) < 5 * 96**0.5 * 1e-3
    assert 4.2 < np.abs(x).max() < 6.3


def test_children_differ() -> None:
    shared = SharedRandomness(2)
    streams = {shared.child(i).child(j).stream for i in range(30) for j in range(30)}
    assert len(streams) == 900
    assert SharedRandomness(3).child(1) != shared.child(1)
    a, b = shared.child(1).normals(0, 100_000), shared.child(2).normals(0, 100_000)
    assert abs(float(np.corrcoef(a, b)[0, 1])) < 5 / 100_000**0.5


def test_uniforms_lie_inside() -> None:
    u = SharedRandomness(5).uniforms(0, 100_000)
    assert 0 < u.min() < u.max() < 1
    assert abs(u.mean() - 0.5) < 5 * (1 / 12 / 100_000) ** 0.5


def test_ranked_normals_rise_and_have_the_right_ranks() -> None:
    ranks = np.unique(
        np.r_[np.linspace(0, 2**32 - 1, 4001), 2.0 ** np.arange(32)].astype(np.uint32)
    )
    normals = ranked_normals(ranks).astype(np.float64)
    assert (np.diff(normals) >= 0).all()
    assert np.array_equal(normals, -ranked_normals(~ranks).astype(np.float64))
    # Cells are 2^-16 of the mass wide in the body, and finer in the tails.
    masses = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in normals])
    assert np.abs(masses - (ranks + 0.5) / 2**32).max() < 2**-16


def test_ranked_normals_are_the_same_cells_as_the_stream_draws_from() -> None:
    words = SharedRandomness(3).bits(0, 1000)
    upper = words >> 31 == 0
    ranks = np.where(upper, words ^ np.uint32(1 << 31), ~words)
    assert np.array_equal(ranked_normals(ranks), SharedRandomness(3).normals(0, 1000))
