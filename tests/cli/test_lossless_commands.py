"""`compress --lossless`, archives of folders, what is recovered of a cut one, and the errors."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from laconic import pretrained
from laconic.cli import app, archives
from laconic.codecs.lossless.codec import Core, LosslessCodec
from laconic.codecs.lossless.core import GroupCoder
from laconic.data.exact_images import read_exact
from laconic.deep_image import DeepImage
from laconic.models.pyramid import Pyramid

RNG = np.random.default_rng(0)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch, make_stand_in: Callable[..., GroupCoder]) -> None:
    def load(name: object = "default") -> pretrained.Pretrained:
        return pretrained.Pretrained(Pyramid(), str(name), f"{name}, sixteen bytes".encode(), 0)

    monkeypatch.setattr(pretrained, "load", load)
    monkeypatch.setattr(
        "laconic.codecs.lossless.file.make_coder", lambda model, threads=None: make_stand_in(8)
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """40 small pictures, one deep one, one with alpha, and a text."""
    folder = tmp_path / "pictures.v2"
    (folder / "small").mkdir(parents=True)
    for k in range(40):
        save(folder / "small" / f"{k:02d}.png", (8, 8))
    Image.fromarray(RNG.integers(0, 65536, (9, 8), np.uint16)).save(folder / "deep.tif")
    save(folder / "photo.png", (30, 40, 4))
    (folder / "notes.txt").write_text("no picture")
    return folder


def save(path: Path, shape: tuple[int, ...]) -> None:
    Image.fromarray(RNG.integers(0, 256, shape, np.uint8)).save(path)


def same(first: Path, second: Path) -> bool:
    with Image.open(first) as one, Image.open(second) as two:
        return one.mode == two.mode and np.array_equal(np.asarray(one), np.asarray(two))


def refused(result: Result, *words: str, status: int = 1) -> None:
    """One line on stderr, nothing on stdout."""
    assert result.exit_code == status
    assert result.stdout == ""
    assert result.stderr.startswith("laconic: error: ")
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


@pytest.mark.parametrize("name", ["photo.png", "deep.tif", "small/00.png"])
def test_there_and_back(folder: Path, tmp_path: Path, name: str) -> None:
    packed = (folder / name).with_suffix(".lac")
    result = run("compress", "--lossless", folder / name)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "bits per pixel" in result.stdout
    back = tmp_path / "back.png"
    assert run("decompress", packed, "-o", back).exit_code == 0
    assert same(folder / name, back)


def test_profile_and_orientation_come_back(tmp_path: Path) -> None:
    source, packed, back = (tmp_path / name for name in ("a.png", "a.lac", "b.png"))
    tags = Image.Exif()
    tags[0x0112] = 6
    image = Image.fromarray(RNG.integers(0, 256, (8, 9, 3), np.uint8))
    image.save(source, icc_profile=bytes(9000), exif=tags)
    assert run("compress", "--lossless", source).exit_code == 0
    assert run("decompress", packed, "-o", back).exit_code == 0
    with Image.open(back) as found:
        assert found.info["icc_profile"] == bytes(9000)
        assert found.getexif()[0x0112] == 6
    assert same(source, back)


def test_json_of_one_picture(folder: Path) -> None:
    photo, packed = folder / "photo.png", folder / "photo.lac"
    (entry,) = json.loads(run("compress", "--lossless", photo, "--json").stdout)["files"]
    assert entry["output_bytes"] == packed.stat().st_size
    assert (entry["width"], entry["pictures"], entry["quality"]) == (40, 1, None)
    found = json.loads(run("info", packed, "--json").stdout)
    keys = {"file_bits", "ideal_bits", "theory_bits", "codec", "coder", "model", "width", "height"}
    assert keys | {"sections", "pictures"} <= set(found)
    assert (found["codec"], found["model"], found["coder"]) == ("lossless", None, None)
    assert found["file_bits"] == 8 * packed.stat().st_size == sum(found["sections"].values())
    text = run("info", packed).stdout
    assert "40 x 30 RGBA, lossless" in text
    assert "bits per sample" in text


def test_archive_there_and_back(folder: Path, tmp_path: Path) -> None:
    packed, out = tmp_path / "set.lac", tmp_path / "out"
    result = run("compress", "--lossless", folder, "-o", packed)
    assert result.exit_code == 0
    assert result.stderr == (
        f"laconic: warning: {folder}: left out, not pictures by their names: notes.txt\n"
    )
    assert "42 pictures" in result.stdout
    result = run("decompress", packed, "-o", out)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "42 of 42 pictures" in result.stdout
    written = sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file())
    assert len(written) == 42
    for path in written:
        source = folder / path if path.name != "deep.png" else folder / "deep.tif"
        assert same(source, out / path)
    text = run("info", packed).stdout
    assert "archive of 42 pictures" in text
    found = json.loads(run("info", packed, "--json").stdout)
    assert (found["width"], found["height"], found["pictures"]) == (None, None, 42)
    assert found["file_bits"] == 8 * packed.stat().st_size


@pytest.mark.slow
def test_where_archives_go(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("compress", "--lossless", folder).exit_code == 0
    packed = tmp_path / "pictures.v2.lac"
    assert packed.is_file()
    monkeypatch.chdir(folder)
    packed.unlink()
    (entry,) = json.loads(run("compress", "--lossless", ".", "--json").stdout)["files"]
    assert (packed.is_file(), entry["pictures"], entry["input"]) == (True, 42, ".")
    several = tmp_path / "several"
    assert run("compress", "--lossless", folder, folder / "photo.png", "-o", several).exit_code == 0
    assert sorted(p.name for p in several.iterdir()) == ["photo.lac", "pictures.v2.lac"]
    assert run("decompress", *sorted(several.iterdir()), "-o", tmp_path / "both").exit_code == 0
    assert (tmp_path / "both" / "pictures.v2" / "small" / "00.png").is_file()
    assert same(folder / "photo.png", tmp_path / "both" / "photo.png")
    refused(run("decompress", packed), "exists", "40 more files", "--force")
    assert not (folder / "deep.png").exists()
    monkeypatch.chdir(tmp_path)
    folder.rename(tmp_path / "originals")
    assert run("decompress", packed).exit_code == 0
    assert same(tmp_path / "originals" / "deep.tif", folder / "deep.png")


def test_a_cut_archive_gives_what_comes_before_the_cut(folder: Path, tmp_path: Path) -> None:
    packed, cut, out = (tmp_path / name for name in ("set.lac", "cut.lac", "out"))
    assert run("compress", "--lossless", folder, "-o", packed).exit_code == 0
    data = packed.read_bytes()
    cut.write_bytes(data[:-1000])
    result = run("decompress", cut, "-o", out, "--json")
    assert result.exit_code == 1
    (entry,) = json.loads(result.stdout)["files"]
    written = [path for path in out.rglob("*") if path.is_file()]
    assert 0 < entry["pictures"] == len(written) < entry["of"] == 42
    assert result.stderr.count("\n") == 1
    assert f"{len(written)} of 42 pictures recovered" in result.stderr
    assert result.stderr.count("cut.lac") == 1
    for path in written:
        source = folder / path.relative_to(out)
        assert same(source if source.exists() else source.with_suffix(".tif"), path)
    refused(run("info", cut), "truncated", "cut.lac")
    cut.write_bytes(data[:40])
    refused(run("decompress", cut, "-o", tmp_path / "none"), "cut.lac")
    assert not (tmp_path / "none").exists()


def test_an_altered_archive_is_refused(folder: Path, tmp_path: Path) -> None:
    packed, out = tmp_path / "set.lac", tmp_path / "out"
    assert run("compress", "--lossless", folder, "-o", packed).exit_code == 0
    data = bytearray(packed.read_bytes())
    data[-500] ^= 1
    packed.write_bytes(data)
    refused(run("decompress", packed, "-o", out), "damaged", "set.lac")
    assert not out.exists()


def test_nothing_is_written_when_one_picture_is_unreadable(folder: Path, tmp_path: Path) -> None:
    packed = tmp_path / "set.lac"
    for content, words in ((b"", "0 bytes"), (b"no picture", "known format")):
        (folder / "small" / "zz.png").write_bytes(content)
        (folder / "notes.txt").unlink(missing_ok=True)
        refused(run("compress", "--lossless", folder, "-o", packed), "zz.png", words)
        assert list(tmp_path.iterdir()) == [folder]


def test_requests_that_make_no_sense(
    folder: Path, tmp_path: Path, make_stand_in: Callable[..., GroupCoder]
) -> None:
    empty, packed = tmp_path / "empty", tmp_path / "set.lac"
    empty.mkdir()
    refused(run("compress", "--lossless", empty), "no pictures")
    for quality in ((), ("--quality", 50), ("--bpp", 1)):
        refused(run("compress", folder, *quality, "-o", packed), "is a folder", "--lossless")
    refused(run("compress", empty), "no pictures")
    refused(run("compress", "--lossless", tmp_path / "missing"), "missing")
    assert run("compress", "--lossless", folder, "-o", packed).exit_code == 0
    other = ("-o", tmp_path / "other.lac")
    refused(run("compress", packed, *other), "archive of 42 pictures", "laconic decompress")
    refused(run("compress", "--lossless", packed, *other), "archive of 42 pictures")
    refused(run("decompress", packed, "-o", tmp_path / "x.png"), "folder")
    refused(run("decompress", packed, "-o", folder / "photo.png"), "folder")
    modelled = tmp_path / "modelled.lac"
    modelled.write_bytes(archive_of(make_stand_in, "a.png"))
    refused(run("decompress", modelled, "--model", "other", "-o", tmp_path / "o"), "'pixels'")
    (tmp_path / "zero.lac").write_bytes(b"")
    refused(run("decompress", tmp_path / "zero.lac"), "zero.lac", "not a .lac file")
    assert not (tmp_path / "o").exists()


def archive_of(make_stand_in: Callable[..., GroupCoder], *names: str) -> bytes:
    codec = LosslessCodec(Core(make_stand_in(), "pixels", b"pixels, "))
    return codec.archive([(name, lambda: np.zeros((4, 4), np.uint8)) for name in names])


def test_nothing_is_written_outside_the_folder(
    tmp_path: Path, make_stand_in: Callable[..., GroupCoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    packed, out, outside = tmp_path / "set.lac", tmp_path / "out", tmp_path / "outside"
    with monkeypatch.context() as patch:
        patch.setattr("laconic.codecs.lossless.codec.check_names", lambda names: None)
        packed.write_bytes(archive_of(make_stand_in, "../evil.png"))
    refused(run("decompress", packed, "-o", out), "evil.png")
    assert list(tmp_path.iterdir()) == [packed]
    out.mkdir()
    outside.mkdir()
    (out / "link").symlink_to(outside)
    packed.write_bytes(archive_of(make_stand_in, "link/deep/a.png"))
    refused(run("decompress", packed, "-o", out), "outside")
    assert list(outside.iterdir()) == []
    (out / "a.png").symlink_to(outside / "target.png")
    packed.write_bytes(archive_of(make_stand_in, "a.png"))
    refused(run("decompress", packed, "-o", out, "--force"), "outside")
    assert list(outside.iterdir()) == []
    assert (out / "a.png").is_symlink()


def test_names_that_become_the_same(
    tmp_path: Path, make_stand_in: Callable[..., GroupCoder]
) -> None:
    packed, out = tmp_path / "set.lac", tmp_path / "out"
    packed.write_bytes(archive_of(make_stand_in, "a.tif", "a.png", "b.ppm", "c"))
    assert run("decompress", packed, "-o", out).exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "a.tif.png", "b.png", "c.png"]
    assert archives.png_names([".x", "a.b.c"]) == [".x.png", "a.b.png"]


def test_interrupting_an_archive_leaves_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", interrupt)
    monkeypatch.setattr(os, "replace", interrupt)
    assert run("compress", "--lossless", folder).exit_code == 130
    assert run("compress", "--lossless", folder, "--force").exit_code == 130
    assert list(tmp_path.iterdir()) == [folder]


def test_colour_of_16_bits_comes_back_as_files_of_16_bits(tmp_path: Path) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    colour = DeepImage(RNG.integers(0, 65536, (9, 8, 3), np.uint16), {"icc_profile": b"profile"})
    colour.save(folder / "a.png")
    clear = DeepImage(RNG.integers(0, 4096, (9, 8, 4), np.uint16) << 4)
    clear.save(folder / "b.tif")
    back = tmp_path / "back"
    assert run("compress", "--lossless", folder, "-o", tmp_path / "set.lac").exit_code == 0
    listed = run("info", "--list", tmp_path / "set.lac").stdout
    assert [line.split()[3] for line in listed.splitlines()] == ["RGB;16", "RGBA;16"]
    assert run("decompress", tmp_path / "set.lac", "-o", back).exit_code == 0
    for name, image in (("a", colour), ("b", clear)):
        found = read_exact(back / f"{name}.png")
        assert np.array_equal(np.asarray(found), image.samples)
    file = tmp_path / "a.lac"
    assert run("compress", "--lossless", folder / "a.png", "-o", file).exit_code == 0
    for ending in ("png", "ppm", "tif"):
        target = tmp_path / f"c.{ending}"
        assert run("decompress", file, "-o", target, "--crop", "1,2,5,6").exit_code == 0
        assert np.array_equal(np.asarray(read_exact(target)), colour.samples[2:8, 1:6])
    refused(run("decompress", file, "-o", tmp_path / "a.jpg"), "--quality")
    refused(run("decompress", file, "-o", tmp_path / "a.webp"), "WEBP would change samples")
    assert run("decompress", file, "-o", tmp_path / "a.jpg", "--quality", 90).exit_code == 0
    assert run("compress", "--lossless", folder / "b.tif", "-o", file, "--force").exit_code == 0
    refused(run("decompress", file, "-o", tmp_path / "b.ppm"), "transparency")
    with pytest.raises(OSError, match="to_eight_bits"):
        Image.open(file)
