"""The digital link: sizes, conventions, losses that are known, the capacity gate."""

import sys

import numpy as np
import pytest
import torch

from laconic.channels import make_channel
from laconic.channels.gaussian import ComplexAwgn, NoiseConfig
from laconic.errors import ConfigError, MissingPackageError, UnreachableTargetError
from laconic.evaluation.channels import link
from laconic.evaluation.channels.link import MODULATIONS, Link, Modulation, fixed_bits, plan_blocks

QPSK = Modulation(2, (1, 3))


def awgn(snr_db: float) -> ComplexAwgn:
    return ComplexAwgn(NoiseConfig(snr_db))


@pytest.mark.parametrize("modulation", MODULATIONS, ids=lambda one: one.name)
@pytest.mark.parametrize("uses", [1000, 49152, 98304])
def test_blocks_fit_into_the_uses(modulation: Modulation, uses: int) -> None:
    block = plan_blocks(modulation, uses)
    assert block.count * block.code_bits <= uses * modulation.bits_per_symbol
    assert block.information_bits <= link.MOST_INFORMATION_BITS
    assert block.information_bits * modulation.rate[1] == block.code_bits * modulation.rate[0]
    if block.information_bits > link.MOST_AT_LOW_RATES:  # Base graph 1 has no lower rates.
        assert 3 * block.information_bits > block.code_bits
    assert block.count * block.information_bits > 0.95 * uses * modulation.bits_per_use - 64


def test_too_few_uses_are_refused() -> None:
    with pytest.raises(ConfigError, match="raise the bandwidth"):
        plan_blocks(QPSK, 50)


def test_a_link_beyond_capacity_cannot_be_made() -> None:
    """4 bits per use at 5 dB, whose capacity is 2.06: refused before anything is sent."""
    with pytest.raises(UnreachableTargetError, match=r"64-QAM 2/3 \+ LDPC sends"):
        Link(Modulation(6, (2, 3)), 1000, awgn(5.0))


def test_a_claim_beyond_capacity_is_refused_when_it_arrives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A link for 20 dB on a channel of -20 dB: were its blocks to arrive, the gate would say so."""
    pytest.importorskip("sionna.phy")
    made = Link(Modulation(4, (1, 2)), 600, awgn(20.0))
    rows = [made._scrambled(bytes(made.block_bytes))] * made.block.count

    class Oracle:
        def pass_through(self, bits: object, channel: object, is_right: object) -> np.ndarray:
            return np.stack([*rows, rows[0] ^ 1])

    monkeypatch.setattr(link, "make_code", lambda modulation, block: Oracle())
    with pytest.raises(UnreachableTargetError, match="channel uses"):
        made.send(b"", awgn(-20.0))


def test_other_channels_are_refused() -> None:
    with pytest.raises(ConfigError, match="complex uses"):
        Link(QPSK, 1000, make_channel({"name": "awgn-real"}))


def test_without_sionna_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sionna.phy", None)
    with pytest.raises(MissingPackageError, match=r"sionna-no-rt.*laconic-codec\[channels\]"):
        Link(QPSK, 1000, awgn(10.0))


def test_fixed_bits_are_fixed() -> None:
    assert fixed_bits(12).tolist() == fixed_bits(64)[:12].tolist()
    assert 400 < int(fixed_bits(1000).sum()) < 600


@pytest.mark.slow
@pytest.mark.parametrize("name", ["awgn", "rayleigh-fast"])
def test_messages_arrive_on_a_good_channel_and_are_known_to_be_lost_on_a_bad_one(
    name: str,
) -> None:
    pytest.importorskip("sionna.phy")
    made = Link(QPSK, 400, awgn(20.0))
    message = bytes(range(made.payload_bytes))
    arrived = made.send(message, make_channel({"name": name, "snr_db": 12.0}))
    assert (arrived.data, arrived.is_whole) == (message, True)
    lost = made.send(message, make_channel({"name": name, "snr_db": -12.0}))
    assert (lost.is_whole, lost.prefix, lost.delivered_bits) == (False, b"", 0)
    assert not any(lost.data)
    with pytest.raises(ConfigError, match="do not fit"):
        made.send(bytes(1000), awgn(20.0))


@pytest.mark.slow
def test_signs_and_noise_are_those_of_sionna() -> None:
    """Demapped ratios of a symbol are log p(1) / p(0), with the noise per complex symbol."""
    pytest.importorskip("sionna.phy")
    code = link.make_code(QPSK, plan_blocks(QPSK, 400))
    symbols = code.mapper(torch.tensor([[0.0, 1.0]]))
    channel = awgn(3.0)
    noise = torch.full(symbols.shape, channel.noise_power_per_use)
    ratios = code.demapper(symbols, noise)[0]
    # Of 4-QAM a bit is one part of the symbol, +-1 / sqrt 2, with half of the noise.
    expected = 2 * (1 / 2**0.5) ** 2 / (channel.noise_power_per_use / 2)
    torch.testing.assert_close(ratios, torch.tensor([-expected, expected]), rtol=1e-4, atol=1e-4)
