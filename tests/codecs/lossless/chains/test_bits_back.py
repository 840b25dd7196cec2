"""Chains of bits-back: every sample comes back, and every bit is counted."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.codecs.lossless.chains import stacks as lanes
from laconic.codecs.lossless.chains.bits_back import ChainCoder
from laconic.codecs.lossless.chains.stacks import GroupShape, deal
from laconic.codecs.lossless.core import EncodedGroup, Samples
from laconic.errors import CorruptFileError
from laconic.models.pixel_ladder.exact import IntegerPixelLadder
from laconic.models.pixel_ladder.ladder import PixelLadder
from laconic.models.pixel_ladder.networks import PixelLadderConfig

LADDER = PixelLadderConfig(strides=(8, 4, 2), latents=(3, 3, 3), widths=(8, 8, 8))
CONFIGS = {
    "ladder": LADDER,
    "causal": PixelLadderConfig(strides=(), latents=(), widths=(), context_width=8),
    "both": dataclasses.replace(LADDER, context_width=8, context_blocks=1),
}


def exact(kind: str) -> IntegerPixelLadder:
    torch.manual_seed(0)
    model = PixelLadder(CONFIGS[kind])
    for name, parameter in model.named_parameters():
        if float(parameter.detach().abs().max()) == 0 or "posterior" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return model.exact_ladder()


def pictures(count: int = 5, height: int = 9, width: int = 14, colours: int = 3) -> Samples:
    rng = np.random.default_rng(0)
    start = rng.integers(60, 180, (count, 1, 1, colours))
    noise = rng.integers(-9, 10, (count, height, width, colours))
    return (start + noise).astype(np.uint8)


def size_bits(group: EncodedGroup) -> int:
    return 8 * (len(group.start) + sum(len(chain.data) for chain in group.chains))


def decoded(coder: ChainCoder, group: EncodedGroup, pixels: Samples) -> Samples:
    return np.stack(list(coder.decode(group, *GroupShape.of(pixels))))


def collect(reading: Iterator[Samples], into: list[Samples]) -> None:
    for picture in reading:
        into.append(picture)


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("colours", [1, 3])
def test_every_sample_comes_back(kind: str, colours: int) -> None:
    pixels = pictures(colours=colours)
    coder = ChainCoder(exact(kind))
    back = decoded(coder, coder.encode(pixels), pixels)
    assert back.dtype == pixels.dtype
    assert np.array_equal(back, pixels)


@pytest.mark.parametrize("kind", ["ladder", "causal"])
@pytest.mark.parametrize("dtype", [np.bool_, np.uint16])
def test_bilevel_and_deep_grey_come_back(kind: str, dtype: type) -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 2 if dtype is np.bool_ else 65536, (3, 8, 10, 1)).astype(dtype)
    coder = ChainCoder(exact(kind))
    assert np.array_equal(decoded(coder, coder.encode(pixels), pixels), pixels)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(st.integers(1, 4), st.integers(1, 17), st.integers(1, 17), st.sampled_from([1, 3]))
def test_any_size_comes_back(count: int, height: int, width: int, colours: int) -> None:
    pixels = pictures(count, height, width, colours)
    coder = ChainCoder(exact("ladder"))
    assert np.array_equal(decoded(coder, coder.encode(pixels), pixels), pixels)


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONFIGS)
def test_a_file_does_not_know_how_it_was_computed(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "CHAIN_SAMPLES", 500)
    pixels, model = pictures(7), exact(kind)
    written = ChainCoder(model, batch=16, threads=2).encode(pixels)
    assert len(written.chains) > 2
    again = ChainCoder(model, batch=1, threads=1)
    assert dataclasses.replace(again.encode(pixels), costs=written.costs) == written
    assert np.array_equal(decoded(again, written, pixels), pixels)


@pytest.mark.slow
def test_chained_pictures_take_what_they_are_worth() -> None:
    pixels = pictures(60, 16, 16)
    group = ChainCoder(exact("ladder")).encode(pixels)
    assert group.chains[0].alone < 10
    # The draws scatter the pixels' bits around their mean; the standard error is below 0.5 %.
    assert size_bits(group) == pytest.approx(group.costs.ideal_bits, rel=0.02)
    assert size_bits(group) == pytest.approx(group.costs.net_bits, abs=8 * 16)


def test_no_initial_bits_are_invented() -> None:
    """One picture alone costs all of its bits: queue and stack, none taken from elsewhere."""
    pixels = pictures(1, 16, 16)
    group = ChainCoder(exact("ladder")).encode(pixels)
    assert group.chains[0].alone == 1
    assert len(group.start) > 0
    assert size_bits(group) > 0.98 * group.costs.ideal_bits


def test_without_latents_there_is_no_start() -> None:
    group = ChainCoder(exact("causal")).encode(pictures())
    assert group.start == b""
    assert [chain.alone for chain in group.chains] == [0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONFIGS)
def test_a_cut_loses_pictures_at_the_end_alone(kind: str) -> None:
    pixels = pictures(12)
    coder = ChainCoder(exact(kind))
    group = coder.encode(pixels)
    chain = group.chains[0]
    found = []
    for share in (0.3, 0.6, 0.9):
        data = chain.data[: int(share * len(chain.data))]
        cut = dataclasses.replace(group, chains=(dataclasses.replace(chain, data=data),))
        good: list[Samples] = []
        reading = coder.decode(cut, *GroupShape.of(pixels))
        with pytest.raises(CorruptFileError, match="ends before"):
            collect(reading, good)
        assert all(np.array_equal(a, b) for a, b in zip(good, pixels, strict=False))
        found.append(len(good))
    assert found == sorted(found)
    assert found[0] >= 1
    assert found[-1] < 12


def test_a_lost_chain_costs_its_own_pictures_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "CHAIN_SAMPLES", 500)
    pixels = pictures(8)
    coder = ChainCoder(exact("ladder"))
    group = coder.encode(pixels)
    first = group.chains[0].count
    lost = [dataclasses.replace(chain, data=b"") for chain in group.chains[1:]]
    cut = dataclasses.replace(group, chains=(group.chains[0], *lost))
    reading = coder.decode(cut, *GroupShape.of(pixels))
    for number in range(first):
        assert np.array_equal(next(reading), pixels[number])
    with pytest.raises(CorruptFileError):
        next(reading)


def test_chains_that_do_not_fit_the_header_are_refused() -> None:
    pixels = pictures(4)
    coder = ChainCoder(exact("causal"))
    group = coder.encode(pixels)
    with pytest.raises(CorruptFileError, match="pictures that the header names"):
        next(coder.decode(group, 5, *GroupShape.of(pixels)[1:]))


@given(st.integers(1, 300), st.integers(1, 64))
def test_pictures_are_dealt_in_order_and_evenly(count: int, side: int) -> None:
    runs = deal(GroupShape(count, side, side, 3, 8))
    assert [number for run in runs for number in run] == list(range(count))
    assert max(map(len, runs)) - min(map(len, runs)) <= 1
    assert len(runs) <= lanes.MOST_CHAINS
