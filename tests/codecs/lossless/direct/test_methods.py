"""Methods without a model: what goes in comes back, damage is named, released files decode."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from laconic.codecs.lossless.core import Samples
from laconic.codecs.lossless.direct import METHODS, choice
from laconic.codecs.lossless.direct.choice import choose
from laconic.codecs.lossless.direct.conversion.known import KNOWN
from laconic.codecs.lossless.direct.sketch import Sketch
from laconic.errors import LaconicError

BITS = {"?": 1, "B": 8, "H": 16}
OURS = ("contexts", "prediction", "least squares")
KINDS = ("bilevel", "grey", "grey and alpha", "RGB", "RGBA")
FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def pictures(draw: st.DrawFn) -> Samples:
    """Noise of few or many values, of any kind."""
    kind = draw(st.sampled_from("?BBBHH"))
    channels = draw(st.integers(1, 4)) if kind != "?" else 1
    shape = draw(st.integers(1, 20)), draw(st.integers(1, 20)), channels
    values = draw(st.sampled_from([1, 2, 3, 40, 256 if kind == "B" else 65536]))
    source = np.random.default_rng(draw(st.integers(0, 99)))
    found: Samples = (source.integers(0, values, shape) * (1 if values > 99 else 3)).astype(kind)
    return found


@pytest.mark.parametrize("number", METHODS)
@FEW
@given(samples=pictures(), effort=st.sampled_from([0, 5]))
def test_samples_come_back(number: int, samples: Samples, effort: int) -> None:
    data = METHODS[number].encode(samples, effort)
    if data is not None:
        back = METHODS[number].decode(data, *samples.shape, BITS[samples.dtype.char])
        assert back.dtype == samples.dtype
        assert back.shape == samples.shape
        assert (back == samples).all()


@pytest.mark.parametrize("number", METHODS)
@FEW
@given(data=st.binary(max_size=80), kind=st.sampled_from(sorted(BITS)), channels=st.integers(1, 4))
def test_damaged_bytes_raise_only_our_errors(
    number: int, data: bytes, kind: str, channels: int
) -> None:
    channels = channels if kind != "?" else 1
    good = METHODS[number].encode(np.zeros((6, 7, channels), kind), 5) or b""
    for bad in (data, good[:-1] + data, good[: len(good) // 2] + data):
        try:
            back = METHODS[number].decode(bad, 6, 7, channels, BITS[kind])
        except LaconicError:
            continue
        assert back.shape == (6, 7, channels)
        assert back.dtype == np.dtype(kind)


def drawing(kind: str) -> Samples:
    """Made of integers, the same on every machine for ever."""
    row, column = np.mgrid[:40, :50]
    shapes = (row // 7 + column // 9) % 3 + 2 * ((row - 20) ** 2 + (column - 25) ** 2 < 150)
    steps = 1 if kind == "bilevel" else 9
    grey = shapes * 20 * (steps > 1) + (shapes + row * column // 90) % (2 if steps == 1 else 5)
    if kind == "bilevel":
        return (grey % 2 == 1)[..., None]
    if kind == "deep":
        return (grey * 600 + row).astype(np.uint16)[..., None]
    colours = np.stack([grey, 3 * grey + column, grey * row % 256, 255 - grey], 2)
    if kind.startswith("deep"):
        channels = {"deep grey and alpha": 2, "deep RGB": 3}.get(kind, 4)
        return (colours * 240 + row[..., None]).astype(np.uint16)[..., :channels]
    return colours.astype(np.uint8)[..., : {"grey": 1, "grey and alpha": 2, "RGB": 3}.get(kind, 4)]


@pytest.mark.parametrize("kind", [*KINDS, "deep", *(f"deep {kind}" for kind in KINDS[2:])])
@pytest.mark.parametrize("number", METHODS)
def test_released_pictures_decode_for_ever(number: int, kind: str, fixtures: Path) -> None:
    """`WRITE_GOLDEN=1` writes files of this version; released ones are never rewritten."""
    samples, method = drawing(kind), METHODS[number]
    path = fixtures / "lossless" / "direct" / f"{number}-{kind.replace(' ', '-')}.bin"
    if method.encode(samples, 5) is None:
        pytest.skip(f"{method.name} has no place for {kind}")
    if os.environ.get("WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(method.encode(samples, 5) or b"")
        pytest.fail(f"wrote {path.name}: review it, then run again without WRITE_GOLDEN")
    back = method.decode(path.read_bytes(), *samples.shape, BITS[samples.dtype.char])
    assert (back == samples).all()
    if method.name in OURS:  # The libraries of the others may write anew.
        assert method.encode(samples, 5) == path.read_bytes()


def smooth(height: int, width: int) -> NDArray[np.uint8]:
    """A photograph's statistics: smooth, with noise."""
    source = np.random.default_rng(0)
    waves = np.sin(np.arange(height)[:, None] / 9) * 60 + np.cos(np.arange(width) / 7) * 50 + 128
    return (waves + source.normal(0, 4, (height, width))).astype(np.uint8)[..., None]


def test_the_sketch_separates_drawings_photographs_and_noise() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (99, 99, 3)).astype(np.uint8)
    for samples, drawn, noisy in (
        (drawing("grey"), True, False),
        (drawing("bilevel"), True, True),
        (smooth(99, 99), False, False),
        (noise, False, True),
    ):
        sketch = Sketch.of(samples)
        assert (sketch.drawn, sketch.noisy) == (drawn, noisy)


def test_the_model_is_tried_where_it_may_win() -> None:
    assert choose(smooth(160, 160)).try_model
    assert not choose(smooth(160, 160), 3).try_model
    assert not choose(drawing("RGBA")).try_model
    assert choose(drawing("RGBA"), 9).try_model


def photograph(height: int, width: int) -> NDArray[np.uint8]:
    """Three channels that follow each other."""
    grey = smooth(height, width).astype(np.int64)
    noise = np.random.default_rng(1).normal(0, 2, (height, width, 3)).round().astype(np.int64)
    return np.clip(grey + noise + np.array([9, 0, -5]), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("effort", [1, 5])
def test_large_photographs_are_coded_by_least_squares(effort: int) -> None:
    found = choose(photograph(370, 380), effort)
    assert METHODS[found.method].name == "least squares"
    assert (found.complete, found.try_model) == (True, False)


@pytest.mark.parametrize(("effort", "tried"), [(3, False), (5, True), (8, True)])
def test_the_model_is_tried_on_small_photographs(effort: int, tried: bool) -> None:
    found = choose(photograph(150, 160), effort)
    assert METHODS[found.method].name == "least squares"
    assert found.try_model is tried


def test_converted_colours_are_coded_as_luma_and_chroma() -> None:
    colours = KNOWN[0].program.run(photograph(200, 200) // 2 + np.uint8(60))
    found = choose(colours, 5)
    assert METHODS[found.method].name == "conversion"
    assert found.try_model is False
    assert found.size < 0.9 * len(METHODS[7].encode(colours, 5) or b"")


def test_drawings_and_noise_are_not_given_to_least_squares(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choice, "_encode_squares", lambda *given: pytest.fail("tried"))
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3)).astype(np.uint8)
    assert METHODS[choose(noise, 5).method].name == "plain"
    assert METHODS[choose(np.zeros((200, 200, 3), np.uint8), 5).method].name != "least squares"


@pytest.mark.parametrize("number", [7, 8])
def test_the_bits_of_samples_add_up_to_the_bytes(number: int) -> None:
    colours = KNOWN[0].program.run(photograph(60, 70) // 2 + np.uint8(60))
    data = METHODS[number].encode(colours, 5)
    assert data is not None
    found = METHODS[number].bits(data, *colours.shape)
    assert found is not None
    assert found.shape == colours.shape
    assert found.min() > -1e-6
    assert 8 * len(data) - 1600 <= found.sum() <= 8 * len(data)


def test_methods_of_libraries_do_not_know_the_bits_of_samples() -> None:
    grey = smooth(20, 20)
    data = METHODS[2].encode(grey, 5)
    assert data is not None
    assert METHODS[2].bits(data, *grey.shape) is None


@pytest.mark.parametrize(
    ("effort", "share", "tried"),
    [(0, 0.9, False), (5, 0.9, True), (5, 0.5, True), (5, 0.2, False), (7, 0.2, True)],
)
def test_least_squares_is_tried_on_all_but_crisp_drawings(
    effort: int, share: float, tried: bool
) -> None:
    sketch = Sketch(raw_bits=1000, residual_bits=500.0, repeats=0.5)
    assert choice._may_be_photograph(effort, sketch, share) is tried
    noise = Sketch(raw_bits=1000, residual_bits=1000.0, repeats=0.0)
    assert choice._may_be_photograph(effort, noise, share) is False
    assert choice._may_be_photograph(9, noise, share) is True
