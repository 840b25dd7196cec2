import constriction
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.coding.queue.stream import AdaptiveModel, QueueDecoder, QueueEncoder
from laconic.errors import CodingError, CorruptFileError, LaconicError


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    small=st.lists(st.integers(0, 9), max_size=200),
    wide=st.lists(st.integers(0, 2**40 - 1), max_size=20),
    number=st.integers(0, 2**48 - 2),
    medium=st.lists(st.integers(0, 2**32 - 3), max_size=50),
)
def test_what_goes_in_comes_out(
    small: list[int], wide: list[int], number: int, medium: list[int]
) -> None:
    counts = np.arange(1, 11)
    encoder = QueueEncoder()
    encoder.adaptive(small, AdaptiveModel(10))
    encoder.table(small, counts)
    encoder.fixed(wide, 40)
    encoder.integer(number)
    encoder.integers(medium)
    encoder.uniform(small, 10)
    decoder = QueueDecoder(encoder.finish())
    assert decoder.adaptive(len(small), AdaptiveModel(10)).tolist() == small
    assert decoder.table(len(small), counts).tolist() == small
    assert decoder.fixed(len(wide), 40).tolist() == wide
    assert decoder.integer(number) == number
    assert decoder.integers(len(medium), 2**32).tolist() == medium
    assert decoder.uniform(len(small), 10).tolist() == small
    assert decoder.bits == pytest.approx(encoder.bits)


def test_length_is_the_information() -> None:
    encoder = QueueEncoder()
    encoder.uniform(np.arange(1000), 1000)
    encoder.table(np.arange(1000) % 2, [1, 3])
    assert encoder.bits == pytest.approx(1000 * np.log2(1000) + 500 * 2 + 500 * np.log2(4 / 3))
    assert encoder.bits - 1 <= 8 * len(encoder.finish()) <= 1.001 * encoder.bits + 64


def test_adaptive_counts_approach_the_entropy() -> None:
    symbols = (np.arange(20000) * 7919 % 100 < 5).astype(np.int64)
    encoder = QueueEncoder()
    encoder.adaptive(symbols, AdaptiveModel(16))
    entropy = -(0.05 * np.log2(0.05) + 0.95 * np.log2(0.95))
    assert encoder.bits < 1.05 * 20000 * entropy


def test_golden_bytes() -> None:
    encoder = QueueEncoder()
    encoder.adaptive([0, 1, 2, 3, 3, 3, 3, 3, 3, 2], AdaptiveModel(4))
    encoder.integer(1000)
    encoder.uniform([5, 6], [7, 11])
    assert encoder.finish().hex() == "2b9dff1bd8c8bd91"


def test_reading_past_the_end_is_noticed() -> None:
    decoder = QueueDecoder(b"abcdefgh")
    with pytest.raises(CorruptFileError, match="too early"):
        decoder.fixed(1000, 16)


@pytest.mark.parametrize(
    "write",
    [
        lambda e: e.uniform([5], 5),
        lambda e: e.uniform([-1], 5),
        lambda e: e.uniform([0], 65537),
        lambda e: e.table([2], [1, 1]),
        lambda e: e.table([0], [1, 0]),
        lambda e: e.fixed([4], 2),
        lambda e: e.integer(-1),
        lambda e: e.integer(2**48 - 1),
        lambda e: e.integers([2**32 - 2]),
        lambda e: e.adaptive([7], AdaptiveModel(5)),
        lambda e: AdaptiveModel(0),
    ],
)
def test_the_impossible_is_refused(write) -> None:  # noqa: ANN001
    with pytest.raises(CodingError):
        write(QueueEncoder())


def test_counts_are_bounded_by_the_caller() -> None:
    encoder = QueueEncoder()
    encoder.integer(1000)
    encoder.integers([3, 99])
    data = encoder.finish()
    with pytest.raises(CorruptFileError, match="at most 999"):
        QueueDecoder(data).integer(999)
    decoder = QueueDecoder(data)
    decoder.integer(1000)
    with pytest.raises(CorruptFileError, match="above 98"):
        decoder.integers(2, 98)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(data=st.binary(max_size=40))
def test_arbitrary_bytes_raise_only_our_errors(data: bytes) -> None:
    decoder = QueueDecoder(data)
    try:
        decoder.adaptive(20, AdaptiveModel(30))
        decoder.integers(decoder.integer(50), 1000)
        decoder.uniform(20, [3] * 20)
        decoder.table(1000, [1, 10000])
    except LaconicError:
        pass


def theirs(parts: list[tuple[np.ndarray, object]]) -> bytes:
    """What constriction's coder writes; our first files were its."""
    coder = constriction.stream.queue.RangeEncoder()
    for symbols, model in parts:
        coder.encode(symbols.astype(np.int32), model)
    data = coder.get_compressed().astype("<u4").tobytes()
    return data[:-4] + data[-4:].rstrip(b"\0")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(2, 300), st.integers(1, 3000))
def test_bytes_are_those_of_constriction(seed: int, size: int, largest: int) -> None:
    """Tables and uniform alphabets, in turn."""
    generator, encoder = np.random.default_rng(seed), QueueEncoder()
    model, parts = constriction.stream.model, []
    for _ in range(4):
        counts = generator.integers(1, largest + 1, size)
        symbols = generator.choice(size, p=counts / counts.sum(), size=100)
        encoder.table(symbols, counts)
        table = model.Categorical(counts.astype(np.float32), perfect=False)
        numbers = generator.integers(0, size, 100)
        encoder.uniform(numbers, size)
        parts += [(symbols, table), (numbers, model.Uniform(size))]
    assert encoder.finish() == theirs(parts)


@pytest.mark.parametrize("last", [0, 1, 2])
@pytest.mark.parametrize("count", [0, 1, 20, 21, 100, 500])
def test_carries_run_through_many_words(count: int, last: int) -> None:
    """The middle one of three, over and over: all of it stays about one half, 0111... or 1000..."""
    numbers = np.array([1] * count + [last])
    encoder = QueueEncoder()
    encoder.uniform(numbers, 3)
    data = encoder.finish()
    assert data == theirs([(numbers, constriction.stream.model.Uniform(3))])
    assert QueueDecoder(data).uniform(count + 1, 3).tolist() == numbers.tolist()
