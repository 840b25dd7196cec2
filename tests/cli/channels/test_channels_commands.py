"""`laconic transmit` and `laconic channels`: files, numbers, one line for every fault."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from laconic.channels.systems.photographs import PhotographConfig, PhotographSystem
from laconic.cli import app
from laconic.errors import ConfigError
from laconic.lab.contract import written
from laconic.pretrained import load
from laconic.pretrained.channels import EMBEDDED, load_system, pack_system
from laconic.pretrained.registry import folder

RUNNER = CliRunner()
SIZES = PhotographConfig(
    block=8, bands=3, width=8, blocks=(1, 1), fine_width=4, fine_blocks=1, embedding=4
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    system = PhotographSystem(SIZES)
    low = torch.rand(60, 3, 4, 4)
    system.prepare([torch.nn.functional.interpolate(low, (16, 16), mode="bilinear")])
    path = tmp_path_factory.mktemp("model") / "small.lac"
    path.write_bytes(pack_system(written(SIZES), system.state_dict(), 0.01))
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    rows, columns = np.mgrid[:24, :40]
    pixels = np.stack([5 * rows, 4 * columns, 2 * (rows + columns)], axis=2).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def run(*arguments: object) -> tuple[int, str]:
    done = RUNNER.invoke(app, [str(one) for one in arguments])
    return done.exit_code, done.output


def test_a_packed_system_is_the_same_but_for_its_tolerance(model: Path) -> None:
    system = load_system(model)
    assert system.config == SIZES
    assert not system.training


def test_the_embedded_system_sends_a_picture(picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    status, said = run("transmit", picture, "--against", "none", "-o", out)
    assert status == 0, said
    sent, arrived = (np.asarray(Image.open(path), np.float64) for path in (picture, out))
    assert sent.shape == arrived.shape
    assert ((sent - arrived) ** 2).mean() < 100


def test_our_own_codec_is_a_source_codec(model: Path, picture: Path) -> None:
    status, said = run(
        "transmit", picture, "--bandwidth", 0.125, "--snr", 20, "--model", model,
        "--against", "lac", "--json",
    )  # fmt: skip
    assert status == 0, said
    found = json.loads(said[said.index("{") :])
    assert found["capacity"]["label"].startswith("Laconic + capacity")
    assert found["capacity"]["bits"] <= found["capacity_bits"]


def test_the_ending_names_the_format(model: Path, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jpg"
    given = ("--bandwidth", 0.125, "--model", model, "--against", "none")
    assert run("transmit", picture, *given, "-o", out)[0] == 0
    with Image.open(out) as arrived:
        assert arrived.format == "JPEG"
    status, said = run("transmit", picture, *given, "-o", tmp_path / "out.xyz")
    assert status == 1
    assert "cannot write .xyz" in said


def test_a_model_of_another_kind_is_one_line(picture: Path, tmp_path: Path) -> None:
    other = folder() / "pixels.lac"
    status, said = run("transmit", picture, "--model", other, "-o", tmp_path / "out.png")
    assert status == 1
    assert "not a joint system" in said
    with pytest.raises(ConfigError, match=r"joint\.lac: not released weights"):
        load(EMBEDDED)


def test_a_picture_is_sent_and_written(model: Path, picture: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "out.png", tmp_path / "page.html"
    status, said = run(
        "transmit", picture, "--snr", 12, "--bandwidth", 0.125, "--model", model,
        "--against", "none", "-o", out, "--html", page, "--json",
    )  # fmt: skip
    assert status == 0, said
    found = json.loads(said)
    assert found["complex_uses"] == 3 * 5 * 192 // 8
    assert found["joint"]["bands"] == 3
    with Image.open(out) as image:
        assert image.size == (40, 24)
    assert "Joint system" in page.read_text()
    again = run("transmit", picture, "--model", model, "--against", "none", "-o", out)
    assert again[0] == 1
    assert "exists" in again[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--snr", "nan"], "signal-to-noise"),
        (["--snr", "33"], "0 to 20 dB"),
        (["--bandwidth", "0"], "above 0"),
        (["--bandwidth", "0.5"], "outside what the model knows"),
        (["--channel", "cable"], "not one of awgn, rayleigh-slow"),
        (["--against", "png"], "unknown anchor"),
        (["--model", "none.lac"], "no such file"),
    ],
)
def test_faults_are_one_line(model: Path, picture: Path, options: list[str], message: str) -> None:
    given = [] if "--model" in options else ["--model", model]
    status, said = run("transmit", picture, *given, *options)
    assert status == 1
    assert message in said
    assert said.count("\n") == 1


def test_pictures_that_cannot_be_sent_are_one_line(model: Path, tmp_path: Path) -> None:
    small, rubbish = tmp_path / "small.png", tmp_path / "rubbish.png"
    Image.new("RGB", (5, 30)).save(small)
    rubbish.write_bytes(b"rubbish")
    for path, message in ((small, "both sides must have 8"), (rubbish, "rubbish.png")):
        status, said = run("transmit", path, "--model", model, "--against", "none")
        assert status == 1
        assert message in said
        assert said.count("\n") == 1
    (tmp_path / "other.lac").write_bytes(b"rubbish")
    status, said = run("transmit", small, "--model", tmp_path / "other.lac")
    assert (status, "not a joint system" in said) == (1, True)


def test_a_report_of_nothing_is_one_line(tmp_path: Path) -> None:
    status, said = run("channels", "report", tmp_path)
    assert (status, said.count("\n")) == (1, 1)
    assert "no finished run" in said


def test_a_report_of_runs(tmp_path: Path) -> None:
    measured = {"mse": 0.01, "mse_error": 0.001, "psnr_db": 20.0}
    for index, kind in enumerate(("joint", "separate")):
        result = {
            "format": "laconic channels 1",
            "system": {"name": "pair", "kind": kind, "beta": 0.01},
            "channel": {"name": "awgn", "snr_db": 5.0},
            "data": "faces",
            "seed": 0,
            "uses": 12,
            "capacity_bits_per_use": 2.05,
            "distortion": {"0": measured},
        }
        folder = tmp_path / "runs" / str(index)
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(result))
    status, said = run("channels", "report", tmp_path / "runs", "-o", tmp_path / "figures")
    assert status == 0, said
    assert "| faces | joint | 5 |" in said
    assert (tmp_path / "figures" / "faces-ratio.svg").exists()
