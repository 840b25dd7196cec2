"""`laconic rd`: sweeps are checked, done once, and go on after any kill; exit codes hold."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner, Result

from laconic.cli import app
from laconic.lab.sweep import read_sweep
from laconic.training.config import read_config

LABORATORY = {
    "train_images": 0, "iwae_draws": 2, "iwae_images": 4, "information_images": 4,
    "generated": 0,
}  # fmt: skip


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep of one run on twenty binary images of 8 x 8."""
    rng = np.random.default_rng(0)
    (tmp_path / "small").mkdir()
    packed = np.packbits(rng.integers(2, size=(20, 64), dtype=np.uint8), axis=1)
    np.savez(tmp_path / "small" / "binarized_mnist.npz", train=packed, test=packed[:5])
    monkeypatch.setenv("LACONIC_DATA", str(tmp_path))
    sizes = {"side": 8, "latents": 3, "hidden": [16], "planes": 2, "width": 4}
    settings = {
        "model": {"name": "dense", "likelihood": "bernoulli", **sizes},
        "betas": [0.5],
        "data": {"kind": "binary", "folder": "small", "split": "train", "batch": 4},
        "test": {"split": "test"},
        "loop": {"steps": 8, "log_steps": 2, "precision": "32-true", "checkpoint_minutes": 0.0},
        "measure": LABORATORY,
        "folder": str(tmp_path / "sweep"),
    }
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["rd", *map(str, arguments)])


def test_a_dry_run_lists_the_runs_and_makes_nothing(config: Path) -> None:
    settings = ["--set", "betas=[0.5, 2]", "--set", "targets_nats=[3]"]
    result = run("run", config, "--dry-run", *settings)
    names = ["dense-beta-0.5/seed-0", "dense-beta-2/seed-0", "dense-rate-3/seed-0"]
    assert result.stdout.splitlines() == names
    found = json.loads(run("run", config, "--dry-run", "--json", *settings).stdout)
    assert found["left"] == 3
    assert found["runs"] == [{"name": name, "finished": False} for name in names]
    assert not (config.parent / "sweep").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("beta=[1]", "beta: unknown key"),
        ("measure.draw=1", "measure.draw: unknown key"),
        ("data.folder=nowhere", "nowhere"),
        ("test.split=exam", "exam"),
        ("code.relative_entropy=[dance]", "code.relative_entropy: 'dance' is none of dense"),
    ],
)
def test_what_cannot_be_is_said_in_one_line_before_training(
    config: Path, setting: str, message: str
) -> None:
    result = run("run", config, "--set", setting)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert not (config.parent / "sweep").exists()


def test_impossible_families_and_files_and_missing_extras(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = ["--set", "model={name: family}", "--set", 'families=["-x-"]']
    result = run("run", config, *family)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "'-x-' is no family" in result.stderr
    result = run("run", config.parent / "none.yaml")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert run("run", config, "--set", "loop").exit_code == 2
    monkeypatch.setitem(sys.modules, "laconic.lab.workers", None)
    result = run("run", config)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "pip install 'laconic-codec[train,eval,flows]'" in result.stderr


LOOP = (
    "laconic.lab.sweep", "laconic.lab.workers", "laconic.lab.runs", "laconic.lab.contract",
    "laconic.lab.recipes", "laconic.lab.recipes.latent", "laconic.training.loop",
    "laconic.training.processes",
)  # fmt: skip
"""What is imported anew, so that it imports lightning."""


@pytest.mark.parametrize("name", ["zuko.nn", "lightning.fabric", "yaml", "matplotlib.figure"])
def test_a_missing_extra_is_one_line_before_anything_is_done(
    config: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder, report = config.with_name("point"), config.with_name("report")
    folder.mkdir()
    measures = {f"{key}_nats": {"value": 0.0, "error": 0.0} for key in ("rate", "distortion")}
    point = {"format": "laconic rd point 1", "name": "a", "family": "a", "data": "d"}
    (folder / "result.json").write_text(json.dumps(point | {"measures": measures}))
    for module in LOOP if name == "lightning.fabric" else ():
        importlib.import_module(module)
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    family = ["--set", "model={name: family, side: 8}", "--set", 'families=["-++"]']
    if name == "matplotlib.figure":
        result = run("plot", folder, "-o", report)
    else:
        result = run("run", config, *(family if name == "zuko.nn" else ()))
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert name.partition(".")[0] in result.stderr.lower()
    assert "install" in result.stderr
    assert "laconic-codec[" in result.stderr
    assert not config.with_name("sweep").exists()
    assert not report.exists()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three pictures of noise, and one that is too small."""
    folder = tmp_path / "holiday"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index, side in enumerate((72, 80, 96, 8)):
        pixels = rng.integers(256, size=(side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


@pytest.mark.slow
def test_a_model_of_pictures_is_measured_at_every_beta_and_drawn(
    pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "points"
    arguments = [pictures, "--patch", 72, "--points", 3, "-o", out]
    result = run("measure", "default", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    assert "smaller than 72 pixels: 3.png" in result.stderr
    done = json.loads(result.stdout)["done"]
    assert [point["name"] for point in done] == [
        f"pyramid beta {beta}" for beta in ("0.0001", "0.0016", "0.0256")
    ]
    assert all({"iwae_nats", "negative_elbo_nats"} <= set(point["measures"]) for point in done)
    rates = [point["measures"]["rate_nats"]["value"] for point in done]
    assert rates == sorted(rates, reverse=True)
    noise = []
    for beta in ("0.0001", "0.0016"):
        with np.load(out / f"pyramid-beta-{beta}" / "grids.npz") as grids:
            assert grids["inputs"].shape == (3, 64, 64, 3)
            noise.append(grids["reconstructions"].std(axis=1, ddof=1).mean() / 255)
    assert noise == pytest.approx([0.94 * 0.01, 0.94 * 0.04], rel=0.05)  # of five draws
    again = run("measure", "default", *arguments)
    assert again.stdout.splitlines() == [f"{out}: 0 measured, 3 already measured"]
    drawn = run("plot", out, "-o", tmp_path / "report")
    assert drawn.exit_code == 0, drawn.stderr
    page = (tmp_path / "report" / "report.html").read_text()
    assert "holiday 72x72, densities" in page
    assert "Family pyramid" in page


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--betas", "0.01,x"], 2, "numbers separated by commas"),
        (["--betas", "0.01,7"], 1, "beta: 7 is not between"),
        (["--patch", 63], 1, "multiples of 8"),
        (["--patch", 800], 1, "0 pictures with both sides of 800"),
        (["--images", 1], 2, "--images"),
    ],
)
def test_what_cannot_be_measured_is_said(
    pictures: Path, tmp_path: Path, arguments: list[object], status: int, message: str
) -> None:
    result = run("measure", "default", pictures, "-o", tmp_path / "points", *arguments)
    assert (result.exit_code, result.stdout) == (status, "")
    assert message in result.stderr
    assert not (tmp_path / "points").exists()


def test_a_point_cannot_be_plotted_before_it_is_measured(tmp_path: Path) -> None:
    result = run("plot", tmp_path / "nowhere", "-o", tmp_path / "out")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "nowhere" in result.stderr


@pytest.mark.slow
def test_a_killed_sweep_goes_on_and_is_done_once(config: Path) -> None:
    """The parent gets a real SIGKILL while its worker trains; a second start finishes."""
    slow = "loop={steps: 100, precision: 32-true, checkpoint_minutes: 0.0, log_steps: 2}"
    command = [sys.executable, "-c", "from laconic.cli import main; main()", "rd", "run"]
    arguments = [*command, str(config), "--json", "--set", slow]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, env=os.environ)
    (plan,) = read_sweep(read_config(config, [slow])).runs
    checkpoint = plan.folder / "checkpoint.safetensors"
    until = time.monotonic() + 120
    while not checkpoint.exists():
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (plan.folder / "result.json").exists()
    done = run("run", config, "--json", "--set", slow)
    assert done.exit_code == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["done"], summary["skipped"]) == ([plan.name], [])
    result = json.loads((plan.folder / "result.json").read_text())
    assert result["steps"] == 100
    assert {"rate_nats", "distortion_nats", "iwae_nats"} <= set(result["measures"])
    stamp = (plan.folder / "result.json").stat().st_mtime_ns
    again: dict[str, Any] = json.loads(run("run", config, "--json", "--set", slow).stdout)
    assert (again["done"], again["skipped"]) == ([], [plan.name])
    assert (plan.folder / "result.json").stat().st_mtime_ns == stamp
    changed = run("run", config, "--set", slow.replace("100", "101"))
    assert changed.exit_code == 1
    assert f"{plan.name} was made with other settings: loop.steps was 100" in changed.stderr


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "point").mkdir()
    point = {
        "format": "laconic rd point 1",
        "name": "a",
        "family": "---",
        "data": "d",
        "measures": {
            name: {"value": 1.0, "error": 0.1} for name in ("rate_nats", "distortion_nats")
        },
    }
    (tmp_path / "point" / "result.json").write_text(json.dumps(point))
    done = run("plot", tmp_path / "point", "-o", tmp_path / "file" / "report")
    assert done.exit_code == 1
    assert str(tmp_path / "file") in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
