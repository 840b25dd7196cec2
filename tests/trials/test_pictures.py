"""Issue 25, pictures: what users tried with picture files, and what is right, line by line."""

import contextlib
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, ImageOps, PngImagePlugin, UnidentifiedImageError
from typer.testing import CliRunner, Result

import laconic
from laconic import pretrained
from laconic.cli import app
from laconic.codecs.image.codec import ImageCodec
from laconic.codecs.image.colour import is_srgb
from laconic.codecs.image.icc import BT_709, SRGB, Curve, Primaries, make_profile
from laconic.codecs.image.metadata import DamagedMetadataWarning, Metadata
from laconic.codecs.image.picture import LossyInputWarning, take_apart
from laconic.codecs.lossless.core import GroupCoder
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


@pytest.fixture(autouse=True)
def _models_that_need_no_weights(
    monkeypatch: pytest.MonkeyPatch, make_stand_in: Callable[..., GroupCoder]
) -> None:
    def load(name: object = pretrained.DEFAULT) -> pretrained.Pretrained:
        return pretrained.Pretrained(Pyramid(), "pyramid", b"pyramid, sixteen", 0)

    monkeypatch.setattr(pretrained, "load", load)
    monkeypatch.setattr(
        "laconic.codecs.lossless.file.make_coder", lambda model, threads=None: make_stand_in(8)
    )


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
    path, profile = tmp_path / "deep.png", b"a profile without a meaning"
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


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_line_05_dropped_frames_are_counted_and_one_can_be_chosen(
    tmp_path: Path, form: str
) -> None:
    path = tmp_path / "moving"
    path.write_bytes(animation(form))
    with pytest.warns(FramesWarning, match="4 frames; the first is coded and 3 left out"):
        assert np.asarray(read_image(path).convert("L")).max() == 0
    for read in (read_image, read_exact):
        third = read(path, frame=3)
        assert (abs(np.asarray(third.convert("L")).astype(int) - 0xAA) < 3).all()
        assert getattr(third, "n_frames", 1) == 1
        with pytest.raises(InputError, match=r"frame 5 does not exist.*1 to 4"):
            read(path, frame=5)
    with pytest.raises(InputError, match=r"4 frames.*--frame"):
        read_exact(path)


LINEAR, LINEAR_GREY = make_profile(Curve(1.0), BT_709), make_profile(Curve(1.0), None)
MADE = "from the file's colour chunks"
"""What made profiles call themselves."""
P3 = Primaries((0.3127, 0.3290), (0.68, 0.32), (0.265, 0.69), (0.15, 0.06))


def renamed(profile: bytes, name: str) -> bytes:
    return profile.replace(MADE.encode("utf-16-be"), name.ljust(len(MADE)).encode("utf-16-be"))


def enlarged(profile: bytes) -> bytes:
    """The profile with more bytes than a lossy file keeps."""
    data = profile + RNG.bytes(5000)
    return struct.pack(">I", len(data)) + data[4:]


def test_line_08_profiles_are_known_by_primaries_and_curve() -> None:
    image = Image.new("RGB", (5, 4), (59, 59, 59))
    image.info["icc_profile"] = renamed(LINEAR, "GIMP built-in Linear sRGB")
    back = laconic.decompress(laconic.compress(image))
    assert back.info["icc_profile"] == image.info["icc_profile"]
    for profile in (
        renamed(make_profile(SRGB, BT_709), "my camera"),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    ):
        image.info["icc_profile"] = profile
        assert "icc_profile" not in laconic.decompress(laconic.compress(image)).info
    for other in (make_profile(SRGB, P3), make_profile(Curve(2.2), BT_709)):
        assert not is_srgb(renamed(other, "sRGB"))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P"])
@pytest.mark.parametrize("profile", [LINEAR, LINEAR_GREY])
def test_line_08_pixels_are_converted_where_a_profile_is_large(mode: str, profile: bytes) -> None:
    image = Image.new("L", (5, 4), 59)
    if mode.endswith("A"):
        image.putalpha(77)
    image = image.convert(mode)
    image.info["icc_profile"] = enlarged(profile)
    if profile is LINEAR_GREY and mode not in ("L", "LA"):
        with pytest.warns(LossyInputWarning, match="one for GRAY"):
            picture = take_apart(image)
        assert (picture.pixels == 59).all()
        return
    picture = take_apart(image)
    assert picture.profile == b""
    assert (abs(picture.pixels.astype(int) - 133) <= 1).all()
    assert picture.alpha is None or (picture.alpha == 77).all()
    assert (picture.alpha is None) == (not mode.endswith("A"))


def gamma(value: int) -> bytes:
    return struct.pack(">I", value)


CHROMATICITIES = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
CHUNKS: dict[str, tuple[dict[str, bytes], bytes]] = {
    "gAMA of sRGB": ({"gAMA": gamma(45455)}, b""),
    "linear gAMA": ({"gAMA": gamma(100_000)}, LINEAR),
    "sRGB is before gAMA": ({"sRGB": b"\0", "gAMA": gamma(100_000)}, b""),
    "cHRM": ({"gAMA": gamma(45455), "cHRM": CHROMATICITIES}, make_profile(SRGB, P3)),
    "cICP of sRGB": ({"cICP": bytes([1, 13, 0, 1])}, b""),
    "cICP of Display P3": ({"cICP": bytes([12, 13, 0, 1])}, make_profile(SRGB, P3)),
    "cICP is before the rest": ({"cICP": bytes([1, 8, 0, 1]), "sRGB": b"\0"}, LINEAR),
}
"""Chunks, and the profile that says the same; empty for sRGB."""


@pytest.mark.parametrize("name", CHUNKS)
def test_line_08_what_png_says_of_colours_is_honoured(tmp_path: Path, name: str) -> None:
    chunks, profile = CHUNKS[name]
    path = tmp_path / "a.png"
    path.write_bytes(png(8, 2, (2, 1), b"\0" + bytes([59, 59, 59, 9, 200, 120]), **chunks))
    for request in REQUESTS.values():
        back = laconic.decompress(laconic.compress(path, **request))
        assert back.info.get("icc_profile", b"") == profile
    path.write_bytes(png(16, 0, (2, 1), b"\0" + bytes(4), **chunks))
    grey = LINEAR_GREY if profile == LINEAR else b""
    assert laconic.decompress(laconic.compress(path, lossless=True)).info.get(
        "icc_profile", b""
    ) == (grey)


@pytest.mark.parametrize(
    ("chunk", "body", "words"),
    [
        ("cICP", bytes([9, 16, 0, 1]), "cICP.*PQ"),
        ("cICP", bytes([9, 18, 0, 1]), "cICP.*HLG"),
        ("cICP", bytes([2, 2, 0, 0]), "cICP"),
        ("gAMA", gamma(0), "gAMA"),
        ("cHRM", bytes(32), "cHRM"),
    ],
)
def test_line_08_what_cannot_be_honoured_is_named(
    tmp_path: Path, chunk: str, body: bytes, words: str
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(8, 2, (1, 1), b"\0" + bytes([59, 59, 59]), **{chunk: body}))
    with pytest.warns(LossyInputWarning, match=words):
        laconic.compress(path)


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


NOISE = RNG.integers(0, 256, (20, 24, 3), np.uint8)
KEPT = {
    "webp": np.dstack([NOISE, NOISE[..., 0]]),
    "jp2": NOISE,
    "png": DEEP,
    "tiff": DEEP,
    "jxl": NOISE,
    "heic": NOISE,
    "avif": NOISE[..., 0],
    "bmp": NOISE,
    "ppm": DEEP,
}
"""Pictures that files with these endings keep as they are."""
REFUSED = {
    "avif": (NOISE, "--quality"),
    "jpg": (NOISE[..., 0], "--quality"),
    "webp": (DEEP, "--quality"),
    "gif": (NOISE, "PNG"),
    "ico": (NOISE, "PNG"),
    "ppm": (KEPT["webp"], "PNG"),
    "pdf": (NOISE, "PNG"),
}
"""Pictures that they do not, and a word of the advice."""


def decompressed(data: bytes, path: Path, *options: object) -> Result:
    path.with_suffix(".lac").write_bytes(data)
    arguments = ["decompress", path.with_suffix(".lac"), "-o", path, "--force", *options]
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("ending", KEPT)
def test_line_10_formats_keep_lossless_pictures_as_they_are(tmp_path: Path, ending: str) -> None:
    if name := plugins.find_by_ending(f".{ending}"):
        pytest.importorskip(plugins.PLUGINS[name].module)
    path, data = tmp_path / f"a.{ending}", laconic.compress(KEPT[ending], lossless=True)
    result = decompressed(data, path)
    assert result.exit_code == 0, result.output
    with Image.open(path) as image:
        back = image.convert("L") if ending == "avif" else image
        assert np.array_equal(np.asarray(back), KEPT[ending])


@pytest.mark.parametrize("ending", REFUSED)
def test_line_10_formats_that_change_lossless_pictures_are_refused(
    tmp_path: Path, ending: str
) -> None:
    pixels, word = REFUSED[ending]
    path, data = tmp_path / f"a.{ending}", laconic.compress(pixels, lossless=True)
    result = decompressed(data, path)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert word.lower() in result.stderr.lower()
    assert not path.exists()
    result = decompressed(data, path, "--quality", 90)
    if word == "--quality":
        assert result.exit_code == 0, result.output
        with Image.open(path) as image:
            assert image.size == (pixels.shape[1], pixels.shape[0])
            mean = np.asarray(image.convert("L")).mean()
        grey = EIGHT if pixels is DEEP else np.asarray(Image.fromarray(pixels).convert("L"))
        assert mean == pytest.approx(grey.mean(), abs=2)  # line 9: not white
    else:
        assert result.exit_code == 1
        assert "--quality is for JPEG" in result.stderr
    result = decompressed(data, tmp_path / "again.LAC")
    assert result.exit_code == 1
    assert "not an image file" in result.stderr


def test_line_10_lossy_pictures_keep_size_and_transparency(tmp_path: Path) -> None:
    data = laconic.compress(KEPT["webp"])
    shown = np.asarray(laconic.decompress(data))
    assert decompressed(data, tmp_path / "a.webp").exit_code == 0
    with Image.open(tmp_path / "a.webp") as image:
        assert np.array_equal(np.asarray(image), shown)
    for ending, word in {"ppm": "transparency", "ico": "16 x 13", "jpg": "RGBA"}.items():
        result = decompressed(data, tmp_path / f"a.{ending}")
        assert result.exit_code == 1
        assert word in result.stderr
    assert decompressed(laconic.compress(NOISE), tmp_path / "a.jpg").exit_code == 0
    drawing = laconic.compress(np.zeros((40, 50, 3), np.uint8))
    assert laconic.open(drawing).info.codec == "lossless"  # though it was not asked to be
    assert decompressed(drawing, tmp_path / "a.jpg").exit_code == 0


def test_line_10_what_a_format_does_not_hold_is_named(tmp_path: Path) -> None:
    with Image.open(io.BytesIO(photograph("JPEG", 6))) as image:
        image.info["icc_profile"] = b"a profile"
        data = laconic.compress(image, lossless=True)
    for ending in ("png", "tiff", "jpg", "webp"):
        options = ("--quality", 80) if ending == "jpg" else ()
        result = decompressed(data, tmp_path / f"a.{ending}", *options)
        assert result.exit_code == 0, result.output
        assert ("dots per inch" in result.stderr) == (ending == "webp")
        with Image.open(tmp_path / f"a.{ending}") as shown:
            shown.load()
            assert shown.info["icc_profile"] == b"a profile"
            assert shown.getexif()[0x010F] == "Laconic"
            assert shown.info["xmp"].startswith(XMP[:30])
            assert ImageOps.exif_transpose(shown).size == (20, 24)
    result = decompressed(data, tmp_path / "a.bmp")
    assert "warning" in result.stderr
    assert "BMP files hold no colour profile, EXIF, XMP" in result.stderr


REQUESTS = {
    "lossy": {"quality": 30},
    "lossless": {"lossless": True},
}
"""Requests of `compress` by what they write."""


@pytest.mark.parametrize("kind", REQUESTS)
def test_line_20_pillow_meets_a_plugin_that_behaves(kind: str, tmp_path: Path) -> None:
    image = Image.fromarray(RNG.integers(0, 256, (20, 24, 3), np.uint8))
    image.info["icc_profile"] = b"the image's own"
    path = tmp_path / "a.lac"
    image.save(path, icc_profile=b"another", dpi=(300, 150), **REQUESTS[kind])
    with Image.open(path) as found:
        assert found.info["icc_profile"] == b"another"  # before the pixels are decoded
        assert found.info["dpi"] == (300, 150)
        assert found.tile
        found.load()
        assert found.info["icc_profile"] == b"another"
        assert np.array_equal(np.asarray(found), np.asarray(laconic.decompress(path)))
    image.save(path, icc_profile=None, **REQUESTS[kind])
    with Image.open(path) as found:
        assert "icc_profile" not in found.info
    assert image.info["icc_profile"] == b"the image's own"


@pytest.mark.parametrize("kind", REQUESTS)
def test_line_20_damaged_files_are_errors_of_the_system(kind: str, tmp_path: Path) -> None:
    data = laconic.compress(RNG.integers(0, 256, (20, 24, 3), np.uint8), **REQUESTS[kind])
    for damaged in (data[:-3], data[:40], data[:-1] + bytes([data[-1] ^ 1]), data + b"x"):
        with pytest.raises(UnidentifiedImageError):
            Image.open(io.BytesIO(damaged))
    parser = ImageFile.Parser()
    for start in range(0, len(data), 11):
        parser.feed(data[start : start + 11])
    assert np.array_equal(np.asarray(parser.close()), np.asarray(laconic.decompress(data)))
    parser = ImageFile.Parser()
    parser.feed(data[:-1])
    with pytest.raises(OSError, match="cannot parse"):
        parser.close()


def test_line_20_pixels_that_do_not_decode_are_an_error_of_the_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = laconic.compress(RNG.integers(0, 256, (20, 24, 3), np.uint8))
    opened = Image.open(io.BytesIO(data))
    monkeypatch.setattr(pretrained, "load", _fail_to_load)
    with pytest.raises(OSError, match="pyramid"):
        opened.load()


def _fail_to_load(name: object) -> None:
    raise laconic.ConfigError("no such model")


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
    notes.add_text("Author", "A. Writer")
    Image.fromarray(DEEP).save(path, pnginfo=notes)
    with pytest.raises(ValueError, match="too large"):
        Image.open(path)
    for read in (read_image, read_exact):
        with pytest.warns(MetadataWarning, match="text"):
            image = read(path)
        assert np.array_equal(np.asarray(image), DEEP)
        assert image.info["Author"] == "A. Writer"
    with pytest.warns(MetadataWarning, match="text"):  # An archive reads its pictures twice.
        data = laconic.archive([path.read_bytes()])
    assert np.array_equal(np.asarray(dict(laconic.unarchive(data))["00000.png"]), DEEP)


def test_line_32_a_profile_above_the_limit_is_read(tmp_path: Path) -> None:
    path, profile = tmp_path / "print.png", RNG.bytes(PngImagePlugin.MAX_TEXT_CHUNK + 9)
    Image.new("RGB", (3, 2)).save(path, icc_profile=profile)
    assert read_exact(path).info["icc_profile"] == profile


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><tiff:Orientation>6</tiff:Orientation></x:xmpmeta>'


def camera_exif(orientation: int = 1, order: str = "<") -> bytes:
    """EXIF data as a camera writes them: a maker, an orientation, a thumbnail."""
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    entries = [(0x010F, 2, 8, 62), (0x0112, 3, 1, orientation << (16 if order == ">" else 0))]
    entries += [(0x0132, 2, 4, int.from_bytes(b"now\0", "little" if order == "<" else "big"))]
    second = 62 + 8
    first = struct.pack(f"{order}H", 3) + b"".join(
        struct.pack(f"{order}HHII", *entry) for entry in entries
    )
    data = mark + struct.pack(f"{order}I", 8) + first + struct.pack(f"{order}I", second)
    data = data.ljust(62, b"\0") + b"Laconic\0"
    picture = second + 2 + 24 + 4
    data += struct.pack(f"{order}H", 2) + struct.pack(f"{order}HHII", 0x0201, 4, 1, picture)
    data += struct.pack(f"{order}HHII", 0x0202, 4, 1, 9) + bytes(4) + b"thumbnail"
    return b"Exif\0\0" + data


def photograph(form: str, orientation: int = 1, order: str = "<") -> bytes:
    image = Image.fromarray(RNG.integers(0, 256, (20, 24, 3), np.uint8))
    exif = camera_exif(orientation, order)
    options: dict[str, object] = {"exif": exif, "dpi": (300, 150), "xmp": XMP}
    if form == "PNG":
        notes = PngImagePlugin.PngInfo()
        notes.add_itxt("XML:com.adobe.xmp", XMP.decode())
        options["pnginfo"] = notes
    if form == "TIFF":
        options["tiffinfo"] = {0x010F: "Laconic", 0x0132: "now", 700: XMP, 0x0112: orientation}
    return saved(image, form, **options)


@pytest.mark.parametrize("kind", REQUESTS)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_metadata_are_kept_unless_stripped(tmp_path: Path, form: str, kind: str) -> None:
    path = tmp_path / "photo"
    path.write_bytes(photograph(form))
    data = laconic.compress(path, **REQUESTS[kind])
    with Image.open(io.BytesIO(data)) as opened:
        before = dict(opened.info)
    image = laconic.decompress(data)
    exif = image.getexif()
    assert (exif[0x010F], exif[0x0132]) == ("Laconic", "now")
    assert image.info["xmp"] == XMP
    if form != "WEBP":
        assert image.info["dpi"] == pytest.approx((300, 150), abs=0.02)
    assert {key: before[key] for key in image.info} == image.info
    assert "metadata" in laconic.open(data).info.sections
    bare = laconic.compress(path, strip=True, **REQUESTS[kind])
    assert not {"exif", "xmp", "dpi"} & laconic.decompress(bare).info.keys()
    assert "metadata" not in laconic.open(bare).info.sections


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_lossy_metadata_are_those_of_the_upright_picture(orientation: int, order: str) -> None:
    with Image.open(io.BytesIO(photograph("JPEG", orientation, order))) as image:
        lossless = laconic.decompress(laconic.compress(image, lossless=True))
        lossy = laconic.decompress(laconic.compress(image))
    assert lossless.info["exif"] == camera_exif(orientation, order)
    assert lossless.size == (24, 20)
    assert lossy.size == ((20, 24) if orientation == 6 else (24, 20))
    assert lossy.info["dpi"] == ((150, 300) if orientation == 6 else (300, 150))
    assert dict(lossy.getexif()) == {0x010F: "Laconic", 0x0112: 1, 0x0132: "now"}
    assert b"thumbnail" not in lossy.info["exif"]
    assert len(lossy.info["exif"]) == len(camera_exif())
    assert b"tiff:Orientation" not in lossy.info["xmp"]


def test_archives_keep_the_metadata_of_each_picture(tmp_path: Path) -> None:
    with Image.open(io.BytesIO(photograph("JPEG", 6))) as image:
        image.load()
    plain = Image.new("L", (5, 4))
    pictures = {"a": plain, "b": image, "c": Image.new("L", (5, 4), 9)}
    data = laconic.archive(pictures)
    found = dict(laconic.unarchive(data))
    assert found["b"].info["exif"] == camera_exif(6)
    assert found["b"].info["xmp"] == XMP
    assert not found["a"].info
    cut = next(name for name, _ in laconic.unarchive(data[:-5], partial=True))
    assert cut == "a"
    bare = dict(laconic.unarchive(laconic.archive(pictures, strip=True)))
    assert "xmp" not in bare["b"].info
    assert dict(bare["b"].getexif()) == {0x0112: 6}
    plain_only = laconic.archive({"a": plain})
    assert "metadata" not in laconic.open(plain_only).info.sections


@pytest.mark.parametrize("kind", REQUESTS)
def test_damaged_exif_is_left_out_with_a_warning(kind: str) -> None:
    image = Image.new("RGB", (5, 4))
    image.info["exif"] = b"Exif\0\0no TIFF file at all"
    with pytest.warns(DamagedMetadataWarning, match="EXIF"):
        data = laconic.compress(image, **REQUESTS[kind])
    assert not laconic.decompress(data).info


def test_records_come_back_and_damage_is_found() -> None:
    metadata = Metadata(b"exif", b"xmp", (720000, 1))
    record = metadata.write()
    assert Metadata.read(record) == metadata
    assert Metadata.read(record + b"\x09\x01?") == metadata  # a kind of the future
    for end in range(1, len(record)):
        with contextlib.suppress(laconic.CorruptFileError):
            assert Metadata.read(record[:end]) != metadata  # A record that ends between two kinds.
