"""A linear Gaussian ladder, whose exact posteriors are known: the net length is -log2 p(x).

z_2 ~ N(0, 1); z_1 = r z_2 + sqrt(1 - r²) e; x = 128 + 20 z_1 + 10 e, rounded: so x ~ N(128, 500).
All means are computed in integers, as a codec's must be.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from laconic.coding.bits_back import BitsBack, BitSwap
from laconic.coding.stack.ans import IntArray, Stack, StackEmpty
from laconic.coding.stack.normal_bins import NormalBins
from laconic.coding.stack.pixels import GaussianMixture
from laconic.coding.stack.symbols import Codec, Uniform
from laconic.errors import CodingError, CorruptFileError, LaconicError
from laconic.testing.stacks import check_draw, check_inverse, seeded_stack

BITS = 12
SIZE = 60
R = 0.8


def units(value: float) -> int:
    return round(65536 * value)


def normal(means: IntArray, variance: float, bits: int = BITS) -> Codec[IntArray]:
    return NormalBins(means, np.full(means.shape, units(np.log(variance) / 2)), bits)


def scaled(values: IntArray, factor: float) -> IntArray:
    return (values * units(factor)) >> 16


def value(bins: IntArray, bits: int = BITS) -> IntArray:
    return NormalBins.centres(bins, bits)


def pixels(means: IntArray, variance: float) -> Codec[IntArray]:
    spread = np.full((means.size, 1), units(np.log(variance) / 2))
    return GaussianMixture(np.zeros_like(spread), means[:, None] + units(128), spread)


def likelihood(z1: IntArray) -> Codec[IntArray]:
    return pixels(20 * value(z1), 100)


def posterior(x: IntArray) -> Codec[IntArray]:
    """q(z_1 | x) = N((x - 128) 20 / 500, 1 / 5)."""
    return normal(scaled((x - 128) << 16, 0.04), 0.2)


def one_level() -> BitsBack[Stack, IntArray, IntArray]:
    return BitsBack(Uniform.of_bits(BITS, SIZE), posterior, likelihood)


def swapped() -> BitSwap[Stack]:
    return BitSwap(
        Uniform.of_bits(BITS, SIZE),
        [posterior, lambda z1: normal(scaled(value(z1), R), 1 - R**2)],
        [likelihood, lambda z2: normal(scaled(value(z2), R), 1 - R**2)],
    )


LevelCodec = Callable[[int, list[IntArray]], Codec[IntArray]]


class TopDown:
    """Both latents, top first; each level's codec is made from the latents above it."""

    def __init__(self, codec: LevelCodec) -> None:
        self.codec = codec

    def push(self, stack: Stack, latents: list[IntArray]) -> None:
        for level in (1, 0):
            self.codec(level, latents[:level]).push(stack, latents[level])

    def pop(self, stack: Stack) -> list[IntArray]:
        latents: list[IntArray] = []
        for level in (0, 1):
            latents.append(self.codec(level, latents).pop(stack))
        return latents


def plain() -> BitsBack[Stack, IntArray, list[IntArray]]:
    """The same model by top-down inference: q(z_2 | x), then q(z_1 | z_2, x)."""
    spread = 1 - R**2
    joined = 1 / (1 / spread + 4)

    def prior(level: int, above: list[IntArray]) -> Codec[IntArray]:
        if level == 0:
            return Uniform.of_bits(BITS, SIZE)
        return normal(scaled(value(above[0]), R), spread)

    def posterior_of(x: IntArray) -> TopDown:
        centred = (x - 128) << 16

        def level_codec(level: int, above: list[IntArray]) -> Codec[IntArray]:
            if level == 0:
                return normal(scaled(centred, 0.04 * R), 0.2 * R**2 + spread)
            mean = scaled(value(above[0]), R * joined / spread) + scaled(centred, 0.2 * joined)
            return normal(mean, joined)

        return TopDown(level_codec)

    return BitsBack(TopDown(prior), posterior_of, lambda latents: likelihood(latents[1]))


def push_chain(stack: Stack, codecs: Sequence[Codec[IntArray]], items: Sequence[IntArray]) -> None:
    """Bits-back with feedback: items on one stack, the last first, so that they pop in order."""
    for codec, item in zip(reversed(codecs), reversed(items), strict=True):
        codec.push(stack, item)


def pop_chain(stack: Stack, codecs: Sequence[Codec[IntArray]]) -> Iterator[IntArray]:
    for codec in codecs:
        yield codec.pop(stack)


CODECS = pytest.mark.parametrize("make", [one_level, swapped, plain])


def data(count: int, seed: int = 0) -> list[IntArray]:
    rng = np.random.default_rng(seed)
    x = np.clip(np.round(rng.normal(128, 500**0.5, (count, SIZE))), 0, 255)
    return list(x.astype(np.int64))


def information(x: IntArray) -> float:
    """-log2 p(x) under the discretised marginal; its difference from N(128, 500) is below 1e-4."""
    edges = (np.stack([x, x + 1]) - 128.5) / 500**0.5
    return float(-np.log2(np.diff(ndtr(edges), axis=0)).sum())


def initial_bits(codec: Codec[IntArray], x: IntArray) -> float:
    """The content of the smallest of a sequence of stacks from which x can be pushed."""
    for words in range(1000):
        stack = seeded_stack(words)
        before = stack.bits
        try:
            codec.push(stack, x)
        except StackEmpty:
            continue
        return before
    raise AssertionError("no stack was large enough")


@CODECS
@pytest.mark.parametrize("heads", [1, 8])
def test_laws(make: Callable[[], Codec[IntArray]], heads: int) -> None:
    for x in data(5):
        check_inverse(make(), x, seeded_stack(200, heads))
        check_draw(make(), seeded_stack(400, heads))


@CODECS
def test_net_length_is_the_negative_elbo(make: Callable[[], Codec[IntArray]]) -> None:
    """With exact posteriors the ELBO is log p(x); bins of 12 bits lose less than 0.2 %."""
    items = data(300)
    stack = seeded_stack(200)
    before = stack.bits
    push_chain(stack, [make()] * len(items), items)
    ideal = sum(information(x) for x in items)
    assert stack.bits - before == pytest.approx(ideal, rel=2e-3)


@CODECS
def test_an_empty_stack_is_refused_and_left_as_it_was(
    make: Callable[[], Codec[IntArray]],
) -> None:
    """No initial bits are invented: every stack that is too small, to the last of its levels."""
    x = data(1)[0]
    needed = initial_bits(make(), x)
    assert needed > 600
    for words in range(int(needed / 28)):
        stack = seeded_stack(words)
        before = stack.to_bytes()
        with pytest.raises(StackEmpty, match="too few"):
            make().push(stack, x)
        assert stack.to_bytes() == before


def test_initial_bits_are_counted() -> None:
    """A chain that begins with images coded without latents: all it cost is in the file."""
    items = data(40)
    direct = pixels(np.zeros(SIZE, np.int64), 500)
    codecs: list[Codec[IntArray]] = [one_level()] * 35 + [direct] * 5
    stack = Stack()
    push_chain(stack, codecs, items)
    ideal = sum(information(x) for x in items)
    written = 8 * len(stack.to_bytes())
    assert ideal * 0.998 < stack.bits < ideal * 1.002
    assert stack.bits <= written < stack.bits + 48
    received = list(pop_chain(stack, codecs))
    assert all((a == b).all() for a, b in zip(received, items, strict=True))
    assert stack.empty


def test_bit_swap_needs_fewer_initial_bits() -> None:
    """Pushed before the second draw, the pixels' -log2 p(x | z_1) need not be there beforehand."""
    pushed = SIZE * np.log2(10 * np.sqrt(2 * np.pi * np.e))
    for x in data(3):
        one, turns, all_first = (initial_bits(make(), x) for make in (one_level, swapped, plain))
        assert one < turns < all_first
        assert all_first - turns == pytest.approx(pushed, abs=2 * 28 + 20)


@CODECS
def test_items_before_a_cut_are_recovered(make: Callable[[], Codec[IntArray]]) -> None:
    items = data(12)
    direct = pixels(np.zeros(SIZE, np.int64), 500)
    codecs: list[Codec[IntArray]] = [make()] * 6 + [direct] * 6
    stack = Stack()
    push_chain(stack, codecs, items)
    whole = stack.to_bytes()
    before = -1
    for length in range(9, len(whole), 16):
        received: list[IntArray] = []
        with pytest.raises(CorruptFileError, match="ends before symbol"):
            received.extend(pop_chain(Stack.from_bytes(whole[:length]), codecs))
        assert all((a == b).all() for a, b in zip(received, items, strict=False))
        assert len(received) >= before
        before = len(received)
    assert before >= 10


@settings(max_examples=40, deadline=None, derandomize=True)
@given(place=st.integers(0, 500), bit=st.integers(0, 7))
def test_damage_ends_in_an_error_or_in_symbols(place: int, bit: int) -> None:
    items = data(10)
    codecs: list[Codec[IntArray]] = [swapped()] * 4 + [pixels(np.zeros(SIZE, np.int64), 500)] * 6
    stack = Stack()
    push_chain(stack, codecs, items)
    damaged = bytearray(stack.to_bytes())
    damaged[place % len(damaged)] ^= 1 << bit
    try:
        for x in pop_chain(Stack.from_bytes(bytes(damaged)), codecs):
            assert x.shape == (SIZE,)
            assert x.min() >= 0
            assert x.max() < 256
    except LaconicError:
        pass


def test_fine_bins_cost_nothing_net() -> None:
    """16 bits a latent or 10: the bits come back, to 0.1 %."""
    items = data(100)
    lengths = []
    for bits in (10, 16):

        def q(x: IntArray, bits: int = bits) -> Codec[IntArray]:
            return normal(scaled((x - 128) << 16, 0.04), 0.2, bits)

        def p(z: IntArray, bits: int = bits) -> Codec[IntArray]:
            return pixels(20 * value(z, bits), 100)

        stack = seeded_stack(200)
        start = stack.bits
        push_chain(stack, [BitsBack(Uniform.of_bits(bits, SIZE), q, p)] * 100, items)
        lengths.append(stack.bits - start)
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-3)


def test_a_ladder_has_as_many_posteriors_as_likelihoods() -> None:
    with pytest.raises(CodingError, match="1 posteriors for 2 likelihoods"):
        BitSwap(Uniform(2, 1), [posterior], [likelihood, likelihood])
