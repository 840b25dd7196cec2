"""The bandwidth-limited channel: what passes, what replaces the rest, and the law of B."""

import pytest
import torch
from tests.channels.conftest import close
from torch import Tensor

from laconic.channels.bandwidth import BandwidthLimited
from laconic.channels.gaussian import NoiseConfig, RealAwgn
from laconic.errors import ConfigError

SHARES = (0.1, 0.2, 0.3, 0.4)


class Sevens:
    """In place of a prior: lost bands are sevens."""

    def fill(self, received: Tensor, passed: Tensor) -> Tensor:
        lost = torch.arange(received.shape[1]) >= passed[:, None]
        return torch.where(lost[..., None], torch.full_like(received, 7.0), received)


@pytest.fixture
def channel() -> BandwidthLimited:
    return BandwidthLimited(RealAwgn(NoiseConfig(90.0)), SHARES, Sevens())


def test_the_first_bands_pass_and_the_others_are_replaced(channel: BandwidthLimited) -> None:
    y = channel.prepare(torch.randn(40, 12))
    received = channel.transmit(y)
    assert received.state is not None
    for row, sent, passed in zip(received.signal, y, received.state.tolist(), strict=True):
        torch.testing.assert_close(row[: 4 * passed], sent[: 4 * passed], atol=1e-3, rtol=0)
        assert row[4 * passed :].eq(7).all()


def test_the_bandwidth_has_its_law(channel: BandwidthLimited) -> None:
    passed = channel.transmit(torch.zeros(8000, 3)).state
    assert passed is not None
    for count, share in enumerate(SHARES):
        assert close((passed == count).double(), share)


def test_the_full_marginal_is_the_mean_of_the_draws(channel: BandwidthLimited) -> None:
    y = channel.prepare(torch.randn(1, 3))
    whole = sum(share * signal.square().sum() for share, signal in channel.transmit_all(y))
    assert isinstance(whole, Tensor)
    drawn = channel(y.expand(8000, -1)).square().sum(1)
    assert close(drawn, float(whole))


def test_capacity_is_linear_in_the_bandwidth(channel: BandwidthLimited) -> None:
    assert channel.mean_bands == pytest.approx(2.0)
    assert channel.capacity_bits == pytest.approx(channel.inner.capacity_bits * 2 / 3)
    half = BandwidthLimited(channel.inner, (0, 1, 0), Sevens())
    assert half.capacity_bits == pytest.approx(channel.inner.capacity_bits / 2)


def test_every_band_has_power_one_by_itself(channel: BandwidthLimited) -> None:
    bands = channel.prepare(torch.randn(5, 12)).reshape(5, 3, 4)
    torch.testing.assert_close(bands.square().mean(2), torch.ones(5, 3))


def test_lost_bands_have_no_gradient(channel: BandwidthLimited) -> None:
    y = torch.randn(1, 3, requires_grad=True)
    signal = channel.transmit_bands(y, torch.tensor([1])).signal
    signal.sum().backward()
    assert y.grad is not None
    assert y.grad.tolist() == [[1.0, 0.0, 0.0]]


def test_the_density_counts_what_passed(channel: BandwidthLimited) -> None:
    y = torch.randn(2, 6)
    received = channel.transmit_bands(y, torch.tensor([0, 3]))
    found = channel.log_density(received, y)
    assert found[0] == 0
    torch.testing.assert_close(found[1:], channel.inner.log_density(received, y)[1:])


@pytest.mark.parametrize("shares", [(1.0,), (0.5, 0.4), (1.5, -0.5)])
def test_shares_must_be_probabilities(shares: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="shares"):
        BandwidthLimited(RealAwgn(), shares, Sevens())


def test_codewords_must_divide_into_bands(channel: BandwidthLimited) -> None:
    with pytest.raises(ConfigError, match="divided into 3 bands"):
        channel.transmit(torch.zeros(1, 4))
