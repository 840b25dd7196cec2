"""Codebooks: few values, any bits; indices outside are refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.coding.queue.stream import QueueDecoder, QueueEncoder
from laconic.coding.tensors.codebook import LARGEST, Codebook
from laconic.coding.tensors.planes import Layout
from laconic.errors import CorruptFileError

FLOAT = Layout(32, 9)


@settings(deadline=None)
@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=9),
    st.integers(0, 99),
)
def test_every_bit_comes_back(values: list[float], seed: int) -> None:
    """Minus zero and denormals included."""
    rng = np.random.default_rng(seed)
    numbers = rng.choice(np.array(values, np.float32), 80)
    words = numbers.view(np.uint32)
    book = Codebook.of(words, as_floats)
    assert book is not None
    stream = QueueEncoder()
    book.write(stream, FLOAT)
    again = Codebook.read(QueueDecoder(stream.finish()), FLOAT)
    assert np.array_equal(again.values(book.indices(words)), words)


def as_floats(words: np.ndarray) -> np.ndarray:
    return words.view(np.float32)


def test_zero_stands_at_zero_and_larger_values_further_off() -> None:
    numbers = np.array([0.0, -1.5, 0.25, 3.0, -0.5] * 9, np.float32)
    book = Codebook.of(numbers.view(np.uint32), as_floats)
    assert book is not None
    assert book.indices(numbers.view(np.uint32))[:5].tolist() == [0, -2, 1, 2, -1]


def test_many_or_broken_values_are_no_codebook() -> None:
    many = np.arange(5 * LARGEST, dtype=np.float32)
    assert Codebook.of(many.view(np.uint32), as_floats) is None
    late = np.concatenate([np.zeros(1 << 15, np.float32), many])
    assert Codebook.of(late.view(np.uint32), as_floats) is None
    broken = np.array([np.nan, 1.0] * 20, np.float32)
    assert Codebook.of(broken.view(np.uint32), as_floats) is None
    short = np.zeros(3, np.float32)
    assert Codebook.of(short.view(np.uint32), as_floats) is None


def test_indices_outside_are_damage() -> None:
    numbers = np.array([0.0, 1.0] * 9, np.float32)
    book = Codebook.of(numbers.view(np.uint32), as_floats)
    assert book is not None
    for index in (-1, 2):
        with pytest.raises(CorruptFileError):
            book.values(np.array([index]))
