"""`laconic rd`: sweeps are checked, done once, and go on after any kill; exit codes hold."""

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
from typer.testing import CliRunner, Result

from laconic.cli import app
from laconic.pretrained.sweep import read_sweep
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
    monkeypatch.setitem(sys.modules, "laconic.pretrained.workers", None)
    result = run("run", config)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "install laconic[train,eval]" in result.stderr


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
    checkpoint = Path(plan.folder) / "checkpoint.safetensors"
    until = time.monotonic() + 120
    while not checkpoint.exists():
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not plan.result.exists()
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["done"], summary["skipped"]) == ([plan.name], [])
    result = json.loads(plan.result.read_text())
    assert result["steps"] == 100
    assert {"rate_nats", "distortion_nats", "iwae_nats"} <= set(result["measures"])
    stamp = plan.result.stat().st_mtime_ns
    again: dict[str, Any] = json.loads(run("run", config, "--json", "--set", slow).stdout)
    assert (again["done"], again["skipped"]) == ([], [plan.name])
    assert plan.result.stat().st_mtime_ns == stamp
    changed = run("run", config, "--set", slow.replace("100", "101"))
    assert changed.exit_code == 1
    assert f"{plan.name} was made with other settings: loop.steps was 100" in changed.stderr
