"""Issue 25, files: nothing of the user is replaced unasked, and one bad file stops no other."""

import contextlib
import errno
import io
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

import laconic
from laconic import pretrained
from laconic.cli import app, archives, evaluate
from laconic.codecs.image.picture import take_apart
from laconic.codecs.lossless.core import GroupCoder
from laconic.container import write_atomically
from laconic.data.exact_images import read_exact
from laconic.data.folders import load_rgb
from laconic.data.images import read_image
from laconic.errors import InputError
from laconic.evaluation.anchors.classical import ANCHORS
from laconic.evaluation.images.rate_distortion import rate_distortion
from laconic.evaluation.images.results import study_from_json, study_to_json
from laconic.models.pyramid import Pyramid
from laconic.orientation import turn_upright


@pytest.fixture(autouse=True)
def _no_weights(monkeypatch: pytest.MonkeyPatch, make_stand_in: Callable[..., GroupCoder]) -> None:
    def load(name: object = pretrained.DEFAULT) -> pretrained.Pretrained:
        return pretrained.Pretrained(Pyramid(), "pyramid", b"pyramid, sixteen", 0)

    monkeypatch.setattr(pretrained, "load", load)
    monkeypatch.setattr(
        "laconic.codecs.lossless.file.make_coder", lambda model, threads=None: make_stand_in(8)
    )


def run(*arguments: object, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def refused(result: Result, *words: str, status: int = 1) -> None:
    """One line on stderr, nothing on stdout."""
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("laconic: error: ")
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def save(path: Path, shade: int = 0) -> None:
    rows, columns = np.mgrid[:16, :24]
    noise = np.random.default_rng(shade).integers(0, 16, (16, 24, 3))
    pixels = np.stack([rows * 9, columns * 8, rows + columns], 2) + noise
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.mark.parametrize("options", [[], ["--lossless"]])
def test_line_01_pictures_are_not_replaced(photo: Path, options: list[str]) -> None:
    packed, original = photo.with_suffix(".lac"), photo.read_bytes()
    assert run("compress", photo, *options).exit_code == 0
    refused(run("decompress", packed), f"{photo} exists", "-o", "--force")
    assert photo.read_bytes() == original
    before = packed.read_bytes()
    refused(run("compress", photo, *options), f"{packed} exists", "--force")
    assert packed.read_bytes() == before
    assert run("decompress", packed, "--force").exit_code == 0
    with Image.open(photo) as image:
        assert image.size == (24, 16)
    assert sorted(path.name for path in photo.parent.iterdir()) == ["photo.lac", "photo.png"]


def test_line_01_weights_are_not_replaced(tmp_path: Path) -> None:
    weights, packed = tmp_path / "net.safetensors", tmp_path / "net.lac"
    save_file({"w": torch.linspace(-1, 1, 6000).reshape(60, 100)}, weights)
    original = weights.read_bytes()
    assert run("shrink", weights).exit_code == 0
    refused(run("expand", packed), f"{weights} exists", "--force")
    assert weights.read_bytes() == original
    refused(run("shrink", weights, "--lossless"), f"{packed} exists", "--force")
    assert run("expand", packed, "--force").exit_code == 0
    assert weights.read_bytes() != original


def test_line_01_folders_of_an_archive_are_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("a.png", "b.png", "c.tif"):
        save(folder / name)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert run("compress", "--lossless", folder).exit_code == 0
    refused(
        run("decompress", folder.with_suffix(".lac")),
        "exists",
        "the same for 1 more file",
        "--force",
    )
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_line_01_an_input_is_never_replaced(photo: Path, force: list[str]) -> None:
    original, link, other = photo.read_bytes(), photo.with_name("l"), photo.with_name("other.png")
    link.symlink_to(photo)
    save(other, 7)
    for name in (photo, link):
        refused(run("compress", photo, "-o", name, *force), "is an input", "-o")
    out = photo.with_name("out")
    out.mkdir()
    (out / "photo.lac").symlink_to(other)
    result = run("compress", photo, other, "-o", out, *force)
    assert result.exit_code == 1
    assert "is an input" in result.stderr
    assert (out / "other.lac").is_file()
    with Image.open(other) as image:
        assert image.format == "PNG"
    assert photo.read_bytes() == original


def test_line_01_other_commands_replace_nothing(photo: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    refused(run("evaluate", photo, "--json", taken), f"{taken} exists", "--json", "--force")
    refused(run("evaluate", photo, "--html", taken), f"{taken} exists", "--html", "--force")
    refused(run("evaluate", photo, "--html", photo, "--force"), "is an input", "--html")
    refused(run("bench", "entropy", "--json", taken), f"{taken} exists", "--json", "--force")
    refused(run("bench", "rec", "--figure", taken), f"{taken} exists", "--figure", "--force")
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "side-by-side.png").write_text("mine")
    refused(run("demo", "-o", folder), "side-by-side.png exists", "--force")
    assert taken.read_text() == (folder / "side-by-side.png").read_text() == "mine"
    assert [path.name for path in folder.iterdir()] == ["side-by-side.png"]


def test_line_01_a_picture_of_a_folder_is_an_input(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    save(folder / "a.png")
    before = (folder / "a.png").read_bytes()
    for name in ("set/a.png", "set/../set/a.png"):
        result = run("compress", "--lossless", folder, "-o", tmp_path / name, "--force")
        refused(result, "is an input")
    assert run("compress", "--lossless", folder, "-o", folder / "set.lac").exit_code == 0
    assert (folder / "a.png").read_bytes() == before


@pytest.mark.slow
def test_line_01_a_trained_model_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("yaml")
    checkpoint, config = tmp_path / "run" / "checkpoint.safetensors", tmp_path / "config.yaml"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"hours of training")
    config.write_text(f"folder: {checkpoint.parent}\n")
    trains = "laconic.lab.runs.make_trainer"
    monkeypatch.setattr(trains, lambda *given: pytest.fail("trains"))
    refused(run("train", config), f"{checkpoint} exists", "--resume", "--force", "--set folder")
    assert checkpoint.read_bytes() == b"hours of training"
    assert run("train", config, "--resume", "--force").exit_code == 2


def test_line_01_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "a.lac"

    def pieces() -> "list[bytes]":
        target.write_bytes(b"mine")
        return [b"theirs"]

    with pytest.raises(InputError, match="exists"):
        write_atomically(target, pieces(), replace=False)
    assert target.read_bytes() == b"mine"
    assert [path.name for path in tmp_path.iterdir()] == ["a.lac"]


def test_line_01_file_systems_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*names: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)
    write_atomically(tmp_path / "a.lac", b"one", replace=False)
    with pytest.raises(InputError, match="exists"):
        write_atomically(tmp_path / "a.lac", b"two", replace=False)
    assert (tmp_path / "a.lac").read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["a.lac"]


def test_line_02_pipes_are_written_to(photo: Path, tmp_path: Path) -> None:
    pipe, got = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    result = run("compress", photo, "-o", pipe)
    reader.join(20)
    assert result.exit_code == 0, result.stderr
    assert pipe.is_fifo()
    assert run("compress", photo).exit_code == 0
    assert got == [photo.with_suffix(".lac").read_bytes()]


def test_line_02_devices_are_written_to(photo: Path, tmp_path: Path) -> None:
    link = tmp_path / "null"
    link.symlink_to("/dev/null")
    for name in (link, Path("/dev/null")):
        assert run("compress", photo, "-o", name).exit_code == 0
        assert name.is_char_device()
    assert link.is_symlink()
    assert run("compress", photo).exit_code == 0
    assert run("decompress", photo.with_suffix(".lac"), "-o", "/dev/null").exit_code == 0
    refused(run("compress", photo, "-o", "/dev/full"), "/dev/full", "No space left")
    assert Path("/dev/full").is_char_device()
    assert Path("/dev/null").is_char_device()


def test_line_02_links_are_followed(photo: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "old.lac").write_bytes(b"mine")
    for name, target in (("new", "real/new.lac"), ("old", "real/old.lac"), ("loop", "loop")):
        (tmp_path / name).symlink_to(target)
    assert run("compress", photo, "-o", tmp_path / "new").exit_code == 0
    refused(run("compress", photo, "-o", tmp_path / "old"), "exists")
    assert run("compress", photo, "-o", tmp_path / "old", "--force").exit_code == 0
    assert (real / "new.lac").read_bytes() == (real / "old.lac").read_bytes() != b"mine"
    refused(run("compress", photo, "-o", tmp_path / "loop"), "loop")
    assert all((tmp_path / name).is_symlink() for name in ("new", "old", "loop"))


def test_line_03_names_that_meet_are_made_unique(tmp_path: Path) -> None:
    folder, packed, out = tmp_path / "set", tmp_path / "set.lac", tmp_path / "out"
    names = ("a.tif", "a.png", "a.tif.png", "b.tif", "b.bmp", "b.png/c.png")
    for shade, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save(folder / name, shade)
    assert run("compress", "--lossless", folder, "-o", packed).exit_code == 0
    result = run("decompress", packed, "-o", out)
    assert result.exit_code == 0
    assert "6 of 6 pictures" in result.stdout
    assert "renamed" in result.stderr
    assert "a.tif -> a.tif-2.png" in result.stderr
    places = {path.relative_to(out).as_posix() for path in out.rglob("*.png") if path.is_file()}
    assert places == {
        "a.png", "a.tif-2.png", "a.tif.png", "b.tif.png", "b.bmp.png", "b.png/c.png"
    }  # fmt: skip
    for name, target in zip(names, archives.png_names(names), strict=True):
        with Image.open(folder / name) as one, Image.open(out / target) as two:
            assert np.array_equal(np.asarray(one), np.asarray(two))


def test_line_03_single_files_whose_names_meet(tmp_path: Path) -> None:
    for shade, name in enumerate(("x.001", "x.002")):
        save(tmp_path / "x.png", shade)
        (tmp_path / "x.png").rename(tmp_path / name)
    first, second = tmp_path / "x.001", tmp_path / "x.002"
    result = run("compress", first, second)
    assert result.exit_code == 0
    assert "x.002 -> " in result.stderr
    assert sorted(path.name for path in tmp_path.glob("*.lac")) == ["x.001.lac", "x.002.lac"]
    assert run("compress", first).exit_code == 0
    refused(run("compress", second), "x.lac exists")


def test_line_03_links_between_pictures_of_an_archive(tmp_path: Path) -> None:
    folder, packed, out = tmp_path / "set", tmp_path / "set.lac", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    save(folder / "a.png")
    save(folder / "b.png", 1)
    assert run("compress", "--lossless", folder, "-o", packed).exit_code == 0
    (out / "b.png").symlink_to("a.png")
    result = run("decompress", packed, "-o", out, "--force")
    assert result.exit_code == 1
    assert "b.png is another picture" in result.stderr


def test_line_24_long_names(photo: Path, tmp_path: Path) -> None:
    long = tmp_path / ("n" * 251 + ".lac")
    assert run("compress", photo, "-o", long).exit_code == 0
    back = tmp_path / ("n" * 251 + ".png")
    assert run("decompress", long).exit_code == 0
    assert back.is_file()
    refused(run("compress", photo, "-o", tmp_path / ("n" * 256)), "name too long")


def test_line_24_long_names_that_meet_are_cut() -> None:
    names = ["n" * 249 + ending for ending in ("-1.tif", "-1.bmp")] + [
        "ü" * 124 + "-1.tif",
        "ü" * 124 + "-1.bmp",
    ]
    found = archives.png_names(names)
    assert len(set(found)) == 4
    assert all(len(os.fsencode(name)) <= 255 for name in found)


def test_line_24_a_slash_at_the_end_means_a_folder(photo: Path, tmp_path: Path) -> None:
    assert run("compress", photo, "-o", f"{tmp_path}/new/deep/").exit_code == 0
    assert (tmp_path / "new" / "deep" / "photo.lac").is_file()
    weights = tmp_path / "net.safetensors"
    save_file({"w": torch.zeros(3)}, weights)
    assert run("shrink", weights, "-o", f"{tmp_path}/nets/").exit_code == 0
    assert (tmp_path / "nets" / "net.lac").is_file()


@pytest.mark.slow
def test_line_24_stdin_and_stdout(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("compress", photo).exit_code == 0
    packed = photo.with_suffix(".lac").read_bytes()
    for arguments in ([photo, "-o", "-"], ["-"], ["-", "-o", "-"], [photo, "-o", "/dev/stdout"]):
        result = run("compress", *arguments, stdin=photo.read_bytes())
        assert (result.exit_code, result.stdout_bytes) == (0, packed)
        assert "bits per pixel" in result.stderr
    result = run("decompress", "-", stdin=packed)
    with Image.open(io.BytesIO(result.stdout_bytes)) as image:
        assert (image.format, image.size) == ("PNG", (24, 16))
    assert run("decompress", "-", "-o", "b.webp", "--json", stdin=packed).exit_code == 0
    save_file({"w": torch.linspace(-1, 1, 6000)}, "net.safetensors")
    shrunk = run("shrink", "-", stdin=Path("net.safetensors").read_bytes()).stdout_bytes
    expanded = run("expand", "-", stdin=shrunk).stdout_bytes
    assert expanded == Path("net.safetensors").read_bytes()
    assert run("compress", photo, "-o", "./-").exit_code == 0
    assert Path("-").read_bytes() == packed
    assert run("decompress", "./-", "-o", "c.png").exit_code == 0
    Path("-").unlink()
    for bad in (
        ["compress", "-", photo],
        ["compress", photo, "-o", "-", "--json"],
        ["demo", "-o-"],
    ):
        assert run(*bad, stdin=packed).exit_code == 2
    refused(run("compress", "-", stdin=b"no picture"), "stdin")
    refused(run("shrink", "-", stdin=b"no weights"), "stdin")
    refused(run("decompress", "-", stdin=packed[:50]), "stdin")
    assert not Path("-").exists()


PROGRAM = """
import os, signal, sys, time
from laconic.cli import app, main
from laconic.container.storage import write_atomically

def slow():
    yield b"x"
    print("writing", flush=True)
    time.sleep(30)

@app.command("slow")
def slowly(path: str) -> None:
    from pathlib import Path
    write_atomically(Path(path), slow())

main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_line_24_signals_leave_nothing(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", PROGRAM, "slow", str(tmp_path / "a.lac")]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Tests that run under nohup would hand down that SIGHUP is ignored.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(number)
        assert process.wait(60) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b"laconic: interrupted\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["info", "{lac}", "--json"], ["--help"]])
def test_line_24_a_full_device_gives_one_line(photo: Path, arguments: list[str]) -> None:
    packed = photo.with_suffix(".lac")
    assert run("compress", photo).exit_code == 0
    command = [argument.format(lac=packed) for argument in arguments]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "laconic", *command], stdout=full, stderr=subprocess.PIPE,
            check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.decode().startswith("laconic: error: ")
    assert done.stderr.count(b"\n") == 1
    assert b"No space left" in done.stderr


def test_python_m_laconic() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "laconic", "--version"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stdout.startswith("laconic ")


def write_bad(folder: Path) -> list[str]:
    """Files that no decoder reads: not an image, empty, cut, and with damaged parts."""
    good = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(good, "PNG")
    wide = io.BytesIO()
    Image.new("1", (20, 20)).save(wide, "PNG")
    header = bytearray(wide.getvalue())
    header[16:24] = struct.pack(">II", 1 << 30, 1 << 30)
    header[29:33] = struct.pack(">I", zlib.crc32(header[12:29]))
    tiff = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(tiff, "TIFF")
    bad = {
        "bad-1.png": b"no picture",
        "bad-2.png": b"",
        "bad-3.png": good.getvalue()[:70],
        "bad-4.png": bytes(header),
        "bad-5.tif": tiff.getvalue()[:-30],
        "bad-6.tif": b"II*\x00\xff\xff\xff\x7f",
    }
    for name, data in bad.items():
        (folder / name).write_bytes(data)
    return list(bad)


def test_line_16_one_bad_file_stops_no_other(photo: Path, tmp_path: Path) -> None:
    bad, last = write_bad(tmp_path), tmp_path / "z.png"
    save(last, 3)
    for options in ([], ["--lossless"]):
        out = tmp_path / f"out{len(options)}"
        paths = [photo, *(tmp_path / name for name in bad), tmp_path / "missing.png", last]
        result = run("compress", *paths, "-o", f"{out}/", "--json", *options)
        assert result.exit_code == 1
        found = json.loads(result.stdout)["files"]
        assert [entry["input"] for entry in found] == [str(path) for path in paths]
        assert ["error" in entry for entry in found] == [False, *[True] * (len(bad) + 1), False]
        errors = [line for line in result.stderr.splitlines() if "laconic: error: " in line]
        assert len(errors) == len(bad) + 1
        assert all(name in line for name, line in zip(bad, errors, strict=False))
        assert sorted(path.name for path in out.iterdir()) == ["photo.lac", "z.lac"]


def test_line_16_damaged_lac_files_stop_no_other(photo: Path, tmp_path: Path) -> None:
    packed = photo.with_suffix(".lac")
    assert run("compress", photo).exit_code == 0
    (tmp_path / "cut.lac").write_bytes(packed.read_bytes()[:-5])
    paths = [tmp_path / "cut.lac", tmp_path, packed]
    result = run("decompress", *paths, "-o", tmp_path / "out", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)["files"]
    assert ["error" in entry for entry in found] == [True, True, False]
    assert (tmp_path / "out" / "photo.png").is_file()
    assert result.stderr.count("\n") == 2


def test_line_16_a_fault_of_ours_stops_no_other(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "a.png")
    real = laconic.compress

    def compress(image: Path, **options: Any) -> bytes:
        if image.name == "a.png":
            raise ZeroDivisionError("a bug")
        return real(image, **options)

    monkeypatch.setattr(laconic, "compress", compress)
    result = run("compress", tmp_path / "a.png", photo, "--json")
    assert result.exit_code == 1
    assert "report it" in json.loads(result.stdout)["files"][0]["error"]
    assert "ZeroDivisionError: a bug" in result.stderr
    assert photo.with_suffix(".lac").is_file()


@pytest.mark.slow
def test_line_16_a_reader_that_goes_away_is_no_fault(photo: Path) -> None:
    packed = photo.with_suffix(".lac")
    assert run("compress", photo).exit_code == 0
    with subprocess.Popen(
        [sys.executable, "-m", "laconic", "info", packed, packed, packed.parent / "packed.lac"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 130


def test_line_16_archives_name_all_bad_pictures(tmp_path: Path) -> None:
    folder, packed = tmp_path / "set", tmp_path / "set.lac"
    folder.mkdir()
    for shade in range(3):
        save(folder / f"{shade}.png", shade)
    bad = write_bad(folder)
    refused(run("compress", "--lossless", folder), *bad, f"{len(bad)} of {len(bad) + 3}")
    assert not packed.exists()
    result = run("compress", "--lossless", folder, "--skip-bad", "--json")
    assert result.exit_code == 1
    (entry,) = json.loads(result.stdout)["files"]
    assert entry["pictures"] == 3
    assert entry["input_bytes"] == sum((folder / f"{k}.png").stat().st_size for k in range(3))
    assert len(entry["skipped"]) == len(bad)
    assert all(any(name in said for said in entry["skipped"]) for name in bad)
    assert f"{len(bad)} pictures were left out" in result.stderr
    assert run("decompress", packed, "-o", tmp_path / "out").exit_code == 0
    assert len(list((tmp_path / "out").iterdir())) == 3
    for shade in range(3):
        (folder / f"{shade}.png").unlink()
    refused(run("compress", "--lossless", folder, "--skip-bad", "--force"), *bad)


def test_line_16_archives_in_python(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    inputs = {"a": tmp_path / "a.png", "b": b"none", "c": b""}
    with pytest.raises(InputError, match=r"2 of 3 pictures.*b: .*c: "):
        laconic.archive(inputs)
    with pytest.warns(UserWarning, match="left out: [bc]") as caught:
        data = laconic.archive(inputs, skip_bad=True)
    assert len(caught) == 2
    assert [name for name, _ in laconic.unarchive(data)] == ["a"]


@pytest.mark.parametrize(
    "error",
    [
        *(SyntaxError("x"), struct.error("x"), zlib.error("x"), OverflowError("x")),
        *(MemoryError(), RuntimeError("x"), AttributeError("x"), AssertionError(), EOFError()),
        *(Image.DecompressionBombError("x"), RecursionError("x"), OSError("x")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_line_16_whatever_a_decoder_raises_is_an_input_error(
    photo: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def load(self: object) -> None:
        raise error

    monkeypatch.setattr(PngImageFile, "load", load)
    for read in (read_image, read_exact, load_rgb):
        with pytest.raises(InputError, match=r"photo\.png"):
            read(photo)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_line_16_damaged_metadata_raise_nothing_else(kind: str) -> None:
    """300 files with altered bytes of EXIF data or of the header each."""
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = 6, "maker"
    tags.get_ifd(0x8769)[0x9003] = "2026:01:01 00:00:00"
    file = io.BytesIO()
    Image.new("RGB", (16, 8), "teal").save(file, kind, exif=tags)
    rng = np.random.default_rng(zlib.crc32(kind.encode()))
    for _ in range(300):
        data = bytearray(file.getvalue())
        for place in rng.integers(0, min(len(data), 400), 3):
            data[place] = rng.integers(256)
        with warnings.catch_warnings(), contextlib.suppress(InputError):
            warnings.simplefilter("ignore")
            image = read_image(io.BytesIO(bytes(data)))
            if image.width * image.height < 1 << 16:
                turn_upright(image)
                take_apart(image)


def test_line_16_evaluate_measures_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    Image.fromarray(np.tile(np.arange(192, dtype=np.uint8), (176, 1))).save(folder / "a.png")
    (folder / "b.png").write_bytes(b"no picture")
    study = rate_distortion([(ANCHORS["jpeg"], [30, 60])], folder)
    assert study.images == ["a"]
    assert list(study.failures) == ["b.png"]
    assert study_from_json(study_to_json(study)) == study
    out = tmp_path / "out.json"
    with pytest.raises(typer.Exit) as stopped:
        evaluate.run(ANCHORS["jpeg"], folder, ["30,60"], ["none"], out, tmp_path / "page.html")
    assert stopped.value.exit_code == 1
    assert list(json.loads(out.read_text())["failures"]) == ["b.png"]
    assert (tmp_path / "page.html").stat().st_size > 1000
    assert (
        run("evaluate", folder, "--json", tmp_path / "x", "--html", tmp_path / "x").exit_code == 2
    )
    captured = capsys.readouterr()
    assert captured.err.count("b.png") == 1
    (folder / "a.png").unlink()
    with pytest.raises(InputError, match=r"b\.png"):
        rate_distortion([(ANCHORS["jpeg"], [30, 60])], folder)


def test_several_inputs_to_info(photo: Path, tmp_path: Path) -> None:
    packed, weights = photo.with_suffix(".lac"), tmp_path / "net.safetensors"
    assert run("compress", photo).exit_code == 0
    save_file({"w": torch.zeros(3)}, weights)
    assert run("shrink", weights).exit_code == 0
    result = run("info", packed, photo, tmp_path / "net.lac", "--json")
    assert result.exit_code == 1
    first, second, third = json.loads(result.stdout)["files"]
    assert first == {"input": str(packed)} | json.loads(run("info", packed, "--json").stdout)
    assert second["input"] == str(photo)
    assert "not a .lac file" in second["error"]
    assert third["codec"] == "network"
    text = run("info", packed, tmp_path / "net.lac")
    assert text.exit_code == 0
    assert text.stdout == run("info", packed).stdout + run("info", tmp_path / "net.lac").stdout
    assert run("info", "-", stdin=packed.read_bytes()).stdout.startswith("stdin: 24 x 16 RGB")


def test_list_the_contents_of_an_archive(tmp_path: Path) -> None:
    folder, packed = tmp_path / "set", tmp_path / "set.lac"
    (folder / "deep").mkdir(parents=True)
    save(folder / "deep" / "b.png")
    Image.new("L", (5, 7)).save(folder / "a.png")
    assert run("compress", "--lossless", folder).exit_code == 0
    result = run("info", packed, "--list")
    assert result.exit_code == 0
    rows = sorted(line.split() for line in result.stdout.splitlines())
    assert rows == [["24", "x", "16", "RGB", "deep/b.png"], ["5", "x", "7", "L", "a.png"]]
    contents = json.loads(run("info", packed, "--list", "--json").stdout)["contents"]
    assert {one["name"]: one["mode"] for one in contents} == {"a.png": "L", "deep/b.png": "RGB"}
    assert run("compress", "--lossless", folder / "a.png").exit_code == 0
    refused(run("info", folder / "a.lac", "--list"), "a.lac", "no archive")


def test_a_result_that_is_larger_than_its_input_is_reported(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board, weights = tmp_path / "board.png", tmp_path / "net.safetensors"
    Image.fromarray(np.indices((64, 64)).sum(0).astype(np.uint8) % 2 * 255).save(board)
    result = run("compress", board, "--quality", 90)
    assert result.exit_code == 0
    assert f"laconic: warning: {board}: the result is larger than the input" in result.stderr
    assert result.stderr.count("\n") == 1
    assert run("compress", photo, "--quality", 1).stderr == ""
    save_file({"w": torch.zeros(3)}, weights)
    monkeypatch.setattr(laconic, "shrink", lambda *given, **options: bytes(1000))
    result = run("shrink", weights)
    assert result.exit_code == 0
    assert f"laconic: warning: {weights}: the result is larger than the input" in result.stderr


EVERY_COMMAND = """
import json, os, sys
from pathlib import Path

import numpy as np
import torch
import typer
from PIL import Image
from safetensors.torch import save_file

from laconic import pretrained
from laconic.cli import app, demo
from laconic.models.pyramid import Pyramid

lossless = pretrained.LOSSLESS_MODELS
real = pretrained.load

def load(name=pretrained.DEFAULT):
    if name in lossless:
        return real(name)
    return pretrained.Pretrained(Pyramid(), "pyramid", b"pyramid, sixteen", 0)

pretrained.load = load
sample = demo.load_sample()
demo.load_sample = lambda: sample.crop((0, 0, 192, 176))
demo.QUALITIES = (20,)

os.mkdir("set")
names = [f"{k}.{e}" for k in range(3) for e in ("png", "tif")]
for name in names[:: int(sys.argv[1])]:
    rows, columns = np.mgrid[:9, :12]
    shade = names.index(name)
    pixels = np.stack([rows * 9, columns * 8, rows * columns + shade], 2).astype(np.uint8)
    image = Image.fromarray(pixels)
    tags = Image.Exif()
    tags[0x010F] = "maker"
    image.save(Path("set", name), exif=tags, dpi=(72, 72))
keys = sorted(f"key{k}" for k in range(9))[:: int(sys.argv[1])]
tensors = {key: torch.linspace(-1, 1, 600).reshape(20, 30) for key in keys}
save_file(tensors, "net.safetensors", metadata={key: key for key in keys})

photo = "set/0.png"
for command in (
    f"compress {photo} -o lossy.lac",
    f"compress {photo} --bpp 8 -o small.lac",
    f"compress {photo} --lossless -o exact.lac",
    "compress set --lossless -o archive.lac",
    "decompress lossy.lac -o lossy.png",
    "decompress exact.lac -o exact.webp",
    "decompress archive.lac -o archive",
    "shrink net.safetensors -o net.lac",
    "shrink net.safetensors --lossless -o same.lac",
    "shrink net.safetensors --bits-per-weight 6 -o few.lac",
    "expand net.lac -o back.safetensors",
    "demo -o demo",
    "rd plot point -o report",
):
    if command.startswith("rd"):
        os.mkdir("point")
        Path("point", "result.json").write_text(sys.argv[2])
    app(command.split(), standalone_mode=False)
for name in ("lossy", "exact", "archive", "net"):
    app(["info", f"{name}.lac", "--json"], standalone_mode=False)
"""


POINT = {
    "format": "laconic rd point 1",
    "name": "default beta 1",
    "family": "default",
    "preset": "small",
    "objective": {"name": "beta", "beta": 1},
    "annealed": False,
    "data": "binary-mnist",
    "seed": 0,
    "steps": 1000,
    "measures": {
        "rate_nats": {"value": 9, "error": 1},
        "distortion_nats": {"value": 70, "error": 1},
    },
}


@pytest.mark.slow
def test_line_14_every_command_writes_the_same_bytes_again(tmp_path: Path) -> None:
    """Other hash seeds, other orders of files in their folder, tensors and notes; other folders.

    `evaluate` and `bench` measure seconds, `train` and `rd run` have tests of their own.
    """
    found = []
    for seed, order in (("1", "1"), ("2", "-1")):
        folder = tmp_path / seed
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", EVERY_COMMAND, order, json.dumps(POINT)],
            cwd=folder, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and path.name != "net.safetensors"
        }
        said = [line for line in done.stdout.decode().splitlines() if " -> " not in line]
        found.append((files, said))
    (first, said), (second, said_again) = found
    assert set(first) == set(second)
    assert [name for name in first if first[name] != second[name]] == []
    expected = {"lossy.lac", "archive/0.tif.png", "demo/sample-20.lac", "report/report.html"}
    assert expected <= set(first)
    assert said[said.index("{") :] == said_again[said_again.index("{") :]
