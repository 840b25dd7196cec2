import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.coding.stack.ans import TOTAL, Stack
from laconic.coding.stack.symbols import (
    Bernoulli,
    Categorical,
    Serial,
    Uniform,
    alphabet,
    parameters,
)
from laconic.errors import CodingError
from laconic.testing.stacks import check_draw, check_inverse, seeded_stack

laws = settings(max_examples=50, deadline=None, derandomize=True)
many_heads = st.sampled_from([1, 2, 8])


@laws
@given(
    parts=st.lists(
        st.integers(1, 65536).flatmap(
            lambda size: st.tuples(st.just(size), st.integers(0, size - 1))
        ),
        min_size=1,
        max_size=50,
    ),
    heads=many_heads,
)
def test_uniform(parts: list[tuple[int, int]], heads: int) -> None:
    sizes, symbols = (np.array(part) for part in zip(*parts, strict=True))
    codec = Uniform(sizes, sizes.size)
    length = check_inverse(codec, symbols, seeded_stack(10, heads))
    assert length == pytest.approx(np.log2(sizes).sum(), abs=0.09 * sizes.size)
    check_draw(codec, seeded_stack(100, heads))


@pytest.mark.parametrize("size", [1, 2, 3, 1000, 65535, 65536])
def test_every_symbol_of_a_uniform_alphabet(size: int) -> None:
    symbols = np.arange(size)
    length = check_inverse(Uniform(size, size), symbols, Stack())
    assert length == pytest.approx(size * np.log2(size), rel=1e-4, abs=0.2)


def test_wide_uniform() -> None:
    symbols = np.array([0, TOTAL - 1, 12345678])
    length = check_inverse(Uniform.of_bits(28, 3), symbols, seeded_stack())
    assert length == pytest.approx(84, abs=0.2)


@laws
@given(
    tables=st.lists(
        st.lists(st.integers(1, 1 << 20), min_size=5, max_size=5), min_size=1, max_size=4
    ),
    symbols=st.lists(st.integers(0, 4), max_size=50),
    heads=many_heads,
)
def test_categorical(tables: list[list[int]], symbols: list[int], heads: int) -> None:
    rows = np.arange(len(symbols)) % len(tables)
    codec = Categorical(tables, rows)
    length = check_inverse(codec, symbols, seeded_stack(10, heads))
    counts = np.array(tables)
    share = counts[rows, symbols] / counts.sum(1)[rows] if symbols else np.ones(1)
    rounding = (np.log2(1 + 2 / (share * TOTAL)) + 0.09).sum()
    assert length == pytest.approx(-np.log2(share).sum(), abs=rounding)
    check_draw(codec, seeded_stack(200, heads))


def test_every_category_has_an_interval() -> None:
    counts = np.ones((2, 1000), np.int64)
    counts[0, 500] = TOTAL - 999
    counts[1, 0] = 12345
    for row in range(2):
        codec = Categorical(counts, np.full(1000, row))
        check_inverse(codec, np.arange(1000), seeded_stack())


def test_bernoulli_length() -> None:
    rng = np.random.default_rng(0)
    logits = np.round(65536 * rng.normal(0, 3, 100000)).astype(np.int32)
    one = 1 / (1 + np.exp(-logits / 65536))
    symbols = (rng.uniform(size=logits.size) < one).astype(np.int64)
    information = -np.log2(np.where(symbols == 1, one, 1 - one)).sum()
    for heads in (1, 8):
        length = check_inverse(Bernoulli(logits), symbols, Stack(heads))
        assert length == pytest.approx(information, rel=1e-3)


@laws
@given(logits=st.lists(st.integers(-(2**62), 2**62), max_size=50), heads=many_heads, data=st.data())
def test_bernoulli(logits: list[int], heads: int, data: st.DataObject) -> None:
    count = len(logits)
    symbols = data.draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    codec = Bernoulli(np.array(logits, np.int64))
    length = check_inverse(codec, symbols, seeded_stack(10, heads))
    assert length <= 28.1 * count
    check_draw(codec, seeded_stack(100, heads))


def test_bernoulli_keeps_its_shape() -> None:
    stack = seeded_stack()
    codec = Bernoulli(np.zeros((3, 4, 5), np.int32))
    assert codec.pop(stack).shape == (3, 4, 5)


def test_serial() -> None:
    codec = Serial([Uniform(10, 3), Serial([Bernoulli([0, 0]), Uniform(7, 1)])])
    symbols = [[1, 9, 4], [[0, 1], [6]]]
    stack = seeded_stack()
    check_inverse(codec, symbols, stack)
    check_draw(codec, stack)
    codec.push(stack, symbols)
    assert Uniform(10, 3).pop(stack).tolist() == [1, 9, 4]
    with pytest.raises(CodingError, match="1 parts for 2 codecs"):
        codec.push(stack, [[1]])


def test_what_cannot_be_written_is_refused() -> None:
    stack = Stack()
    cases = [
        (Uniform(10, 2), [0, 10]),
        (Uniform(10, 2), [-1, 0]),
        (Uniform([3, 4], 2), [3, 3]),
        (Uniform(10, 2), [1]),
        (Categorical([1, 2], [0]), [2]),
        (Bernoulli([0]), [2]),
    ]
    for codec, symbols in cases:
        with pytest.raises(CodingError):
            codec.push(stack, symbols)
    assert stack.empty


def test_impossible_distributions_are_refused() -> None:
    for make in (
        lambda: Uniform(0, 1),
        lambda: Uniform(65537, 1),
        lambda: Uniform(1 << 29, 1),
        lambda: Uniform([2, 2], 3),
        lambda: Categorical([1, 0], [0]),
        lambda: Categorical([TOTAL, 1], [0]),
        lambda: Categorical([1, 1], [1]),
        lambda: Bernoulli([0.5]),
    ):
        with pytest.raises(CodingError):
            make()


def test_parameters_are_integers_of_32_bits() -> None:
    values = parameters(np.array([-(2**40), 7, 2**40]))
    assert values.dtype == np.int32
    assert values.tolist() == [1 - 2**31, 7, 2**31 - 1]
    assert alphabet(np.uint8([1, 2]), (2, 1), 3).tolist() == [[1], [2]]
