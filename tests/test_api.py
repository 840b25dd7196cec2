"""What `import laconic` offers, with the ladder without weights as its model."""

import importlib.metadata
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, UnidentifiedImageError

import laconic
from laconic import errors, pretrained
from laconic.codecs.lossless.core import GroupCoder
from laconic.models.pyramid import Pyramid


@pytest.fixture(autouse=True)
def _pyramid(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: object = pretrained.DEFAULT) -> pretrained.Pretrained:
        if name not in (pretrained.DEFAULT, "pyramid", *pretrained.LOSSLESS_MODELS):
            raise laconic.ConfigError(f"{name}: no such model")
        return pretrained.Pretrained(Pyramid(), "pyramid", b"pyramid, sixteen", 0)

    monkeypatch.setattr(pretrained, "load", load)


@pytest.fixture
def image() -> Image.Image:
    return Image.fromarray(
        np.arange(40 * 32 * 3, dtype=np.uint16).astype(np.uint8).reshape(40, 32, 3)
    )


@pytest.mark.slow
def test_sources_and_results(image: Image.Image, tmp_path: Path) -> None:
    image.save(tmp_path / "a.png")
    data = laconic.compress(image)
    assert data == laconic.compress(np.asarray(image)) == laconic.compress(tmp_path / "a.png")
    assert data == laconic.compress(str(tmp_path / "a.png"), quality=50)
    (tmp_path / "a.lac").write_bytes(data)
    pixels = np.asarray(laconic.decompress(data))
    assert (np.asarray(laconic.decompress(tmp_path / "a.lac")) == pixels).all()
    opened = laconic.open(tmp_path / "a.lac")
    assert opened.info.file_bits == 8 * len(data)
    assert (np.asarray(opened.image) == pixels).all()
    assert "32x40" in repr(opened)


@pytest.mark.slow
def test_pillow_opens_and_saves(image: Image.Image, tmp_path: Path) -> None:
    image.save(tmp_path / "a.lac", quality=70)
    with Image.open(tmp_path / "a.lac") as found:
        assert (found.format, found.size, found.mode) == ("LACONIC", (32, 40), "RGB")
        assert found.info["laconic"].quality == pytest.approx(70, abs=0.05)
        pixels = np.asarray(found.convert("RGB"))
    assert (pixels == np.asarray(laconic.decompress(tmp_path / "a.lac"))).all()
    buffer = io.BytesIO()
    image.save(buffer, "LACONIC", bpp=2.0)
    assert 8 * len(buffer.getvalue()) <= 2.0 * 32 * 40
    damaged = (tmp_path / "a.lac").read_bytes()[:-3]
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(damaged))


def cut_after_the_top(image: Image.Image) -> tuple[bytes, bytes]:
    data = laconic.compress(image, quality=90, coder="importance")
    return data, data[: laconic.open(data).info.levels[0].prefix_bytes]  # type: ignore[attr-defined]


def test_a_part_of_a_file(image: Image.Image) -> None:
    data, top = cut_after_the_top(image)
    with pytest.raises(errors.CorruptFileError, match="truncated"):
        laconic.decompress(top)
    with pytest.warns(UserWarning, match="1 of 2 levels"):
        assert laconic.decompress(top, partial=True).size == image.size
    whole = laconic.decompress(data, partial=True)
    assert whole.tobytes() == laconic.decompress(data).tobytes()


def test_thumbnails(image: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the top levels alone; of a picture kept exactly, of all."""
    data, top = cut_after_the_top(image)
    assert laconic.thumbnail(data, 1000).size == image.size
    monkeypatch.setattr(
        Pyramid, "preview_levels", lambda self, reduction: 1 if reduction > 1 else 2
    )
    small = laconic.thumbnail(data, (16, 30))
    assert small.size == (16, 20)
    assert laconic.thumbnail(top, (16, 30), partial=True).tobytes() == small.tobytes()
    exact = laconic.compress(image, lossless=True, effort=0)
    assert laconic.thumbnail(exact, 20).size == (16, 20)
    for wrong in (0, (3, 0), "big", (1, 2, 3)):
        with pytest.raises(errors.InputError, match="size"):
            laconic.thumbnail(data, wrong)  # type: ignore[arg-type]


def test_pillow_shows_small_and_broken_files(
    image: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, top = cut_after_the_top(image)
    asked = []
    monkeypatch.setattr(
        Pyramid, "preview_levels", lambda self, reduction: asked.append(reduction) or 2
    )
    with Image.open(io.BytesIO(data)) as opened:
        opened.thumbnail((8, 8))
        assert opened.size == (6, 8)
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.draft("RGB", (12, 12)) == ("RGB", (0, 0, 16, 20))
        assert opened.size == (16, 20)
        opened.load()
    assert asked == [2, 2]
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.warns(UserWarning, match="1 of 2 levels"), Image.open(io.BytesIO(top)) as opened:
        opened.load()


def test_names_are_exact() -> None:
    assert set(laconic.__all__) <= set(dir(laconic))
    assert len(set(laconic.__all__)) == len(laconic.__all__)
    assert laconic.__version__ == importlib.metadata.version(errors.DISTRIBUTION)


def test_missing_model_is_said(image: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    data = laconic.compress(image)

    def load(name: object) -> None:
        raise laconic.ConfigError(f"{name}: no such model")

    monkeypatch.setattr(pretrained, "load", load)
    with pytest.raises(laconic.UnsupportedFileError, match="'pyramid'"):
        laconic.decompress(data)
    with pytest.raises(laconic.ConfigError):
        laconic.decompress(data, model="other")


def test_hostile_model_names_are_not_looked_up(image: Image.Image) -> None:
    from laconic.codecs.image.codec import ImageCodec

    for name in ("../../etc/weights", "a.safetensors", ""):
        data = ImageCodec(Pyramid(), name, b"pyramid,").encode(image)
        with pytest.raises(laconic.UnsupportedFileError, match="no embedded model"):
            laconic.decompress(data)


def test_import_is_light() -> None:
    code = "import sys, laconic; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def _stand_in(monkeypatch: pytest.MonkeyPatch, make_stand_in: Callable[..., GroupCoder]) -> None:
    monkeypatch.setattr(
        "laconic.codecs.lossless.file.make_coder", lambda model, threads=None: make_stand_in(2)
    )


@pytest.mark.usefixtures("_stand_in")
def test_lossless_there_and_back(image: Image.Image, tmp_path: Path) -> None:
    image.save(tmp_path / "a.png")
    data = laconic.compress(image, lossless=True)
    assert data == laconic.compress(tmp_path / "a.png", lossless=True)
    assert (np.asarray(laconic.decompress(data)) == np.asarray(image)).all()
    opened = laconic.open(data)
    assert (opened.info.codec, opened.info.pictures, opened.info.mode) == ("lossless", 1, "RGB")
    assert (np.asarray(opened.image) == np.asarray(image)).all()
    assert "32x40" in repr(opened)
    for wrong in ({"quality": 50}, {"bpp": 1.0}, {"coder": "greedy"}):
        with pytest.raises(laconic.InputError, match="leave out"):
            laconic.compress(image, lossless=True, **wrong)  # type: ignore[arg-type]


@pytest.mark.usefixtures("_stand_in")
def test_pillow_saves_and_opens_lossless(image: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / "a.lac"
    for array in (np.asarray(image), np.asarray(image)[..., 0].astype(np.uint16) * 255):
        turned = Image.fromarray(array)
        turned.getexif()[0x0112] = 6
        turned.info["icc_profile"] = b"profile"
        turned.save(path, lossless=True)
        with Image.open(path) as found:
            assert (found.format, found.size, found.mode) == ("LACONIC", (32, 40), turned.mode)
            assert found.getexif()[0x0112] == 6
            assert (np.asarray(found) == array).all()
            assert found.info["icc_profile"] == b"profile"


@pytest.mark.usefixtures("_stand_in")
def test_archives(image: Image.Image, tmp_path: Path) -> None:
    arrays = [np.full((4, 5), k, np.uint8) for k in range(5)]
    data = laconic.archive(arrays)
    found = dict(laconic.unarchive(data))
    assert list(found) == [f"{k:05d}.png" for k in range(5)]
    assert all((np.asarray(found[f"{k:05d}.png"]) == k).all() for k in range(5))
    (tmp_path / "in").mkdir()
    image.save(tmp_path / "in" / "a.png")
    (tmp_path / "set.lac").write_bytes(laconic.archive(tmp_path / "in"))
    assert [name for name, _ in laconic.unarchive(tmp_path / "set.lac")] == ["a.png"]
    assert dict(laconic.unarchive(laconic.archive({"x/y": image}))).keys() == {"x/y"}
    opened = laconic.open(data)
    assert (opened.info.pictures, opened.info.width) == (5, None)
    assert "archive of 5" in repr(opened)
    for refuse in (lambda: laconic.decompress(data), lambda: opened.image):
        with pytest.raises(laconic.UnsupportedFileError, match="laconic decompress"):
            refuse()
    with pytest.raises(OSError, match="laconic decompress"):
        Image.open(tmp_path / "set.lac")
    for other in (laconic.compress(image), laconic.compress(image, lossless=True)):
        with pytest.raises(laconic.UnsupportedFileError, match=r"no lossless|no archive"):
            laconic.unarchive(other)


@pytest.mark.usefixtures("_stand_in")
def test_cut_archives() -> None:
    data = laconic.archive([np.full((40, 50), k, np.uint8) for k in range(9)])[:-20]
    with pytest.raises(laconic.CorruptFileError, match="truncated"):
        laconic.unarchive(data)
    pictures = laconic.unarchive(data, partial=True)
    assert next(pictures)[0] == "00000.png"
    with pytest.raises(laconic.CorruptFileError, match="of 9 pictures"):
        list(pictures)


def test_lossless_needs_a_lossless_model(image: Image.Image) -> None:
    with pytest.raises(laconic.ConfigError, match="lossy"):
        laconic.compress(image, lossless=True, effort=9)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_16_bits_in_several_channels_are_a_deep_image(channels: int) -> None:
    samples = np.arange(40 * 32 * channels, dtype=np.uint16).reshape(40, 32, channels) * 3
    data = laconic.compress(samples, lossless=True)
    image = laconic.decompress(data)
    assert isinstance(image, laconic.DeepImage)
    assert np.array_equal(np.asarray(image), samples)
    assert laconic.compress(image, lossless=True) == data
    assert (image.mode, image.size) == (laconic.open(data).info.mode, (32, 40))
    part = laconic.decompress(data, crop=(3, 4, 9, 8))
    assert np.array_equal(np.asarray(part), samples[4:12, 3:12])
    assert laconic.thumbnail(data, 16).size == (13, 16)
    assert laconic.bits_map(data)[0].bits.shape == (40, 32)
    file = io.BytesIO()
    image.save(file)
    assert laconic.compress(file.getvalue(), lossless=True) == data
    ((name, item),) = laconic.unarchive(laconic.archive({"a.png": image}))
    assert name == "a.png"
    assert np.array_equal(np.asarray(item), samples)
