"""Digital systems: files that fit, outages, the bound at capacity, the gate."""

import json
import math

import numpy as np
import pytest

from laconic.channels import Budget
from laconic.channels.gaussian import ComplexAwgn, NoiseConfig, NoisyChannel
from laconic.errors import UnreachableTargetError
from laconic.evaluation.anchors.classical import ANCHORS
from laconic.evaluation.channels import digital
from laconic.evaluation.channels.digital import CapacitySystem, DigitalSystem, SourceCodec
from laconic.evaluation.channels.link import MODULATIONS, Arrived, Modulation
from laconic.metrics.images import Image8

WEBP = SourceCodec(ANCHORS["webp"])


class Wire:
    """In place of a link: everything arrives above 5 dB, and nothing below."""

    modulation, uses = Modulation(4, (1, 2)), 4000

    def __init__(self, payload_bytes: int = 900) -> None:
        self.payload_bytes = payload_bytes

    def send(self, data: bytes, channel: NoisyChannel) -> Arrived:
        assert len(data) <= self.payload_bytes
        good = channel.config.snr_db >= 5
        return Arrived(data, (good,), len(data), 8 * len(data) * good)


@pytest.fixture
def picture() -> Image8:
    rows, columns = np.mgrid[:64, :96]
    waves = 128 + 100 * np.sin(rows / 9)[..., None] * np.cos(
        columns[..., None] / np.array([5, 7, 9])
    )
    return waves.astype(np.uint8)


def awgn(snr_db: float) -> ComplexAwgn:
    return ComplexAwgn(NoiseConfig(snr_db))


def test_the_file_fits_and_more_bits_are_better(picture: Image8) -> None:
    small, large = WEBP.fit(picture, 3000), WEBP.fit(picture, 12_000)
    assert 0 < 8 * len(small.data) <= 3000
    assert digital.psnr(picture, large.picture) > digital.psnr(picture, small.picture)


def test_nothing_fits_into_a_few_bits(picture: Image8) -> None:
    sent = WEBP.fit(picture, 40)
    assert (sent.data, sent.counted_bits) == (b"", 0)
    assert (sent.picture == digital.GREY).all()


def test_a_smaller_picture_is_sent_where_the_whole_one_does_not_fit(picture: Image8) -> None:
    coarsest = 8 * len(ANCHORS["webp"].encode(picture, 1))
    assert WEBP.fit(picture, coarsest - 8).reduction > 1


def test_without_headers_more_fits(picture: Image8) -> None:
    free = SourceCodec(ANCHORS["jpeg"], counts_headers=False)
    header = free.header_bits(picture)
    assert header > 8 * 200  # JPEG's tables.
    sent = free.fit(picture, 3000)
    assert sent.counted_bits <= 3000 < 8 * len(sent.data)
    assert free.label.endswith("without headers")


def test_the_cliff(picture: Image8) -> None:
    """The same quality wherever the code works, and mid-grey elsewhere."""
    system = DigitalSystem(WEBP, Wire())  # type: ignore[arg-type]
    sent = system.prepare(picture)
    outcomes = [system.transmit(picture, awgn(snr_db), sent) for snr_db in (0.0, 6.0, 15.0)]
    assert [one.is_outage for one in outcomes] == [True, False, False]
    assert outcomes[1].psnr_db == outcomes[2].psnr_db > outcomes[0].psnr_db
    assert (outcomes[0].picture == digital.GREY).all()


def test_the_bound_uses_no_more_than_capacity(picture: Image8) -> None:
    budget = Budget.of(awgn(5.0), 1500)
    outcome = CapacitySystem(WEBP, budget).transmit(picture)
    assert 0 < outcome.file_bits <= budget.bits
    assert outcome.label.startswith("WebP + capacity")


def test_no_system_breaks_the_gate(picture: Image8, monkeypatch: pytest.MonkeyPatch) -> None:
    """A codec that says its file is empty of bits would; its real size is what counts."""

    class Cheat(SourceCodec):
        def fit(self, pixels: Image8, bits: float) -> digital.Sent:
            return digital.Sent(b"x" * 10_000, pixels, 1, 80_000)

    cheat = Cheat(ANCHORS["webp"])
    with pytest.raises(UnreachableTargetError, match="bits an image"):
        CapacitySystem(cheat, Budget.of(awgn(1.0), 64)).transmit(picture)
    with pytest.raises(UnreachableTargetError, match="exceeds"):
        DigitalSystem(cheat, Wire()).prepare(picture)  # type: ignore[arg-type]


def test_the_best_codec_is_sent(picture: Image8) -> None:
    sources = [SourceCodec(ANCHORS[name]) for name in ("jpeg", "webp")]
    best = digital.transmit_best(picture, sources, Wire(), awgn(9.0))  # type: ignore[arg-type]
    alone = [digital.psnr(picture, one.fit(picture, 7200).picture) for one in sources]
    assert best.psnr_db == max(alone)


def test_the_best_modulation_is_the_fastest_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, fast = Modulation(2, (1, 3)), Modulation(4, (1, 2))
    monkeypatch.setattr(digital, "thresholds", lambda: {slow.name: 0.0, fast.name: 6.0})
    assert digital.best_modulation(0.5) == slow
    assert digital.best_modulation(6.4) == slow
    assert digital.best_modulation(6.5) == fast
    with pytest.raises(UnreachableTargetError, match="works at -1 dB"):
        digital.best_modulation(-1.0)


def test_measured_thresholds_are_above_capacity() -> None:
    """No code works where its rate exceeds the channel's capacity."""
    known = digital.thresholds()
    assert set(known) <= {one.name for one in MODULATIONS}
    for one in MODULATIONS:
        if one.name in known:
            assert known[one.name] > 10 * math.log10(2**one.bits_per_use - 1)
    assert json.dumps(known)
