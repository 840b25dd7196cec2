"""Conversion: luma and chroma that colours were made of are found, and coded in their place."""

import io
import os
import zlib
from importlib import resources
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from laconic.codecs.lossless.direct.contexts import Contexts
from laconic.codecs.lossless.direct.conversion import Conversion, Known, find_conversion
from laconic.codecs.lossless.direct.conversion.inverse import invert
from laconic.codecs.lossless.direct.conversion.known import KNOWN
from laconic.codecs.lossless.direct.conversion.method import INNER
from laconic.codecs.lossless.direct.conversion.program import MAX_SUM, Program, Term
from laconic.codecs.lossless.direct.squares import Squares
from laconic.codecs.lossless.direct.webp import WebP
from laconic.container import FieldReader, FieldWriter
from laconic.errors import CorruptFileError, InputError, LaconicError, UnsupportedFileError

Bytes = NDArray[np.uint8]
IDENTITY = Program((Term(0, 0, (1, 0, 0)), Term(0, 0, (0, 1, 0, 0)), Term(0, 0, (0, 0, 1, 0, 0))))
EVERY = pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)


@pytest.fixture(scope="module")
def photograph() -> Bytes:
    """200 x 240 pixels of the sample, which no conversion made."""
    with resources.as_file(resources.files("laconic.pretrained") / "sample.png") as path:
        return np.asarray(Image.open(path).convert("RGB"))[100:300, 100:340]


def through(samples: Bytes, kind: str, **options: object) -> Bytes:
    """What a lossy file gives back."""
    file = io.BytesIO()
    Image.fromarray(samples).save(file, kind, **options)
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def clipped(samples: Bytes) -> NDArray[np.bool_]:
    """Pixels with a channel at 0 or 255."""
    return cast(NDArray[np.bool_], ((samples == 0) | (samples == 255)).any(2))


def smooth(height: int = 60, width: int = 70, channels: int = 3) -> Bytes:
    """Components as a photograph has them, of few channels that are clipped; and alpha."""
    row, column, channel = np.indices((height, width, channels))
    waves = 128 + 30 * np.sin(row / 9 + channel) + 20 * np.cos(column / 7)
    noise = np.random.default_rng(0).normal(0, 2, waves.shape)
    return (waves + noise).astype(np.uint8)


def converted(known: Known, components: Bytes) -> Bytes:
    """Their colours, alpha as it is."""
    return np.dstack([known.program.run(components[..., :3]), components[..., 3:]])


def read(data: bytes) -> tuple[int, int, bytes]:
    """The number of exceptions, the inner method, and its data."""
    reader = FieldReader(data)
    Program.read(reader)
    packed = reader.raw(reader.integer())
    count = FieldReader(zlib.decompress(packed, -15)).integer()
    return count, reader.integer(), reader.raw(reader.left)


@pytest.mark.parametrize("channels", [3, 4])
@EVERY
def test_a_conversion_is_found_and_comes_back(known: Known, channels: int) -> None:
    components = smooth(channels=channels)
    colours = converted(known, components)
    assert find_conversion(colours) == known
    data = Conversion().encode(colours, 5)
    assert data is not None
    back = Conversion().decode(data, *colours.shape, 8)
    assert np.array_equal(back, colours)
    found = invert(colours[..., :3], known)
    assert found is not None
    free = ~clipped(colours[..., :3])
    assert np.array_equal(found[free], components[..., :3][free])


@pytest.mark.parametrize(
    ("kind", "options", "name"),
    [
        ("JPEG", {"quality": 90, "subsampling": 0}, "JPEG"),
        ("JPEG", {"quality": 80, "subsampling": 2}, "JPEG"),
        ("WEBP", {"quality": 80}, "WebP"),
    ],
)
def test_decoded_files_are_found(
    photograph: Bytes, kind: str, options: dict[str, object], name: str
) -> None:
    """Measured on Kodak's pictures: all pixels that are not clipped are exact."""
    colours = through(photograph, kind, **options)
    known = find_conversion(colours)
    assert known is not None
    assert known.name == name
    components = invert(colours, known)
    assert components is not None
    wrong = (known.program.run(components) != colours).any(2)
    assert not (wrong & ~clipped(colours)).any()
    data = Conversion().encode(colours, 5)
    assert data is not None
    assert np.array_equal(Conversion().decode(data, *colours.shape, 8), colours)
    count, inner, _ = read(data)
    assert count == wrong.sum()
    assert len(data) < 0.95 * len(INNER[inner].encode(colours, 5) or b"")


def test_clipped_colours_have_components_near_by() -> None:
    """Colours far outside the range: a preimage is found for each, and the planes stay smooth."""
    row, column = np.mgrid[:80, :90]
    luma = 120 + 110 * np.sin(row / 15) + 20 * np.cos(column / 11)
    chroma = 128 + 40 * np.cos(row / 30 + column / 20), 128 + 40 * np.sin(column / 25)
    components = np.clip(np.stack([chroma[0], luma, chroma[1]], 2), 0, 255).astype(np.uint8)
    for known in KNOWN[:2]:
        colours = known.program.run(components)
        assert clipped(colours).mean() > 0.3
        found = invert(colours, known)
        assert found is not None
        assert np.array_equal(known.program.run(found), colours)
        assert np.abs(found.astype(int) - components)[..., [0, 2]].mean() < 4


def test_others_are_not_found(photograph: Bytes) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)
    grey = np.repeat(smooth(channels=1), 3, 2)
    few = np.random.default_rng(1).integers(0, 256, (9, 3), np.uint8)
    drawn = few[np.random.default_rng(2).integers(0, 9, (80, 80))]
    for samples in (photograph, noise, grey, drawn, smooth(), smooth(channels=2)):
        assert find_conversion(samples) is None
        assert Conversion().encode(samples, 5) is None
    assert Conversion().encode(smooth().astype(np.uint16), 5) is None
    assert Conversion().encode(smooth(channels=1) > 128, 5) is None


def test_tiles_without_colour_take_the_picture_s_conversion() -> None:
    colours = np.full((20, 30, 3), 255, np.uint8)
    assert Conversion().encode(colours, 5) is None
    data = Conversion(KNOWN[0]).encode(colours, 5)
    assert data is not None
    assert np.array_equal(Conversion().decode(data, 20, 30, 3, 8), colours)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1 << 30), st.sampled_from(KNOWN), st.integers(3, 4), st.integers(0, 5))
def test_edited_pictures_come_back(seed: int, known: Known, channels: int, side: int) -> None:
    source = np.random.default_rng(seed)
    components = source.integers(100, 156, (40, 50, channels), np.uint8)
    colours = converted(known, components)
    top, left = source.integers(0, 40), source.integers(0, 50)
    part = colours[top : top + side, left : left + side]
    part[...] = source.integers(0, 256, part.shape, np.uint8)
    data = Conversion().encode(colours, 0)
    assert data is not None
    assert read(data)[0] <= side * side
    assert np.array_equal(Conversion().decode(data, *colours.shape, 8), colours)


def test_pictures_with_too_many_exceptions_are_refused() -> None:
    colours = converted(KNOWN[0], smooth())
    colours[:10] = np.random.default_rng(0).integers(0, 256, (10, 70, 3), np.uint8)
    assert Conversion(KNOWN[0]).encode(colours, 5) is None


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_program_is_read_back(data: st.DataObject) -> None:
    terms, numbers = [], st.integers(-300, 300)
    for count in range(3, data.draw(st.integers(6, 19))):
        factors = data.draw(st.lists(numbers, min_size=count, max_size=count))
        terms.append(Term(data.draw(st.integers(8, 30)), data.draw(numbers), tuple(factors)))
    program = Program(tuple(terms))
    writer = FieldWriter()
    program.write(writer)
    assert Program.read(FieldReader(writer.finish())) == program
    pixel = [7, 200, 90]
    values = list(pixel)
    for term in program.terms:
        pairs = zip(term.coefficients, values, strict=True)
        values.append(sum(a * b for a, b in pairs) + term.offset >> term.shift)
    expected = [min(max(value, 0), 255) for value in values[-3:]]
    assert program.run(np.array([pixel], np.uint8))[0].tolist() == expected


def test_programs_that_leave_64_bits_are_refused() -> None:
    last = IDENTITY.terms[1:]
    most = MAX_SUM // 255
    Program((Term(0, 0, (most, 0, 0)), *last))
    with pytest.raises(InputError, match="64 bits"):
        Program((Term(0, 0, (most + 1, 0, 0)), *last))
    with pytest.raises(InputError, match="64 bits"):
        Program((Term(0, 0, (most, 0, 0)), Term(0, 0, (0, 0, 0, 2)), last[1]))
    with pytest.raises(InputError, match="terms"):
        Program(last)
    with pytest.raises(InputError, match="coefficients"):
        Program((*last, last[0]))
    with pytest.raises(InputError, match="shift"):
        Program((Term(31, 0, (0, 0, 0)), *last))
    for shift, offset, coefficients in ((0, 1 << 62, (1, 0, 0)), (0, 0, (1 << 61, 0, 0))):
        writer = FieldWriter()
        writer.integer(1)
        writer.integer(shift)
        for value in (offset, *coefficients):
            writer.signed(value)
        with pytest.raises(CorruptFileError):
            Conversion().decode(writer.finish(), 2, 2, 3, 8)


def file_of(exceptions: bytes, method: int = 1, program: Program = IDENTITY) -> bytes:
    """A picture of 4 x 4 pixels of zeros."""
    writer = FieldWriter()
    program.write(writer)
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(exceptions) + packer.flush()
    writer.integer(len(packed))
    writer.raw(packed)
    writer.integer(method)
    return writer.finish() + bytes(48)


def test_damage_is_named() -> None:
    good = file_of(bytes([1, 15, 9, 0, 7]))
    assert Conversion().decode(good, 4, 4, 3, 8)[3, 3].tolist() == [9, 0, 7]
    for exceptions, words in (
        (bytes([2, 0, 1, 1, 1, 0, 1, 1, 1]), "above"),
        (bytes([1, 16, 1, 1, 1]), "outside"),
        (bytes([1, 0, 1, 1]), "."),
        (bytes([0, 0]), "."),
        (bytes([1, 0, 128, 2, 1, 1]), "above"),
    ):
        with pytest.raises(CorruptFileError, match=words):
            Conversion().decode(file_of(exceptions), 4, 4, 3, 8)
    for method in (0, 5, 6, 8, 99):
        with pytest.raises(UnsupportedFileError, match="update"):
            Conversion().decode(file_of(b"\0", method), 4, 4, 3, 8)
    for channels, bits in ((2, 8), (3, 16), (1, 1)):
        with pytest.raises(CorruptFileError, match="no conversion"):
            Conversion().decode(good, 4, 4, channels, bits)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_bytes_raise_only_our_errors(data: st.DataObject) -> None:
    good = bytearray(file_of(bytes([1, 9, 1, 2, 3]), program=KNOWN[1].program))
    for _ in range(data.draw(st.integers(0, 3))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(good)))
    try:
        back = Conversion().decode(bytes(good[:cut]), 4, 4, 3, 8)
    except LaconicError:
        return
    assert back.shape == (4, 4, 3)
    assert back.dtype == np.uint8


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("known", KNOWN[:3], ids=["jpeg", "webp", "photo-cd"])
def test_released_pictures_decode_for_ever(known: Known, channels: int, fixtures: Path) -> None:
    """`WRITE_GOLDEN=1` writes files of this version; released ones are never rewritten."""
    row, column = np.mgrid[:40, :50]
    planes = 100 + row + (column * 7 & 15), 3 * row + column * 2 + (row * column & 7)
    components = np.stack([*planes, 160 - column + (row * 5 & 15), row * 6], 2)
    colours = converted(known, components[..., :channels].astype(np.uint8))
    colours[7:11, 9:19, 1] ^= 85
    path = (
        fixtures
        / "lossless"
        / "conversion"
        / f"{known.name.lower().replace(' ', '-')}-{channels}.bin"
    )
    if os.environ.get("WRITE_GOLDEN"):
        data = Conversion(known).encode(colours, 5)
        assert data is not None
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        pytest.fail(f"wrote {path.name}: review it, then run again without WRITE_GOLDEN")
    data = path.read_bytes()
    assert read(data)[0] > 0
    assert np.array_equal(Conversion().decode(data, 40, 50, channels, 8), colours)


def test_luma_is_in_the_place_of_green() -> None:
    components = smooth()
    colours = converted(KNOWN[0], components)
    data = Conversion().encode(colours, 5)
    assert data is not None
    count, inner, rest = read(data)
    assert count == 0
    assert inner in (WebP.number, Contexts.number, Squares.number)
    inside = INNER[inner].decode(rest, 60, 70, 3, 8)
    free = ~clipped(colours)
    assert np.array_equal(inside[free], components[free])
