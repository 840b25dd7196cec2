"""Training over two processes: the same weights as one, exact resuming, one writer of files."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from laconic.errors import ConfigError
from laconic.training import checkpoints
from laconic.training.loop import CHECKPOINT, LoopConfig, Trainer
from laconic.training.loss import LossState
from laconic.training.processes import Processes, is_first
from laconic.training.schedules import LearningRate

STEPS = 50


class Points:
    """Batches of 8 points with their targets, functions of the number of the batch."""

    def batch(self, index: int) -> list[Tensor]:
        source = torch.Generator().manual_seed(index)
        x = torch.randn(8, 5, generator=source)
        return [x, torch.sin(x.sum(1, keepdim=True))]


class Running(LossState):
    """A statistic of the loss, as a multiplier keeps it."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.latest = torch.zeros(())

    def after_step(self) -> None:
        self.mean.mul_(0.9).add_(0.1 * self.latest)


def train(folder: Path, steps: int, devices: int, resume: bool = False) -> None:
    """Train a small network without noise; the script below calls it in each process."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 1))
    state = Running()

    def loss(batch: list[Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        value = (model(batch[0]) - batch[1]).square().mean()
        state.latest = value.detach()
        return value, {"mse": float(value.detach())}

    config = LoopConfig(
        steps=steps, precision="32-true", log_steps=10, slow_prefix="", devices=devices
    )
    rate = LearningRate(peak=1e-2, warmup_steps=1)
    run = Trainer(model, loss, Points(), rate, config, folder, {}, state=state)
    if resume:
        run.resume()
    run.run()


def start(folder: Path, *by: str) -> None:
    """Run `main` with two processes, started by Fabric, or by the module that `by` names."""
    script = folder / "script.py"
    script.write_text(
        "import sys; from importlib.util import module_from_spec, spec_from_file_location as s\n"
        f"spec = s('trial', {str(Path(__file__))!r}); trial = module_from_spec(spec)\n"
        "spec.loader.exec_module(trial); trial.main(*sys.argv[1:])\n"
    )
    command = [sys.executable, *by, str(script), str(folder), str(len(by))]
    environment = {k: v for k, v in os.environ.items() if "PYTEST" not in k}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def main(folder: str, parts: str) -> None:
    """Train without a pause, or first without and then with one.

    Writing is slow here, so that a process which does not wait for it finds no checkpoint.
    """
    save = checkpoints.save

    def save_slowly(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        time.sleep(0.5)
        save(path, tensors, meta)

    checkpoints.save = save_slowly
    train(Path(folder) / "whole", STEPS, 2)
    if parts != "0":
        train(Path(folder) / "parts", 20, 2)
        train(Path(folder) / "parts", STEPS, 2, resume=True)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """What one process makes of it."""
    folder = tmp_path_factory.mktemp("one")
    train(folder, STEPS, 1)
    return checkpoints.load(folder / CHECKPOINT)[0]


def check(found: dict[str, Tensor], one: dict[str, Tensor]) -> None:
    assert found.keys() == one.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-5, msg=name)


@pytest.mark.slow
def test_two_processes_make_the_weights_of_one(one: dict[str, Tensor], tmp_path: Path) -> None:
    start(tmp_path)
    two, meta = checkpoints.load(tmp_path / "whole" / CHECKPOINT)
    assert meta["step"] == STEPS
    check(two, one)
    rows = (tmp_path / "whole" / "log.csv").read_text().splitlines()
    assert len(rows) == 1 + STEPS // 10  # One writer.


@pytest.mark.slow
def test_two_processes_of_torchrun_resume_exactly(one: dict[str, Tensor], tmp_path: Path) -> None:
    start(tmp_path, "-m", "torch.distributed.run", "--nproc-per-node=2")
    whole, _ = checkpoints.load(tmp_path / "whole" / CHECKPOINT)
    check(whole, one)
    for name, tensor in checkpoints.load(tmp_path / "parts" / CHECKPOINT)[0].items():
        assert torch.equal(tensor, whole[name]), name


def test_one_process_is_the_first_and_changes_nothing() -> None:
    processes = Processes(1, 1, "32-true")
    batch = torch.arange(6.0)
    assert is_first()
    assert (processes.rank, processes.count) == (0, 1)
    assert torch.equal(processes.share(batch), batch)
    assert processes.means({"a": 1.5}) == {"a": 1.5}
    assert processes.any(True)


def test_numbers_of_processes_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"loop\.devices is 0"):
        Processes(0, 1, "32-true")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match="3 processes were started"):
        Processes(1, 1, "32-true")


def test_a_batch_must_divide(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = Processes(1, 1, "32-true")
    monkeypatch.setattr(Processes, "count", property(lambda self: 4))
    with pytest.raises(ConfigError, match=r"6 examples .* 4 processes"):
        processes.share(torch.zeros(6))
