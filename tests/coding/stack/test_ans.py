import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from laconic.coding.stack.ans import PRECISION, TOTAL, Stack
from laconic.coding.stack.kernels import place_of, take
from laconic.coding.stack.symbols import Categorical, Uniform
from laconic.errors import CodingError, ConfigError, CorruptFileError
from laconic.testing.stacks import check_draw, check_inverse, seeded_stack

every_heads = pytest.mark.parametrize("heads", [1, 3, 8])

Array = np.ndarray


@njit
def pop_known(
    heads: Array, words: Array, count: int, inside: Array, starts: Array, sizes: Array
) -> int:
    """Take intervals that are known; `inside` says whether the head's place was in each."""
    head = 0
    for i in range(inside.size):
        offset = place_of(heads, head) - starts[i]
        inside[i] = np.int64(offset >= 0) * np.int64(offset < sizes[i])
        count = take(heads, words, count, head, starts[i], sizes[i])
        if count < 0:
            return -1 - i
        head = (head + 1) % heads.size
    return count


def pop_intervals(stack: Stack, intervals: Array) -> bool:
    inside = np.zeros(len(intervals), np.int64)
    stack.pop(pop_known, inside, intervals[:, 0].copy(), intervals[:, 1].copy())
    return bool(inside.all())


def skewed(count: int, seed: int = 0) -> tuple[Categorical, Array]:
    """A codec of very unequal symbols, and symbols that do not follow it."""
    symbols = np.random.default_rng(seed).choice(6, count, p=[0.1, 0.1, 0.1, 0.5, 0.1, 0.1])
    return Categorical([1, 3, 50, 10**6, 400, 1], np.zeros(count, np.int64)), symbols


@every_heads
def test_a_new_stack_is_empty_and_refuses(heads: int) -> None:
    stack = Stack(heads)
    assert stack.empty
    assert stack.bits == stack.available_bits == 0
    assert stack.to_bytes() == bytes.fromhex("0100000000") * heads
    with pytest.raises(CorruptFileError, match="symbol 0 of 5"):
        Uniform(2, 5).pop(stack)
    assert stack.empty


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    batches=st.lists(
        st.lists(
            st.integers(0, TOTAL - 1).flatmap(
                lambda start: st.tuples(st.just(start), st.integers(1, TOTAL - start))
            ),
            min_size=1,
            max_size=60,
        ),
        max_size=4,
    ),
    heads=st.integers(1, 9),
    seeded=st.integers(0, 50),
)
def test_any_intervals_come_back(
    batches: list[list[tuple[int, int]]], heads: int, seeded: int
) -> None:
    stack = seeded_stack(seeded, heads)
    states = [stack.to_bytes()]
    for batch in batches:
        intervals = np.array(batch)
        stack.push(intervals[:, 0], intervals[:, 1])
        states.append(stack.to_bytes())
    stack = Stack.from_bytes(states.pop(), heads)
    for batch in reversed(batches):
        assert pop_intervals(stack, np.array(batch))
        assert stack.to_bytes() == states.pop()


@every_heads
def test_length_is_the_information(heads: int) -> None:
    rng = np.random.default_rng(0)
    sizes = (TOTAL * rng.uniform(0, 1, 50000) ** 3).astype(np.int64) + 1
    stack = Stack(heads)
    stack.push((TOTAL - sizes) // 2, sizes)
    information = (PRECISION - np.log2(sizes)).sum()
    assert stack.bits == pytest.approx(information, rel=1e-4)
    assert 0 <= 8 * len(stack.to_bytes()) - information < heads * 48 + 1e-4 * information


def test_certain_symbols_are_free() -> None:
    stack = seeded_stack()
    before = stack.to_bytes()
    stack.push([0] * 1000, [TOTAL] * 1000)
    assert stack.to_bytes() == before


@every_heads
def test_bytes_round_trip(heads: int) -> None:
    for symbols in (0, 1, 2, 7, 8, 9, 100):
        stack = seeded_stack(symbols, heads)
        data = stack.to_bytes()
        again = Stack.from_bytes(data, heads)
        assert again.to_bytes() == data
        assert again.bits == stack.bits
        assert len(data) <= stack.bits / 8 + heads * 5.5


@every_heads
def test_a_cut_raises_at_the_symbol_that_needs_what_is_missing(heads: int) -> None:
    """At every length what pops first is right, and more bytes never give fewer symbols."""
    codec, symbols = skewed(300)
    stack = Stack(heads)
    codec.push(stack, symbols)
    data = stack.to_bytes()
    most = 0
    for length in range(len(data)):
        try:
            cut = Stack.from_bytes(data[:length], heads)
        except CorruptFileError:
            assert length < 9 * heads
            continue
        before = cut.to_bytes()
        with pytest.raises(CorruptFileError, match="ends before symbol") as caught:
            codec.pop(cut)
        assert cut.to_bytes() == before
        popped = int(str(caught.value).split("symbol ")[1].split(" of")[0])
        if popped:
            first = Categorical([1, 3, 50, 10**6, 400, 1], np.zeros(popped, np.int64))
            assert first.pop(cut).tolist() == symbols[:popped].tolist()
        with pytest.raises(CorruptFileError):
            Uniform(TOTAL, 100 * heads).pop(cut)
        assert popped >= most
        most = popped
    assert most > 280


def test_garbage_is_refused_or_pops_to_an_end() -> None:
    rng = np.random.default_rng(0)
    for length in range(40):
        data = rng.integers(0, 256, length, np.uint8).tobytes()
        with pytest.raises(CorruptFileError):
            Uniform(2, 1000).pop(Stack.from_bytes(data, 2))


@every_heads
def test_bits_can_be_drawn_and_given_back(heads: int) -> None:
    codec, _ = skewed(200)
    check_draw(codec, seeded_stack(300, heads))
    check_draw(Uniform(1000, 50), seeded_stack(100, heads))


@every_heads
def test_what_is_said_to_be_available_can_be_popped(heads: int) -> None:
    for symbols in range(1, 60):
        stack = seeded_stack(symbols, heads)
        assert stack.available_bits <= stack.bits + 1e-9
        for bits in (1, 3, 8):
            start = stack.snapshot()
            Uniform.of_bits(bits, int(stack.available_bits / (bits + 0.09))).pop(stack)
            stack.restore(start)
            with pytest.raises(CorruptFileError):
                Uniform.of_bits(bits, 1 + int(stack.bits / (bits - 0.09))).pop(stack)


def test_with_one_head_everything_is_available() -> None:
    stack = seeded_stack(20)
    assert stack.available_bits == pytest.approx(stack.bits, abs=1e-9)
    assert stack.bits == pytest.approx(560, abs=0.2)
    Uniform.of_bits(8, 69).pop(stack)
    assert stack.bits == pytest.approx(8, abs=0.5)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    moves=st.lists(st.tuples(st.sampled_from(["push", "pop", "mark"]), st.integers(1, 40))),
    heads=st.sampled_from([1, 4]),
)
def test_snapshots_go_back(moves: list[tuple[str, int]], heads: int) -> None:
    stack = seeded_stack(60, heads)
    marks = [(stack.snapshot(), stack.to_bytes())]
    for move, count in moves:
        if move == "push":
            stack.push(np.arange(count) * 1000, np.full(count, 77))
        elif move == "mark":
            marks.append((stack.snapshot(), stack.to_bytes()))
        elif stack.available_bits > 29 * count:
            Uniform(TOTAL, count).pop(stack)
    for snapshot, data in reversed(marks):
        stack.restore(snapshot)
        assert stack.to_bytes() == data


def test_a_snapshot_is_of_one_stack() -> None:
    with pytest.raises(CodingError, match="another stack"):
        Stack().restore(Stack().snapshot())


@pytest.mark.parametrize(
    ("starts", "sizes"),
    [([0], [0]), ([TOTAL], [1]), ([1], [TOTAL]), ([0, 1], [1]), ([5], [2**32 - 3])],
)
def test_impossible_intervals_are_refused(starts: list[int], sizes: list[int]) -> None:
    stack = Stack()
    with pytest.raises(CodingError, match="intervals"):
        stack.push(starts, sizes)
    assert stack.empty


def test_a_stack_needs_a_head() -> None:
    with pytest.raises(ConfigError):
        Stack(0)


def test_golden_bytes() -> None:
    stack = Stack(2)
    codec, symbols = skewed(20)
    assert check_inverse(codec, symbols, stack) > 100
    codec.push(stack, symbols)
    assert stack.to_bytes().hex() == (
        "40a68f845e045013d000152f3000008078a8fe2f9a4643bd090100805f957c64300100c0"
    )
