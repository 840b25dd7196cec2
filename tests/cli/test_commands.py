"""The commands: files appear whole or not at all, JSON is alone on stdout, exit codes hold."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import laconic
from laconic.cli import app, demo


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    rows, columns = np.mgrid[:40, :56]
    noise = np.random.default_rng(0).integers(0, 16, (40, 56, 3))
    pixels = (np.stack([rows * 5, columns * 4, rows + columns], 2) + noise).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.slow
def test_there_and_back(photo: Path) -> None:
    packed = photo.with_suffix(".lac")
    result = run("compress", photo, "--quality", 80)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "photo.lac" in result.stdout
    back = photo.parent / "back.png"
    assert run("decompress", packed, "-o", back).exit_code == 0
    with Image.open(back) as decoded:
        assert decoded.size == (56, 40)
    assert sorted(path.name for path in photo.parent.iterdir()) == [
        "back.png", "photo.lac", "photo.png"
    ]  # fmt: skip


def test_json_stands_alone(photo: Path) -> None:
    result = run("compress", photo, "--bpp", 1.0, "--json")
    (entry,) = json.loads(result.stdout)["files"]
    packed = photo.with_suffix(".lac")
    assert entry["output_bytes"] == packed.stat().st_size
    assert entry["bpp"] <= 1.0
    found = json.loads(run("info", packed, "--json").stdout)
    keys = {"file_bits", "ideal_bits", "theory_bits", "codec", "coder", "model", "width", "height"}
    assert keys | {"sections"} <= set(found)
    assert found["file_bits"] == 8 * packed.stat().st_size == sum(found["sections"].values())
    assert set(found["levels"][0]) >= {"ideal_bits", "theory_bits", "bits", "parts"}
    result = run("decompress", packed, "--json", "-o", photo.parent / "back.png")
    assert json.loads(result.stdout)["files"][0]["width"] == 56
    text = run("info", packed).stdout
    assert "nats" in text
    assert "shown with bytes" in text


def test_several_files_into_a_folder(photo: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.png"
    second.write_bytes(photo.read_bytes())
    broken = tmp_path / "broken.png"
    broken.write_bytes(photo.read_bytes()[:60])
    folder = tmp_path / "out"
    result = run("compress", photo, broken, second, "-o", folder)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "broken.png" in result.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["photo.lac", "second.lac"]
    result = run("decompress", folder / "photo.lac", folder / "second.lac", "-o", folder)
    assert result.exit_code == 0
    assert len(list(folder.glob("*.png"))) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["compress", "missing.png"],
        ["compress", "{photo}", "--bpp", "900"],
        ["compress", "{photo}", "--coder", "nonsense"],
        ["compress", "{photo}", "--tune", "psnr"],
        ["compress", "{photo}", "-o", "{photo}"],
        ["compress", "{photo}", "-o", "{photo}/inside/x.lac"],
        ["decompress", "{photo}", "-o", "x.png"],
        ["decompress", "missing.lac"],
        ["info", "{photo}"],
        ["info", "missing.lac"],
        ["train", "missing.yaml"],
        ["bench", "rec", "--section", "nothing"],
        ["bench", "rec", "--coder", "nonsense"],
    ],
)
def test_the_inputs_fault(photo: Path, arguments: list[str]) -> None:
    before = photo.read_bytes()
    result = run(*(argument.format(photo=photo) for argument in arguments))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("laconic: error: ")
    assert result.stderr.count("\n") == 1
    assert list(photo.parent.iterdir()) == [photo]
    assert photo.read_bytes() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["compress"],
        ["compress", "{photo}", "--quality", "0"],
        ["compress", "{photo}", "--quality", "101"],
        ["compress", "{photo}", "--quality", "5", "--bpp", "1"],
        ["compress", "{photo}", "--lossless", "--quality", "5"],
        ["compress", "{photo}", "--lossless", "--bpp", "1"],
        ["compress", "{photo}", "--lossless", "--coder", "greedy"],
        ["compress", "{photo}", "--lossless", "--tune", "psnr"],
        ["compress", "{photo}", "--tune", "nonsense"],
        ["bench", "nothing"],
        ["train", "{photo}", "--set", "rate"],
        ["nothing"],
    ],
)
def test_wrong_usage(photo: Path, arguments: list[str]) -> None:
    assert run(*(argument.format(photo=photo) for argument in arguments)).exit_code == 2


def test_two_inputs_never_share_an_output(photo: Path) -> None:
    other = photo.with_suffix(".bmp")
    other.write_bytes(photo.read_bytes())
    result = run("compress", photo, other, other)
    assert result.exit_code == 0
    assert "renamed" in result.stderr
    assert result.stderr.count("\n") == 1
    assert sorted(path.name for path in photo.parent.glob("*.lac")) == [
        "photo.bmp.lac", "photo.png.lac"
    ]  # fmt: skip


def test_warnings_go_to_stderr(tmp_path: Path) -> None:
    path = tmp_path / "deep.tiff"
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(path)
    result = run("compress", path, "--json")
    assert result.exit_code == 0
    assert "warning" in result.stderr
    assert "16 bits" in result.stderr
    assert json.loads(result.stdout)["files"]


def test_decoded_formats(photo: Path) -> None:
    run("compress", photo)
    packed = photo.with_suffix(".lac")
    assert run("decompress", packed, "-o", photo.parent / "x.webp").exit_code == 0
    assert run("decompress", packed, "-o", photo.parent / "x.nothing").exit_code == 1
    alpha = Image.open(photo).convert("RGBA")
    alpha.save(photo)
    assert run("compress", photo, "--force").exit_code == 0
    result = run("decompress", packed, "-o", photo.parent / "x.jpg")
    assert result.exit_code == 1
    assert "cannot hold" in result.stderr


def test_interrupting_leaves_nothing(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", interrupt)
    monkeypatch.setattr(os, "replace", interrupt)
    assert run("compress", photo).exit_code == 130
    assert run("compress", photo, "--force").exit_code == 130
    assert list(photo.parent.iterdir()) == [photo]


@pytest.mark.slow
def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = demo.load_sample()
    assert min(sample.size) >= 400
    monkeypatch.setattr(demo, "load_sample", lambda: sample.crop((0, 0, 192, 176)))
    monkeypatch.setattr(demo, "QUALITIES", (20, 60))
    result = run("demo", "-o", tmp_path / "demo", "--json")
    assert result.exit_code == 0, result.stderr
    table = json.loads(result.stdout)
    assert {row["codec"] for row in table["rows"]} == {"laconic", "jpeg", "webp"}
    assert (tmp_path / "demo" / "side-by-side.png").stat().st_size > 10_000


def test_bench(tmp_path: Path) -> None:
    out = tmp_path / "entropy.json"
    result = run("bench", "entropy", "--json", out, "--repeats", 1)
    assert (result.exit_code, result.stdout) == (0, "")
    found = json.loads(out.read_text())
    assert found["command"] == "laconic bench entropy"
    assert found["file_bits"] > found["entropy_bits"]


@pytest.mark.slow
def test_bench_of_coders_adds_to_its_file(tmp_path: Path) -> None:
    out, figure = tmp_path / "rec.json", tmp_path / "rec.svg"
    options = ("--quick", "--json", out, "--data", tmp_path)
    for name, force in (("greedy", []), ("rejection", ["--force"])):
        result = run("bench", "rec", "--coder", name, *options, "--figure", figure, *force)
        assert result.exit_code == 0, result.stderr
        assert "real posteriors are left out" in result.stderr
        assert all(line.startswith(name) for line in result.stdout.splitlines())
    found = json.loads(out.read_text())
    assert found["command"] == "laconic bench rec"
    assert list(found["coders"]) == ["rejection", "greedy"]
    for coder in found["coders"].values():
        assert all(row["round_trip"] for row in coder["kl"] + coder["ladder"])
        assert "pictures" not in coder
    assert all(f">{name}<" in figure.read_text() for name in ("rejection", "greedy"))


def test_bench_refuses_what_it_cannot_add_to(tmp_path: Path) -> None:
    for text in ("not JSON", "[1]", '{"coders": 3}'):
        (tmp_path / "rec.json").write_text(text)
        result = run("bench", "rec", "--coder", "greedy", "--json", tmp_path / "rec.json")
        assert result.exit_code == 1
        assert "cannot add results to" in result.stderr
        assert (tmp_path / "rec.json").read_text() == text


@pytest.mark.slow
def test_help_in_a_process_of_its_own_is_quick_and_light() -> None:
    code = "import sys; from laconic.cli import main\ntry: main()\n" + (
        "except SystemExit: sys.exit(10 * ('torch' in sys.modules or 'numba' in sys.modules))"
    )
    best = 9.0
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=False
        )
        best = min(best, time.perf_counter() - start)
        assert done.returncode == 0
        assert "decompress" in done.stdout
    assert best < 2  # 0.15 s measured; generous because the machine may be busy


@pytest.mark.parametrize("command", ["info", "decompress"])
def test_a_cut_file_is_named(photo: Path, command: str) -> None:
    assert run("compress", photo).exit_code == 0
    cut = photo.with_name("cut.lac")
    cut.write_bytes(photo.with_suffix(".lac").read_bytes()[:100])
    result = run(command, cut)
    assert result.exit_code == 1
    assert result.stderr.count("cut.lac") == 1


def test_a_cut_file_is_shown_in_part(photo: Path) -> None:
    """Only with --partial, and with a warning that says how much is missing."""
    assert run("compress", photo, "--quality", 90).exit_code == 0
    cut, back = photo.with_name("cut.lac"), photo.with_name("back.png")
    data = photo.with_suffix(".lac").read_bytes()
    (shown, _) = json.loads(run("info", photo.with_suffix(".lac"), "--json").stdout)["levels"]
    cut.write_bytes(data[: shown["prefix_bytes"]])
    assert run("decompress", cut, "-o", back).exit_code == 1
    result = run("decompress", cut, "-o", back, "--partial")
    assert result.exit_code == 0
    assert result.stderr.count("\n") == 1
    assert "1 of 2 levels of detail are shown" in result.stderr
    with Image.open(back) as decoded:
        assert decoded.size == (56, 40)
    cut.write_bytes(data[:40])
    back.unlink()
    assert run("decompress", cut, "-o", back, "--partial").exit_code == 1
    assert not back.exists()


def test_decompress_names_the_decoder_that_needs_no_torch(
    photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    result = run("decompress", photo.with_suffix(".lac"))
    assert result.exit_code == 1
    assert "laconic-decode IN.lac -o OUT" in result.stderr
    assert result.stderr.count("\n") == 1


def test_plot_draws_where_the_bits_went(photo: Path) -> None:
    packed = photo.with_suffix(".lac")
    assert run("compress", photo, "--coder", "importance").exit_code == 0
    result = run("plot", packed, "--json")
    assert result.exit_code == 0, result.stderr
    entry = json.loads(result.stdout)
    picture = photo.with_name("photo-bits.png")
    assert entry["output"] == str(picture)
    with Image.open(picture) as drawn:
        assert drawn.format == "PNG"
        assert min(drawn.size) > 200
    found = json.loads(run("info", packed, "--json").stdout)
    sums = [level["bits"] for level in entry["levels"]]
    assert sum(sums) == pytest.approx(found["ideal_bits"], rel=1e-4)
    assert "exists" in run("plot", packed).stderr
    assert run("compress", photo, "--lossless", "--effort", 0, "--force").exit_code == 0
    result = run("plot", packed, "-o", photo.with_name("other.png"), "--json")
    assert result.exit_code == 0, result.stderr
    assert sum(level["bits"] for level in json.loads(result.stdout)["levels"]) > 0
    sheet = photo.with_name("other.svg")
    assert run("plot", packed, "-o", sheet).exit_code == 0
    assert sheet.read_text().startswith("<?xml")
    result = run("plot", packed, "-o", photo.with_name("other.bmp"))
    assert result.exit_code == 1
    assert "a plot is a .png or .svg file" in result.stderr
    assert not photo.with_name("other.bmp").exists()


def test_a_part_is_cut_out(photo: Path) -> None:
    packed, part = photo.with_suffix(".lac"), photo.with_name("part.png")
    assert run("compress", photo, "--lossless", "--effort", 0).exit_code == 0
    assert run("decompress", packed, "--crop", "5,6,20,10", "-o", part).exit_code == 0
    with Image.open(part) as found, Image.open(photo) as whole:
        assert np.array_equal(np.asarray(found), np.asarray(whole)[6:16, 5:25])
    found = laconic.decompress(packed, crop=(5, 6, 20, 10))
    assert (np.asarray(found) == np.asarray(Image.open(part))).all()
    result = run("decompress", packed, "--crop", "50,6,20,10", "-o", part, "--force")
    assert result.exit_code == 1
    assert "not inside the picture of 56 x 40" in result.stderr
    assert run("decompress", packed, "--crop", "1,2,3").exit_code == 2
