"""The map of rates: what is encoded is decoded, and it adds up to what was wanted."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal

from laconic.coding.queue.stream import QueueDecoder, QueueEncoder
from laconic.coding.relative_entropy import rate_map
from laconic.distributions.rated import RatedNormal
from laconic.errors import CorruptFileError
from laconic.testing.checks import ladder_pair, rated

SHAPES = st.sampled_from([(0,), (1,), (7,), (1, 3, 5, 9), (2, 4, 16, 16), (300,)])


@settings(deadline=None)
@given(SHAPES, st.integers(0, 100), st.booleans(), st.floats(0, 1000))
def test_both_sides_have_the_same_rates(
    shape: tuple[int, ...], seed: int, says: bool, budget: float
) -> None:
    generator = np.random.default_rng(seed)
    plain = ladder_pair(shape, seed)[1]
    prior = rated(plain) if says else plain
    bits = generator.exponential(size=shape) * 10.0 ** generator.integers(-5, 3)
    stream = QueueEncoder()
    written = rate_map.write(stream, bits, budget, prior)
    assert written.shape == (bits.size,)
    assert bool((written >= 0).all())
    assert np.array_equal(rate_map.read(QueueDecoder(stream.finish()), prior), written)


@pytest.mark.parametrize("gain", [0.1, 0.5, 1.0, 1.5])
def test_factors_add_up_to_the_wanted_bits(gain: float) -> None:
    """Within 1 %, whatever the quarter octaves of single classes."""
    prior = rated(ladder_pair((1, 16, 32, 32))[1])
    expected = prior.rates.numpy() / 256
    written = rate_map.write(QueueEncoder(), gain * expected, 0.0, prior)
    assert written.sum() / 256 == pytest.approx(gain * expected.sum(), rel=0.01)


def test_factors_cost_little() -> None:
    """Below 150 bits, where a map of the coarsest tiles takes three times that."""
    _, plain = ladder_pair((1, 128, 16, 16))
    bits = 1.1 * rated(plain).rates.numpy() / 256
    spent = []
    for prior in (plain, rated(plain)):
        stream = QueueEncoder()
        rate_map.write(stream, bits, 0.0, prior)
        spent.append(stream.bits)
    assert spent[1] < 150 < spent[0] / 2


def test_the_cheapest_factors_are_those_of_an_enumeration() -> None:
    """Dynamic programming against all sequences of three classes."""
    size, draw = rate_map._FACTORS.size, np.random.default_rng(0)
    costs = draw.exponential(3.0, (4, 3, size))
    found = rate_map._cheapest(costs)
    steps = rate_map._STEP_BITS
    first = steps[:, rate_map._UNCHANGED]
    for chosen, cost in zip(found, costs, strict=True):
        total = (
            (first + cost[0])[:, None, None]
            + (steps.T + cost[1])[:, :, None]
            + (steps.T + cost[2])[None]
        )
        assert total[tuple(chosen)] == pytest.approx(total.min())


def test_factors_out_of_range_are_damage() -> None:
    rates = torch.tensor([1, 200, 3000])
    prior = RatedNormal(torch.zeros(3).double(), torch.ones(3).double(), rates)
    stream = QueueEncoder()
    far = 2 * rate_map._FACTORS.size - 1
    stream.table([far, far, far], rate_map._STEP_COUNTS)
    with pytest.raises(CorruptFileError, match="map of rates"):
        rate_map.read(QueueDecoder(stream.finish()), prior)


def test_tables_are_pinned() -> None:
    """They are part of the format."""
    assert rate_map._FACTORS.size == 38
    assert rate_map._FACTORS[[1, 2, 24, 25, 26, 37]].tolist() == [64, 76, 3444, 4096, 4871, 32768]
    assert int(rate_map._FACTORS.sum()) == 205614
    plain = Normal(torch.zeros(2), torch.ones(2))
    assert rate_map.write(QueueEncoder(), np.array([1.0, 1.0]), 1e9, plain).tolist() == [256, 256]
