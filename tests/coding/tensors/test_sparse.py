"""The accounting of the literature: the source's example, optimal codes, and where bits go."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laconic.coding.tensors.sparse import Rows, count_sparse, huffman_bits, huffman_lengths

EXAMPLE = [[0, 0, 0, 1], [0, 2, 0, 0], [0, 0, 0, 0], [2, 5, 0, 0], [0, 0, 0, 1]]


def test_the_sources_example() -> None:
    """Ullrich 9.2: A, IR and IC of a matrix of five rows."""
    rows = Rows.of(EXAMPLE)
    assert rows.values.tolist() == [1, 2, 2, 5, 1]
    assert rows.starts.tolist() == [0, 1, 2, 2, 4, 5]
    assert rows.columns.tolist() == [3, 1, 0, 1, 3]


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=40))
def test_huffman_codes_are_complete_and_near_the_entropy(counts: list[int]) -> None:
    lengths = huffman_lengths(counts)
    share = np.array(counts) / sum(counts)
    entropy = -(share * np.log2(share)).sum()
    if len(counts) > 1:
        assert (0.5**lengths).sum() == 1
    assert entropy - 1e-9 <= float(share @ lengths) <= entropy + 1


def test_huffman_codes_of_known_counts() -> None:
    assert sorted(huffman_lengths([5, 9, 12, 13, 16, 45]).tolist()) == [1, 3, 3, 3, 4, 4]
    assert huffman_bits([7, 7, 7]) == 3
    assert huffman_bits([]) == 0


def test_long_gaps_are_bridged() -> None:
    """Gaps 3 and 20 with 3 bits: 20 = 7 + 1, 7 + 1, 4, two fillers."""
    row = np.zeros((1, 30), np.int64)
    row[0, 3], row[0, 24] = 1, 1
    bits = count_sparse(row, gap_bits=3)
    assert bits.values == huffman_bits([1, 1, 0, 0])
    assert bits.gaps == huffman_bits([3, 4, 7, 7])
    assert bits.rows == 2 * 3
    assert bits.codebook == 32
    assert bits.total == bits.values + bits.gaps + 6 + 32


def test_nothing_costs_next_to_nothing() -> None:
    assert count_sparse(np.zeros((3, 4))).total == 4
    assert count_sparse(np.zeros(0)).total == 2


@pytest.mark.parametrize(("density", "rate"), [(0.25, 17.2), (0.074, 43.5), (0.02, 115)])
def test_rates_of_random_networks(density: float, rate: float) -> None:
    """LeNet-300-100's shapes with 16 values, all alike: below the entropy's rate, as known."""
    generator = np.random.default_rng(0)
    bits, entropy = 0, 0.0
    for shape in ((300, 784), (100, 300), (10, 100)):
        q = generator.choice([*range(-8, 0), *range(1, 9)], size=shape)
        q[generator.random(shape) > density] = 0
        bits += count_sparse(q).total
        share = np.array([1 - density, *[density / 16] * 16])
        entropy += -(share * np.log2(share)).sum() * q.size
    assert bits > entropy
    assert 32 * 266_200 / bits == pytest.approx(rate, rel=0.03)
