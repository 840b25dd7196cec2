"""Issue 25, pictures: what users tried with picture files, and what is right, line by line."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from laconic.codecs.image import ImageCodec
from laconic.codecs.picture import LossyInputWarning, take_apart
from laconic.data import plugins
from laconic.data.exact_images import read_exact
from laconic.data.folders import load_rgb
from laconic.data.images import FramesWarning, MetadataWarning, read_image
from laconic.errors import InputError
from laconic.models.pyramid import Pyramid

RNG = np.random.default_rng(25)
DEEP = np.linspace(0, 65535, 63).reshape(7, 9).astype(np.uint16)
EIGHT = np.round(DEEP / 65535 * 255)
"""What `DEEP` is in 8 bits."""


@pytest.fixture(scope="module")
def codec() -> ImageCodec:
    return ImageCodec(Pyramid(), "pyramid", b"pyramid!", "importance")


def png(depth: int, colour: int, size: tuple[int, int], rows: bytes, **chunks: bytes) -> bytes:
    """A PNG file written by hand, since Pillow does not write all kinds; `rows` with filters."""
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)),
        *((name.encode(), body) for name, body in chunks.items()),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def tiff_of_16_bits(values: np.ndarray, photometric: int, bits: int = 16) -> bytes:
    """A grey TIFF file of one row, as Pillow does not write it."""
    data = values.astype("<u2").tobytes()
    if bits == 12:
        text = "".join(f"{value:012b}" for value in values.tolist())
        data = int(text, 2).to_bytes(len(text) // 8, "big")
    tags = [(256, 4, values.size), (257, 4, 1), (258, 3, bits), (259, 3, 1), (262, 3, photometric)]
    tags += [(273, 4, 8), (277, 3, 1), (278, 4, 1), (279, 4, len(data))]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def animation(form: str, mode: str = "RGB") -> bytes:
    frames = [Image.new(mode, (20, 16), shade) for shade in ("#000", "#555", "#aaa", "#fff")]
    return saved(frames[0], form, save_all=True, append_images=frames[1:], lossless=True)


GREY_ROWS = {2: [0b00011011], 4: [0x01, 0x4F]}
"""A row of four samples by bits."""


@pytest.mark.parametrize("reader", [read_image, read_exact])
@pytest.mark.parametrize(("bits", "value"), [(1, 1), (2, 1), (2, 3), (4, 4), (8, 4)])
def test_line_04_transparent_grey_of_few_bits_stays_transparent(
    tmp_path: Path, reader: object, bits: int, value: int
) -> None:
    samples = {1: [0, 1, 1, 0], 2: [0, 1, 2, 3], 4: [0, 1, 4, 15], 8: [0, 1, 4, 255]}[bits]
    row = {1: bytes([0b01100000]), 8: bytes(samples)}.get(bits) or bytes(GREY_ROWS[bits])
    path = tmp_path / "grey.png"
    path.write_bytes(png(bits, 0, (4, 1), b"\0" + row, tRNS=struct.pack(">H", value)))
    image = reader(path).convert("LA")  # type: ignore[operator]
    expected = [0 if sample == value else 255 for sample in samples]
    assert np.asarray(image)[0, :, 1].tolist() == expected
    assert take_apart(reader(path)).alpha.tolist() == [expected]  # type: ignore[operator, union-attr]
    with Image.open(path) as opened:
        assert take_apart(reader(opened)).alpha.tolist() == [expected]  # type: ignore[operator, union-attr]


def test_line_04_transparency_and_profile_of_16_bit_grey_are_kept(tmp_path: Path) -> None:
    path, profile = tmp_path / "deep.png", b"a profile that nobody can read"
    Image.fromarray(DEEP).save(path, transparency=int(DEEP[3, 3]), icc_profile=profile)
    with pytest.warns(LossyInputWarning, match="16 bits"):
        picture = take_apart(read_image(path))
    assert picture.alpha is not None
    assert np.argwhere(picture.alpha == 0).tolist() == [[3, 3]]
    assert np.array_equal(picture.pixels[..., 0], EIGHT)
    assert zlib.decompress(picture.profile) == profile


def test_line_04_a_transparent_colour_of_48_bits_stays_transparent(tmp_path: Path) -> None:
    path, colours = tmp_path / "deep.png", [(1000, 2000, 3000), (60000, 50000, 40000)]
    row = b"\0" + b"".join(struct.pack(">3H", *colour) for colour in colours)
    path.write_bytes(png(16, 2, (2, 1), row, tRNS=struct.pack(">3H", *colours[1])))
    with pytest.warns(LossyInputWarning, match="16 bits"):
        picture = take_apart(read_image(path))
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[255, 0]]


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_line_05_dropped_frames_are_counted_and_one_can_be_chosen(
    tmp_path: Path, form: str
) -> None:
    path = tmp_path / "moving"
    path.write_bytes(animation(form))
    with pytest.warns(FramesWarning, match="4 frames; the first is coded and 3 left out"):
        assert np.asarray(read_image(path).convert("L")).max() == 0
    for read in (read_image, read_exact):
        third = read(path, frame=3)
        assert (np.asarray(third.convert("L")) == 0xAA).all()
        assert getattr(third, "n_frames", 1) == 1
        with pytest.raises(InputError, match=r"frame 5 does not exist.*1 to 4"):
            read(path, frame=5)
    with pytest.raises(InputError, match=r"4 frames.*--frame"):
        read_exact(path)


def test_line_09_one_function_converts_depth(tmp_path: Path, codec: ImageCodec) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(DEEP).save(path)
    assert np.array_equal(load_rgb(path)[..., 0], EIGHT)
    with pytest.warns(LossyInputWarning, match="16 bits"):
        shown = codec.decode(codec.encode(read_image(path), quality=100))
    assert abs(np.asarray(shown, float) - EIGHT).mean() < 30


def test_line_09_tiffs_from_white_to_black_and_of_12_bits(tmp_path: Path) -> None:
    path, values = tmp_path / "x.tif", np.array([0, 1000, 40000, 65535])
    path.write_bytes(tiff_of_16_bits(values, photometric=0))
    for read in (read_image, read_exact):
        assert np.asarray(read(path)).tolist() == [(65535 - values).tolist()]
    assert load_rgb(path)[0, :, 0].tolist() == [255, 251, 99, 0]
    path.write_bytes(tiff_of_16_bits(np.array([0, 2048, 4000, 4095]), photometric=1, bits=12))
    assert load_rgb(path)[0, :, 0].tolist() == [0, 128, 249, 255]


@pytest.mark.parametrize(
    ("form", "package"), [("HEIF", "pillow-heif"), ("JXL", "pillow-jxl-plugin")]
)
def test_line_32_plugins_are_used_or_named(
    tmp_path: Path, form: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = {"HEIF": "heif", "JXL": "jxl"}[form]
    pytest.importorskip(plugins.PLUGINS[name].module)
    plugins.load_plugin(name)
    colours = RNG.integers(0, 256, (24, 32, 3), np.uint8)
    path = tmp_path / "photo.of.a.phone"
    path.write_bytes(saved(Image.fromarray(colours), form, quality=90))
    assert plugins.find_by_start(path.read_bytes()) == name
    opener = Image.OPEN[form]
    monkeypatch.setitem(Image.OPEN, form, (opener[0], lambda start: False))
    with monkeypatch.context() as patch:
        patch.setattr(plugins.importlib, "import_module", _fail)
        with pytest.raises(InputError, match=rf"photo.of.a.phone.*{package}"):
            read_image(path)

    def load(asked: str) -> None:
        assert asked == name
        plugins.load_plugin(asked)
        Image.OPEN[form] = opener

    monkeypatch.setattr("laconic.data.images.load_plugin", load)
    assert read_image(path).size == (32, 24)


def _fail(name: str) -> None:
    raise ImportError(name)


def test_line_32_text_above_the_limit_is_dropped_with_a_warning(tmp_path: Path) -> None:
    path, notes = tmp_path / "talkative.png", PngImagePlugin.PngInfo()
    notes.add_text("long", "x" * (PngImagePlugin.MAX_TEXT_CHUNK + 1), zip=True)
    notes.add_itxt("long too", "y" * (PngImagePlugin.MAX_TEXT_CHUNK + 1), zip=True)
    notes.add_text("Author", "A. Nobody")
    Image.fromarray(DEEP).save(path, pnginfo=notes)
    with pytest.raises(ValueError, match="too large"):
        Image.open(path)
    for read in (read_image, read_exact):
        with pytest.warns(MetadataWarning, match="text"):
            image = read(path)
        assert np.array_equal(np.asarray(image), DEEP)
        assert image.info["Author"] == "A. Nobody"


def test_line_32_a_profile_above_the_limit_is_read(tmp_path: Path) -> None:
    path, profile = tmp_path / "print.png", RNG.bytes(PngImagePlugin.MAX_TEXT_CHUNK + 9)
    Image.new("RGB", (3, 2)).save(path, icc_profile=profile)
    assert read_exact(path).info["icc_profile"] == profile
