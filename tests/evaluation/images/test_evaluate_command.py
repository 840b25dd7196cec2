"""`laconic evaluate`, run with a codec that needs no trained model."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import laconic.cli.evaluate as command
from laconic.cli import app
from laconic.evaluation.images.results import load_study


@pytest.fixture
def call(rounding: type, monkeypatch: pytest.MonkeyPatch):  # noqa: ANN201
    monkeypatch.setattr(command, "make_codec", lambda coder: rounding())

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])

    return run


def test_table_json_and_page(call, folder: Path, tmp_path: Path) -> None:  # noqa: ANN001
    out, page = tmp_path / "out.json", tmp_path / "out.html"
    options = ("--quality", "4,16,2,8", "--against", "jpeg", "--json", out, "--html", page)
    got = call(folder, *options)
    assert got.exit_code == 0, got.output
    study = load_study(out)
    assert [point.setting for point in study.curves[0].points] == [2, 4, 8, 16]
    assert [curve.codec for curve in study.curves] == ["rounding", "jpeg"]
    differences = json.loads(out.read_text())["differences"]
    assert [one["figure"] for one in differences] == ["psnr", "ms_ssim_db"]
    assert page.read_text().count('type="range"') == 2
    assert "BD-rate against jpeg on psnr" in got.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.html", "out.json"]


def test_json_on_stdout_is_all_there_is(call, folder: Path) -> None:  # noqa: ANN001
    got = call(folder / "wide.png", "--quality", "5", "--against", "none", "--json", "-")
    assert got.exit_code == 0, got.output
    assert json.loads(got.stdout)["curves"][0]["codec"] == "rounding"


@pytest.mark.parametrize(
    "wrong", [("--quality", "0"), ("--quality", "x"), ("--against", "jpeg,gif"), ("--nonsense",)]
)
def test_usage_errors_exit_with_2(call, folder: Path, wrong: tuple[str, ...]) -> None:  # noqa: ANN001
    assert call(folder, *wrong).exit_code == 2


def test_faults_of_the_input_exit_with_1(call, tmp_path: Path) -> None:  # noqa: ANN001
    got = call(tmp_path)
    assert got.exit_code == 1
    assert "no pictures" in got.stderr
    assert got.stdout == ""
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert "bad.png" in call(tmp_path).stderr


def test_unwritable_output(call, folder: Path, tmp_path: Path) -> None:  # noqa: ANN001
    options = ("--quality", "5", "--against", "none", "--json", tmp_path / "missing" / "x.json")
    assert call(folder / "wide.png", *options).exit_code == 1
