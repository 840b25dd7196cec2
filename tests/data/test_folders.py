"""Folders of pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from laconic.data.folders import list_images, load_rgb
from laconic.errors import InputError


def test_pictures_by_name(tmp_path: Path) -> None:
    for name in ("b.png", "a.PNG", ".hidden.png", "c.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["a.PNG", "b.png"]
    assert list_images(tmp_path / "b.png") == [tmp_path / "b.png"]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no pictures"):
        list_images(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        list_images(tmp_path / "missing")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    Image.new(mode, (7, 5)).save(path)
    pixels = load_rgb(path)
    assert pixels.shape == (5, 7, 3)
    assert pixels.dtype == np.uint8


def test_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (7, 5)).save(tmp_path / "turned.png", exif=exif)
    assert load_rgb(tmp_path / "turned.png").shape == (7, 5, 3)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"hello"])
def test_unreadable_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.png"):
        load_rgb(tmp_path / "bad.png")


def test_truncated_and_missing(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match=r"cut\.png"):
        load_rgb(path)
    with pytest.raises(InputError, match="no such file"):
        load_rgb(tmp_path / "missing.png")
