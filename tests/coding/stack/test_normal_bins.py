import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri

from laconic.coding.stack.ans import Stack
from laconic.coding.stack.normal_bins import NormalBins
from laconic.errors import CodingError
from laconic.testing.stacks import check_draw, check_inverse, seeded_stack

Array = np.ndarray

EXTREMES = [0, 1, -1, 65536, 2**20, -(2**20), 2**31 - 1, -(2**31), 2**62, -(2**62)]


def units(x: Array) -> Array:
    return np.round(65536 * x).astype(np.int32)


def exact_bits(bins: Array, means: Array, log_scales: Array, bits: int) -> Array:
    """-log2 of the posterior's mass in each bin, float64; tails from whichever side is small."""
    with np.errstate(divide="ignore"):
        edges = ndtri(np.stack([bins, bins + 1]) / 2**bits)
    low, high = (edges - means) * np.exp(-log_scales)
    low, high = np.where(low > 0, -high, low), np.where(low > 0, -low, high)
    return -np.log2(ndtr(high) - ndtr(low))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    latents=st.lists(
        st.tuples(
            st.integers(-(2**19), 2**19) | st.sampled_from(EXTREMES),
            st.integers(-(2**19), 2**18) | st.sampled_from(EXTREMES),
            st.integers(0, 2**16 - 1),
        ),
        max_size=40,
    ),
    bits=st.integers(1, 16),
    heads=st.sampled_from([1, 8]),
)
def test_laws(latents: list[tuple[int, int, int]], bits: int, heads: int) -> None:
    means, log_scales, bins = (
        np.array([latent[i] for latent in latents], np.int64) for i in range(3)
    )
    codec = NormalBins(means, log_scales, bits)
    length = check_inverse(codec, bins % 2**bits, seeded_stack(10, heads))
    assert length <= 28.1 * len(latents)
    check_draw(codec, seeded_stack(300, heads))


@pytest.mark.parametrize("bits", [1, 8, 12, 16])
@pytest.mark.parametrize(
    ("mean", "log_scale"),
    [
        (0, 0),
        (83492, -91423),
        (-200000, -300000),
        (500000, 20000),
        (2**31 - 1, 2**31 - 1),
        (-(2**31), -(2**31)),
        (0, -(2**31)),
        (1, 2**31 - 1),
        (262144, -786432),
    ],
)
def test_every_bin_of_a_posterior(bits: int, mean: int, log_scale: int) -> None:
    """Published code inverts a float CDF by a float quantile function, and some bins are lost."""
    bins = np.arange(1 << bits)
    codec = NormalBins(np.full(bins.size, mean), np.full(bins.size, log_scale), bits)
    check_inverse(codec, bins, seeded_stack())


def test_all_places_of_the_interval_are_taken() -> None:
    """Whatever a head holds, the bin that pops is the one whose interval holds it: law 2."""
    codec = NormalBins(np.full(20000, 30000), np.full(20000, -120000), 12)
    bins = check_draw(codec, seeded_stack(30000))
    assert len(np.unique(bins)) > 1000


@pytest.mark.parametrize(("bits", "heads"), [(8, 1), (12, 8), (16, 1)])
def test_length_is_the_information(bits: int, heads: int) -> None:
    rng = np.random.default_rng(bits)
    count = 100000
    means, log_scales = rng.normal(0, 0.9, count), rng.normal(-2, 0.7, count)
    means, log_scales = units(means), units(log_scales)
    m, s = means / 65536, log_scales / 65536
    bins = (ndtr(m + np.exp(s) * rng.normal(size=count)) * 2**bits).astype(np.int64)
    length = check_inverse(NormalBins(means, log_scales, bits), bins, Stack(heads))
    information = np.minimum(exact_bits(bins, m, s, bits), 28)  # Every bin keeps 2^-28.
    assert length == pytest.approx(information.sum(), rel=1e-3)


def test_draws_follow_the_posterior() -> None:
    """Kolmogorov's distance of 50000 draws below its critical value at a false-alarm rate of 1e-3.

    The stack's bits are uniform, so what pops is a draw from the posterior.
    """
    count, mean, log_scale = 50000, 0.7, -1.5
    codec = NormalBins(units(np.full(count, mean)), units(np.full(count, log_scale)), 16)
    values = NormalBins.centres(codec.pop(seeded_stack(70000)), 16) / 65536
    ranks = np.sort(ndtr((values - mean) / np.exp(log_scale)))
    distance = np.abs(ranks - (np.arange(count) + 0.5) / count).max()
    assert distance * np.sqrt(count) < 1.95


def test_prior_and_posterior_cost_the_divergence() -> None:
    """Net bits of a latent: log q - log p on bins; on average (4 standard errors) the KL."""
    rng = np.random.default_rng(1)
    count = 50000
    means, log_scales = units(rng.normal(0, 0.8, count)), units(rng.normal(-1.5, 0.3, count))
    m, s = means / 65536, log_scales / 65536
    stack = seeded_stack(count)
    before = stack.bits
    bins = NormalBins(means, log_scales, 12).pop(stack)
    NormalBins.prior(12, count).push(stack, bins)
    net = (stack.bits - before) / count
    gain = 12 - np.minimum(exact_bits(bins, m, s, 12), 28)
    assert net == pytest.approx(gain.mean(), rel=1e-3)
    divergence = ((m**2 + np.exp(2 * s) - 1) / 2 - s).mean() / np.log(2)
    assert net == pytest.approx(divergence, abs=4 * gain.std() / np.sqrt(count) + 0.001)


def test_shapes_are_kept() -> None:
    codec = NormalBins(np.zeros((2, 3), np.int32), np.zeros((2, 3), np.int32), 8)
    bins = codec.pop(seeded_stack())
    assert bins.shape == (2, 3)
    assert NormalBins.centres(bins, 8).shape == (2, 3)
    nothing = NormalBins(np.zeros(0, np.int64), np.zeros(0, np.int64), 8)
    check_inverse(nothing, np.zeros(0, np.int64), Stack())


def test_what_cannot_be_is_refused() -> None:
    one = np.zeros(1, np.int32)
    for arguments in ((one, one, 0), (one, one, 17), (one, np.zeros(2, int), 8), (one, 0.5, 8)):
        with pytest.raises(CodingError):
            NormalBins(*arguments)
    with pytest.raises(CodingError, match="outside its alphabet"):
        NormalBins(one, one, 8).push(Stack(), [256])


def test_golden_bytes() -> None:
    """Parameters by arithmetic alone: these bytes are the format."""
    i = np.arange(24)
    stack = Stack()
    NormalBins(i * 7919 % 200000 - 100000, -5000 * i, 12).push(stack, i * 170)
    assert stack.to_bytes().hex() == (
        "5a94e8505f3938aa2316c8e4903d19b89e75890f7b2219958c85686fd16c0803b1a7ab"
    )
