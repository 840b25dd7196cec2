"""Unequal protection: what the first link carries, and what a file is worth without its end."""

import numpy as np
import pytest

from laconic.channels.gaussian import ComplexAwgn, NoiseConfig, NoisyChannel
from laconic.codecs.base import Decoding
from laconic.evaluation.channels import unequal
from laconic.evaluation.channels.link import Arrived, Modulation
from laconic.evaluation.channels.unequal import Partial, Protected


class Wire:
    """In place of a link: everything arrives from its design's ratio on."""

    def __init__(self, modulation: Modulation, uses: int, design: NoisyChannel) -> None:
        self.modulation, self.uses, self.least_db = modulation, uses, design.config.snr_db
        self.payload_bytes = int(uses * modulation.bits_per_use / 8)

    def send(self, data: bytes, channel: NoisyChannel) -> Arrived:
        good = channel.config.snr_db >= self.least_db
        return Arrived(data if good else bytes(len(data)), (good,), len(data), 0)


class Described:
    """In place of an opened file: the first level takes a quarter."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @classmethod
    def read(cls, data: bytes, rescue: bool = False) -> "Described":
        return cls(data)

    def describe(self) -> "Described":
        return self

    @property
    def levels(self) -> list["Described"]:
        return [self]

    @property
    def prefix_bytes(self) -> int:
        return len(self.data) // 4


@pytest.fixture(autouse=True)
def _wires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unequal, "Link", Wire)
    monkeypatch.setattr(unequal, "ImageFile", Described)
    rates = {True: Modulation(4, (1, 2)), False: Modulation(2, (1, 3))}
    monkeypatch.setattr(unequal, "best_modulation", lambda snr_db: rates[snr_db >= 6])


def encode(bpp: float) -> bytes:
    return b"x" * int(bpp * 10_000 / 8)


def awgn(snr_db: float) -> ComplexAwgn:
    return ComplexAwgn(NoiseConfig(snr_db))


def test_both_ways_use_the_same_channel() -> None:
    equal = unequal.protect_equally(encode, 10_000, 3000, 8.0)
    other = unequal.protect_unequally(encode, 10_000, 3000, 8.0, 6.0, 0)
    assert equal.uses == other.uses == 3000
    assert len(other.data) < len(equal.data) <= 3000 * 2 / 8
    assert other.first_bytes == len(other.data) // 4


@pytest.mark.parametrize(("snr_db", "equal", "first"), [(9.0, 1.0, 1.0), (4.0, 0.0, 0.25)])
def test_the_first_levels_survive_a_worse_channel(
    snr_db: float, equal: float, first: float
) -> None:
    made = (
        unequal.protect_equally(encode, 10_000, 3000, 8.0),
        unequal.protect_unequally(encode, 10_000, 3000, 8.0, 6.0, 0),
    )
    for protected, share in zip(made, (equal, first), strict=True):
        arrived = unequal.send(protected, awgn(snr_db))
        assert len(arrived.data) == int(share * len(protected.data))
        assert arrived.whole == (share == 1.0)


def test_bytes_that_are_no_file_are_shown_as_grey(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    like = np.zeros((4, 5, 3), np.uint8)
    shown = unequal.show(Partial(b"", False), Decoding(), like)
    assert (shown == unequal.GREY).all()
    assert Protected(b"", 0, ()).uses == 0
