"""Every channel: power, statistics, gradient, capacity.

Statistics are compared within 4 standard errors: a correct channel fails one comparison in 16,000.
Seeds are fixed, so that a test that passes once passes always.
"""

import math

import pytest
import torch
from tests.channels.conftest import Z, close
from torch import Tensor
from torch.distributions import Independent, Normal

from laconic.channels import CHANNELS, make_channel, normalise_power, read_channel
from laconic.channels.base import Channel, Received, Use
from laconic.channels.bits import hard, relaxed_bits, scored_bits
from laconic.channels.fading import FastRayleigh, SlowRayleigh, ergodic_capacity_bits
from laconic.channels.gaussian import ComplexAwgn, NoiseConfig, RealAwgn
from laconic.channels.information import gaussian_information_bits, information_bits
from laconic.errors import ConfigError

NOISY = ["awgn-real", "awgn", "rayleigh-slow", "rayleigh-fast"]


def codewords(channel: Channel, count: int, numbers: int) -> Tensor:
    return channel.prepare(torch.randn(count, numbers))


@pytest.mark.parametrize("name", NOISY)
def test_power_is_one_per_use_for_every_codeword(name: str) -> None:
    channel = make_channel({"name": name})
    y = channel.prepare(7 * torch.randn(5, 24) + 1)
    power = y.square().sum(1) / channel.uses(24)
    torch.testing.assert_close(power, torch.ones(5))
    assert channel.prepare(torch.zeros(2, 24)).eq(0).all()


def test_power_of_low_precision_is_computed_in_full() -> None:
    y = normalise_power(torch.full((1, 5000), 3.0, dtype=torch.bfloat16))
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, torch.ones(1, 5000))


@pytest.mark.parametrize("name", NOISY)
@pytest.mark.parametrize("snr_db", [0.0, 7.0])
def test_noise_has_the_power_that_the_ratio_says(name: str, snr_db: float) -> None:
    channel = make_channel({"name": name, "snr_db": snr_db})
    y = codewords(channel, 500, 20)
    received = channel.transmit(y)
    gain = torch.ones_like(y) if received.state is None else received.state
    noise = received.signal - gain * y
    per_use = noise.square().reshape(-1, channel.use.numbers).sum(1)
    assert close(per_use, 10 ** (-snr_db / 10))
    assert close(noise, 0.0)
    assert close(gain[:, 0].square(), 1.0) or received.state is None


def test_real_and_complex_noise_differ_by_three_decibels_per_number() -> None:
    real, both = RealAwgn(NoiseConfig(6.0)), ComplexAwgn(NoiseConfig(6.0))
    assert real.noise_scale_per_number == pytest.approx(math.sqrt(2) * both.noise_scale_per_number)
    assert both.capacity_bits == pytest.approx(2 * real.capacity_bits)
    assert (real.uses(12), both.uses(12)) == (12, 6)
    with pytest.raises(ConfigError, match="complex"):
        both.uses(3)


def test_slow_fading_has_one_gain_and_fast_fading_one_per_use() -> None:
    slow = SlowRayleigh().transmit(torch.ones(3, 8)).state
    fast = FastRayleigh().transmit(torch.ones(3, 8)).state
    assert slow is not None
    assert fast is not None
    assert (slow == slow[:, :1]).all()
    assert (fast[:, 0::2] == fast[:, 1::2]).all()
    assert len(fast.unique()) == 12


@pytest.mark.parametrize("name", [*NOISY, "bsc", "bec"])
def test_gradients_reach_the_codeword(name: str) -> None:
    channel = make_channel({"name": name}).train()
    given = torch.randn(4, 10, requires_grad=True)
    channel(channel.prepare(given)).square().sum().backward()
    assert given.grad is not None
    assert bool(torch.isfinite(given.grad).all())
    assert bool(given.grad.abs().sum(1).gt(0).all())


@pytest.mark.parametrize("name", ["awgn-real", "awgn"])
def test_the_gradient_is_that_of_finite_differences(name: str, float64: None) -> None:
    channel = make_channel({"name": name, "snr_db": 3.0})

    def loss(y: Tensor) -> Tensor:
        torch.manual_seed(1)
        return channel(channel.prepare(y)).pow(3).sum()

    assert torch.autograd.gradcheck(loss, torch.randn(2, 6, requires_grad=True))


def test_log_density_is_that_of_the_normal() -> None:
    channel = ComplexAwgn(NoiseConfig(2.0))
    y, z = torch.randn(3, 4), torch.randn(3, 4)
    law = Independent(Normal(y, math.sqrt(10**-0.2 / 2)), 1)
    torch.testing.assert_close(channel.log_density(Received(z), y), law.log_prob(z))


@pytest.mark.parametrize("flip", [0.0, 0.11, 0.5])
def test_hard_flips_have_their_probability(flip: float) -> None:
    channel = make_channel({"name": "bsc", "flip": flip}).eval()
    bits = (torch.rand(500, 40) < 0.3).float()
    out = channel(bits)
    assert set(out.unique().tolist()) <= {0.0, 1.0}
    flipped = (out != bits).double()
    assert flipped.mean() == 0 if flip == 0 else close(flipped, flip)


def test_soft_flips_are_hard_ones_on_the_right_side_of_a_half() -> None:
    """P(relaxed > 1/2) is the Bernoulli's probability at every temperature."""
    channel = make_channel({"name": "bsc", "flip": 0.2, "temperature": 0.3}).train()
    out = channel(torch.zeros(500, 20))
    assert bool(((out > 0) & (out < 1)).all())
    assert close((out > 0.5).double(), 0.2)


def test_erasures_are_halves_where_the_state_says() -> None:
    channel = make_channel({"name": "bec", "erasure": 0.25}).eval()
    bits = (torch.rand(500, 40) < 0.5).float()
    received = channel.transmit(bits)
    assert received.state is not None
    assert close(received.state, 0.25)
    torch.testing.assert_close(
        received.signal, torch.where(received.state > 0, torch.tensor(0.5), bits)
    )


def test_relaxed_bits_have_the_corrected_binary_concrete_density() -> None:
    """The CDF of many draws against the integral of the density of ERRATA 10."""
    t, logit = 0.6, 0.4
    draws = relaxed_bits(torch.full((20_000,), logit), t)
    y = torch.linspace(-40, 40, 8001, dtype=torch.float64)
    a, x, rest = math.exp(logit), torch.sigmoid(y), torch.sigmoid(-y)
    density = t * a * x ** (-t - 1) * rest ** (-t - 1) / (a * x**-t + rest**-t) ** 2
    step = density * x * rest * 0.01  # Of the logit y: dx = x (1 - x) dy.
    assert float(step.sum()) == pytest.approx(1, abs=1e-6)
    for bound in (0.1, 0.5, 0.9):
        assert close((draws < bound).double(), float(step[x < bound].sum()))


def test_both_gradients_of_a_bit_agree_with_the_exact_one() -> None:
    """d E f(bits) / d logits of f = (sum b - 1)^2: score function exact, relaxed near it."""
    logits = torch.tensor([0.3, -0.5], requires_grad=True)

    def cost(bits: Tensor) -> Tensor:
        return (bits.sum(-1) - 1).square()

    table = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    p = torch.sigmoid(logits)
    weight = torch.where(table > 0, p, 1 - p).prod(-1)
    exact = torch.autograd.grad((weight * cost(table)).sum(), logits)[0]
    many = logits.detach().expand(40_000, 2).requires_grad_()
    bits, score = scored_bits(many)
    each = torch.autograd.grad((cost(bits) * score).sum(), many)[0]
    soft = relaxed_bits(many, 0.1)
    relaxed = torch.autograd.grad(cost(soft).sum(), many)[0]
    for index in range(2):
        assert close(each[:, index], float(exact[index]))
    assert float((relaxed.mean(0) - exact).norm()) < 0.1
    assert hard(torch.tensor([0.2, 0.8])).tolist() == [0.0, 1.0]


def alphabet(channel: Channel, size: int) -> Tensor:
    """Symbols of mean power 1: evenly spaced levels, or both bits."""
    if channel.use is Use.BIT:
        return torch.tensor([[0.0], [1.0]])
    levels = torch.linspace(-1, 1, size)
    points = torch.cartesian_prod(levels, levels) if channel.use is Use.COMPLEX else levels[:, None]
    return points / points.square().sum(1).mean().sqrt()


@pytest.mark.parametrize("size", [2, 8])
@pytest.mark.parametrize("name", [*NOISY, "bsc", "bec"])
def test_information_never_exceeds_capacity(name: str, size: int) -> None:
    """But for 3 in 100,000 tests, one-sided; and it is not far below with few symbols at 0 dB."""
    channel = make_channel({"name": name}).eval()
    found = information_bits(channel, alphabet(channel, size), 6000)
    assert found.value <= channel.capacity_bits + Z * found.error
    assert found.value >= 0.85 * channel.capacity_bits - Z * found.error


@pytest.mark.parametrize("name", ["bsc", "bec"])
def test_even_bits_reach_the_capacity_of_binary_channels(name: str) -> None:
    channel = make_channel({"name": name}).eval()
    found = information_bits(channel, alphabet(channel, 2), 20_000)
    assert abs(found.value - channel.capacity_bits) <= Z * found.error


@pytest.mark.parametrize("name", ["awgn-real", "awgn"])
@pytest.mark.parametrize("snr_db", [-3.0, 10.0])
def test_gaussian_inputs_reach_the_capacity_of_awgn(name: str, snr_db: float) -> None:
    channel = make_channel({"name": name, "snr_db": snr_db})
    found = gaussian_information_bits(channel, 20_000)
    assert abs(found.value - channel.capacity_bits) <= Z * found.error


def test_ergodic_capacity_is_the_mean_over_gains() -> None:
    for ratio in (0.1, 1.0, 100.0):
        gains = torch.empty(100_000, dtype=torch.float64).exponential_()
        assert close(torch.log2(1 + ratio * gains), ergodic_capacity_bits(ratio))
        assert ergodic_capacity_bits(ratio) < math.log2(1 + ratio)


def test_outage_capacity_is_missed_by_its_share_of_codewords() -> None:
    channel = SlowRayleigh(NoiseConfig(10.0))
    gains = torch.empty(100_000, dtype=torch.float64).exponential_()
    missed = torch.log2(1 + channel.ratio * gains) < channel.outage_capacity_bits(0.05)
    assert close(missed.double(), 0.05)
    assert channel.outage_capacity_bits(0.0) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "cable"}, "'cable' is not one of"),
        ({"name": "awgn", "snr_db": math.nan}, "finite"),
        ({"name": "awgn", "snr_db": 101.0}, "from -100 to 100"),
        ({"name": "awgn", "power": 1.0}, "unknown key"),
        ({"name": "bsc", "flip": 0.6}, "no probability from 0 to 0.5"),
        ({"name": "bsc", "temperature": 0.0}, "temperature"),
        ({"name": "bec", "erasure": -0.1}, "no probability"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_channel(settings)


def test_nan_is_refused_where_no_configuration_is_read() -> None:
    with pytest.raises(ConfigError, match="no signal-to-noise ratio"):
        NoiseConfig(math.nan)


def test_every_channel_is_in_the_table() -> None:
    for name, (config, kind) in CHANNELS.items():
        assert read_channel({"name": name}) == (name, config())
        assert isinstance(make_channel({"name": name}), kind)
