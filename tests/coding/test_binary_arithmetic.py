"""The coder of bits: they come back, and take about as many bits as their probabilities say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.coding.binary_arithmetic import (
    code_bit,
    finish_writing,
    new_coder,
    start_reading,
)


def write(bits: list[int], chances: list[int]) -> bytes:
    coder, data = new_coder(), np.zeros(2 * len(bits) + 64, np.uint8)
    for bit, chance in zip(bits, chances, strict=True):
        code_bit(coder, data, False, bit, chance)
    finish_writing(coder, data)
    return data[: coder[2]].tobytes()


def read(data: bytes, chances: list[int]) -> list[int]:
    coder, stream = new_coder(), np.frombuffer(data, np.uint8).copy()
    start_reading(coder, stream)
    return [int(code_bit(coder, stream, True, 0, chance)) for chance in chances]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 65535)), max_size=200))
def test_bits_come_back(pairs: list[tuple[int, int]]) -> None:
    bits, chances = [bit for bit, _ in pairs], [chance for _, chance in pairs]
    assert read(write(bits, chances), chances) == bits


@pytest.mark.parametrize("chance", [1, 700, 32768, 65535])
def test_the_length_is_that_of_the_probabilities(chance: int) -> None:
    bits = (np.random.default_rng(chance).random(5000) < chance / 65536).astype(int).tolist()
    ideal = sum(-np.log2(chance / 65536 if bit else 1 - chance / 65536) for bit in bits)
    assert 8 * len(write(bits, [chance] * len(bits))) <= 1.001 * ideal + 40


def test_bytes_that_do_not_fit_are_counted() -> None:
    coder, data = new_coder(), np.zeros(3, np.uint8)
    for bit in [0, 1] * 100:
        code_bit(coder, data, False, bit, 32768)
    finish_writing(coder, data)
    assert coder[2] == 200 // 8 + 4
