"""Alpha planes, tile plans and headers on their own."""

import contextlib
import itertools
import lzma
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from laconic.codecs.base import ModelId
from laconic.codecs.image.alpha import decode_alpha, encode_alpha
from laconic.codecs.image.header import CoderSetting, ImageHeader, LevelCost, Totals
from laconic.codecs.image.tiles import MAX_TILE_PIXELS, Canvas, TilePlan, plan_tiles, ramp
from laconic.errors import CorruptFileError, FileError

sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))


@given(arrays.arrays(np.uint8, sizes))
@settings(max_examples=60)
def test_alpha_round_trip(plane: np.ndarray) -> None:
    assert (decode_alpha(encode_alpha(plane), *plane.shape) == plane).all()


def test_constant_and_smooth_alpha_are_small() -> None:
    assert len(encode_alpha(np.full((500, 400), 255, np.uint8))) == 2
    slope = np.add.outer(np.arange(256), np.arange(256)).astype(np.uint8)
    assert len(encode_alpha(slope)) < 200


@given(st.binary(max_size=40))
def test_hostile_alpha_raises_only_file_errors(data: bytes) -> None:
    with contextlib.suppress(CorruptFileError):
        assert decode_alpha(data, 5, 7).shape == (5, 7)


@pytest.mark.slow
def test_alpha_bombs_are_refused() -> None:
    zeros = bytes(50_000_000)
    for bomb in (b"\x10" + zlib.compress(zeros), b"\x20" + lzma.compress(zeros, lzma.FORMAT_ALONE)):
        with pytest.raises(CorruptFileError, match="not 4 x 4"):
            decode_alpha(bomb, 4, 4)


@given(st.integers(1, 6000), st.integers(1, 6000), st.sampled_from([8, 16, 32]))
def test_tile_plans_cover_the_image(height: int, width: int, stride: int) -> None:
    plan = plan_tiles(height, width, stride)
    found = list(plan)
    assert len(found) == plan.count
    assert all(tile.height * tile.width <= MAX_TILE_PIXELS for tile in found)
    for spans, length in ((plan.rows, height), (plan.columns, width)):
        assert spans[0][0] == 0
        assert spans[-1][1] == length
        for (_, stop), (start, _) in itertools.pairwise(spans):
            assert stop - start == plan.overlap
        assert all(stop - start > plan.overlap or len(spans) == 1 for start, stop in spans)


@pytest.mark.parametrize(
    "numbers",
    [
        (0, 4, 4, 4, 0), (4, 4, 5, 4, 0), (4, 4, 0, 4, 0), (9, 9, 4, 4, 4),
        (1 << 16, 1 << 16, 2048, 2048, 32),
        (1 << 17, 1, 1 << 17, 1, 0), (4096, 4096, 4096, 4096, 0),
    ],
)  # fmt: skip
def test_absurd_plans_are_refused(numbers: tuple[int, ...]) -> None:
    with pytest.raises(CorruptFileError):
        TilePlan(*numbers)


@given(st.integers(20, 90), st.integers(20, 90), st.integers(1, 6), st.integers(14, 19))
def test_canvas_gives_the_image_back(height: int, width: int, overlap: int, side: int) -> None:
    image = np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
    plan = TilePlan(height, width, side, side + 1, overlap)
    canvas = Canvas(plan)
    for tile in plan:
        values = image[tile.top : tile.bottom, tile.left : tile.right].astype(np.float32) / 255
        canvas.add(tile, values)
    assert (canvas.finish() == image).all()


def test_neighbours_weights_add_up_to_one() -> None:
    assert np.allclose(ramp(10, 4, True, False)[:4] + ramp(10, 4, False, True)[-4:], 1)
    assert (ramp(10, 4, False, False) == 1).all()


numbers = st.integers(0, 2**40)
words = st.text(min_size=1, max_size=12) | st.sampled_from(["trellis", "indices", "budget"])
coder_settings = st.builds(CoderSetting, words, st.dictionaries(words, numbers, max_size=3))


@st.composite
def headers(draw: st.DrawFn) -> ImageHeader:
    levels = draw(st.integers(0, 5))
    names = draw(st.lists(words, max_size=3, unique=True))
    cost = st.builds(
        LevelCost, numbers, numbers, st.fixed_dictionaries(dict.fromkeys(names, numbers))
    )
    height, width = draw(st.integers(1, 5000)), draw(st.integers(1, 5000))
    flags = [draw(st.booleans()) for _ in range(3)]
    costs = st.lists(cost, min_size=levels, max_size=levels).map(tuple)
    inner = st.lists(numbers, min_size=levels - 1, max_size=levels - 1).map(tuple)
    short = st.builds(Totals, numbers, numbers, inner if levels > 1 else st.just(()))
    return ImageHeader(
        ModelId(draw(words), draw(st.binary(min_size=8, max_size=8))),
        plan_tiles(height, width, 16),
        draw(st.integers(0, 2)), *flags, draw(st.integers(0, 1000)), draw(numbers),
        tuple(draw(st.lists(coder_settings, min_size=levels, max_size=levels))),
        draw(costs | short),
    )  # fmt: skip


@pytest.mark.slow
@given(headers())
def test_header_round_trip(header: ImageHeader) -> None:
    assert ImageHeader.read(header.write()) == header


@pytest.mark.slow
@given(headers(), st.data())
def test_hostile_headers_raise_only_file_errors(header: ImageHeader, draw: st.DataObject) -> None:
    data = bytearray(header.write())
    data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    with contextlib.suppress(FileError):
        ImageHeader.read(bytes(data[: draw.draw(st.integers(0, len(data)))]))
