"""Issue 25, lines 26, 27, 30 and the rest of 25: what is no photograph, progress, effort."""

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import laconic
from laconic import pretrained
from laconic.codecs.lossless import grid
from laconic.codecs.lossless.codec import Core, LosslessCodec
from laconic.codecs.lossless.direct import METHODS
from laconic.codecs.lossless.file import LosslessFile, make_coder
from laconic.codecs.lossless.info import LosslessInfo
from laconic.container import pack, unpack
from laconic.models.pixel_ladder.ladder import PixelLadder
from laconic.models.pixel_ladder.networks import PixelLadderConfig

WEBP_HEADER_BYTES = 32
"""A WebP file has 20 bytes around its pixels; ours has up to so many more, with a checksum."""


@pytest.fixture
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading any model is a failure."""

    def load(name: object) -> None:
        pytest.fail(f"the model {name} was loaded")

    monkeypatch.setattr(pretrained, "load", load)


def page(mode: str = "L", size: tuple[int, int] = (420, 300)) -> Image.Image:
    """A page of text."""
    image = Image.new(mode, size, "white")
    draw = ImageDraw.Draw(image)
    for line in range(4, size[1] - 20, 18):
        words = " ".join(f"{line * 7919 % (k + 89):x}" for k in range(3, 30))
        draw.text((8, line), words, fill="black", font=ImageFont.load_default(13))
    return image


def dithered(size: int = 128) -> Image.Image:
    """Bilevel, by error diffusion from a ramp."""
    ramp = np.add.outer(np.arange(size), np.arange(size)) * 255 // (2 * size - 2)
    return Image.fromarray(ramp.astype(np.uint8)).convert("1")


def screen() -> Image.Image:
    """Windows, text and an icon with alpha, as programs draw them."""
    image = Image.new("RGBA", (320, 240), (236, 236, 240, 255))
    draw = ImageDraw.Draw(image)
    draw.rectangle((20, 20, 300, 200), fill=(255, 255, 255, 255), outline=(60, 60, 60, 255))
    draw.ellipse((220, 120, 290, 190), fill=(30, 120, 220, 128))
    draw.text((30, 30), "File  Edit  View", fill=(20, 20, 20, 255), font=ImageFont.load_default(14))
    return image


def noise(*shape: int, kind: type = np.uint8) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, np.iinfo(kind).max + 1, shape).astype(kind)


def classical_bytes(image: Image.Image) -> int:
    """The smaller of lossless WebP and PNG at Pillow's settings."""
    sizes = []
    for options in ({"format": "PNG", "optimize": True}, {"format": "WEBP", "lossless": True}):
        if options["format"] == "WEBP" and image.mode.startswith("I"):
            continue
        file = io.BytesIO()
        image.save(file, **options)
        sizes.append(len(file.getvalue()))
    return min(sizes)


def same(first: Image.Image, second: Image.Image) -> bool:
    return first.mode == second.mode and bool((np.asarray(first) == np.asarray(second)).all())


DRAWINGS = {
    "grey text": page(),
    "colour text": page("RGB"),
    "bilevel text": page("1"),
    "dithered": dithered(),
    "checkerboard": Image.fromarray((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)),
    "white": Image.new("RGB", (300, 200), "white"),
    "screen with alpha": screen(),
    "grey with alpha": screen().convert("LA"),
    "palette": page("RGB").quantize(4),
    "16 bits": Image.fromarray((np.asarray(page()) > 99).astype(np.uint16) * 40000),
    "tiles of noise": Image.fromarray(np.tile(noise(32, 32, 3), (6, 6, 1))),
    "one pixel": Image.new("RGB", (1, 1), "red"),
}


@pytest.mark.slow
@pytest.mark.usefixtures("_no_model")
@pytest.mark.parametrize("name", DRAWINGS)
def test_line_26_drawings_take_no_more_than_webp_or_png(name: str) -> None:
    image = DRAWINGS[name]
    data = laconic.compress(image, lossless=True)
    assert len(data) <= classical_bytes(image) + WEBP_HEADER_BYTES
    back = laconic.decompress(data)
    assert same(back, image.convert("RGB") if image.mode == "P" else image)
    assert laconic.open(data).info.to_dict()["model"] is None


@pytest.mark.usefixtures("_no_model")
@pytest.mark.parametrize("shape", [(200, 300, 3), (200, 300), (150, 140, 4), (200, 200, 2)])
def test_line_26_noise_takes_no_more_than_its_samples_and_64_bytes(shape: tuple[int, ...]) -> None:
    for array in (noise(*shape), noise(*shape[:2], kind=np.uint16), noise(*shape[:2]) > 127):
        data = laconic.compress(array, lossless=True)
        raw = -(-array.size // 8) if array.dtype == bool else array.nbytes
        assert len(data) <= raw + 64
        assert (np.asarray(laconic.decompress(data)) == array).all()


@pytest.mark.slow
@pytest.mark.parametrize("effort", [0, 1, 5, 7, 9])
def test_line_26_and_30_photographs_by_effort(effort: int, data_root: Path) -> None:
    """From effort 1 on they take fewer bytes than in WebP and PNG."""
    path = data_root / "kodak" / "kodim05.png"
    if not path.is_file():
        pytest.skip("no Kodak pictures in the data folder")
    image = Image.open(path).crop((300, 200, 364, 256))
    data = laconic.compress(image, lossless=True, effort=effort)
    assert same(laconic.decompress(data), image)
    info = laconic.open(data).info
    assert isinstance(info, LosslessInfo)
    own = info.kinds[0].method in ("least squares", "conversion", "model")
    assert own == (effort >= 1)
    if effort >= 1:
        assert len(data) < classical_bytes(image)


def test_line_30_effort_outside_0_to_9_is_refused() -> None:
    for effort in (-1, 10):
        with pytest.raises(laconic.InputError, match="effort"):
            laconic.compress(noise(4, 4), lossless=True, effort=effort)


@pytest.mark.slow
@pytest.mark.usefixtures("_no_model")
def test_line_26_an_archive_codes_each_picture_by_itself_where_that_is_smaller() -> None:
    pictures = {"text.png": page(), "noise.png": noise(300, 420), "dots.png": dithered()}
    pictures["more.png"] = page().transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    data = laconic.archive(pictures)
    found = dict(laconic.unarchive(data))
    assert all(same(found[name], Image.fromarray(np.asarray(p))) for name, p in pictures.items())
    methods = {kind.method for kind in laconic.open(data).info.kinds}
    assert "plain" in methods
    assert len(methods) > 1
    assert len(data) < 300 * 420 + 300 * 420 // 4


def test_line_26_a_method_of_a_newer_version_is_named() -> None:
    assert max(METHODS) < 99
    data = bytearray(laconic.compress(Image.new("L", (5, 5)), lossless=True))
    container = unpack(bytes(data))
    header = bytearray(container.header)
    place = header.index(bytes([LosslessFile.read(bytes(data)).bundles[0].method]), 6)
    header[place] = 99
    with pytest.raises(laconic.UnsupportedFileError, match="method 99"):
        laconic.decompress(pack(container.codec, bytes(header), container.sections))


@pytest.mark.slow
def test_line_25_a_size_above_the_finest_file_gives_that_file_with_a_warning() -> None:
    image = Image.new("RGB", (128, 96), "white")
    with pytest.warns(UserWarning, match=r"fewer than the requested 1"):
        data = laconic.compress(image, bpp=1)
    assert same(laconic.decompress(data), image)
    note = laconic.open(data).info.to_dict()["note"]
    assert "fits the requested 1 bits per pixel" in note


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "quality"),
    [
        ("colour text", 60),
        ("colour text", 95),
        ("checkerboard", 100),
        ("dithered", 95),
        ("bilevel text", 100),
    ],
)
def test_line_27_drawings_are_kept_exactly_where_that_takes_no_more_bytes(
    name: str, quality: float
) -> None:
    image = DRAWINGS[name].crop((0, 0, 96, 64))
    data = laconic.compress(image, quality)
    info = laconic.open(data).info
    if quality >= 95 or isinstance(info, LosslessInfo):
        assert same(laconic.decompress(data), image)
        assert isinstance(info, LosslessInfo)
        assert info.quality == pytest.approx(quality, abs=0.05)
        assert "requested" in str(info.note)
    if quality >= 95:
        assert len(data) <= classical_bytes(image) + WEBP_HEADER_BYTES


@pytest.mark.slow
def test_line_27_noise_at_quality_100_is_exact() -> None:
    image = Image.fromarray(noise(64, 48, 3))
    data = laconic.compress(image, quality=100)
    assert same(laconic.decompress(data), image)
    assert "too far from the picture" in laconic.open(data).info.to_dict()["note"]


@pytest.mark.slow
def test_line_27_photographs_stay_lossy_and_near(data_root: Path) -> None:
    path = data_root / "kodak" / "kodim05.png"
    if not path.is_file():
        pytest.skip("no Kodak pictures in the data folder")
    image = Image.open(path).crop((300, 200, 396, 264))
    data = laconic.compress(image, quality=95)
    assert laconic.open(data).info.codec == "image"
    error = np.asarray(laconic.decompress(data)).astype(float) - np.asarray(image)
    assert 10 * np.log10(255**2 / np.mean(error**2)) >= 34


@pytest.mark.slow
def test_line_27_a_named_coder_is_always_lossy() -> None:
    data = laconic.compress(DRAWINGS["checkerboard"], quality=50, coder="importance")
    assert laconic.open(data).info.codec == "image"


@pytest.mark.slow
@pytest.mark.parametrize("levels", [0, 2])
def test_line_30_progress_follows_the_tiles(levels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the groups of tiles, which take a minute each."""
    monkeypatch.setattr(grid, "TILE_SIDE", 16)
    sizes = {"strides": (4, 2)[:levels], "latents": (3, 3)[:levels], "widths": (4, 4)[:levels]}
    model = PixelLadder(PixelLadderConfig(**sizes, context_width=0 if levels else 4)).eval()
    core = Core(make_coder(model, threads=1), "pixels", b"12345678")
    seen: list[tuple[int, int]] = []
    codec = LosslessCodec(core, lambda done, total: seen.append((done, total)))
    data = codec.encode(noise(64, 64))
    assert seen == [(k, 16) for k in range(1, 17)]
    seen.clear()
    codec.decode(LosslessFile.read(data))
    assert seen == [(k, 16) for k in range(1, 17)]
