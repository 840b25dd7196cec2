"""One run of a sweep, from settings to a point of the plane; interrupted anywhere, it goes on.

```
 lock ─► checkpoint? ─► train ─► checkpoint ─► measure ─► grids.npz ─► result.json
          its settings must be these                       written whole, last of all
```
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from laconic.errors import ConfigError
from laconic.lab.datasets import DataConfig, shuffled
from laconic.lab.points import (
    Instruments,
    Point,
    StageProgress,
    read_point,
    refuse_changes,
    write_point,
)
from laconic.lab.recipes.latent import RECIPE, make_trainer
from laconic.lab.sweep import Run, digest
from laconic.training import checkpoints
from laconic.training.config import build
from laconic.training.loop import Trainer

PATIENCE_SECONDS = 15.0
"""How long a run's lock is waited for: a worker whose parent was killed saves before it ends."""


def is_finished(run: Run, instruments: Instruments) -> bool:
    """Whether the run has its result.

    What can be measured grows: a result that knows nothing of a newer measure has it as by default.

    Raises:
        ConfigError: it, or the checkpoint it left, was made with other settings.
    """
    checkpoint = Path(run.folder) / "checkpoint.safetensors"
    if checkpoint.exists():
        _, meta = checkpoints.load(checkpoint, tensors=False)
        _refuse(meta.get("settings"), run.training, run, f"remove {run.folder} to train it again")
    result = read_result(run)
    if result is None:
        return False
    told = result.get("settings", {})
    _refuse(told.get("training"), run.training, run, f"remove {run.folder} to train it again")
    measuring = dict(told.get("measuring") or {})
    measuring["measure"] = instruments.resolve(measuring.get("measure") or {})
    _refuse(measuring, run.measuring, run, f"remove {run.result} to measure it again")
    return True


def read_result(run: Run) -> dict[str, Any] | None:
    """What the run found; None where it is not finished.

    Raises:
        InputError: the file is none of ours.
    """
    return read_point(Path(run.folder))


def complete(run: Run, instruments: Instruments, progress: StageProgress) -> dict[str, Any]:
    """Do whatever is left of a run, and return its result.

    Raises:
        ConfigError: it was begun with other settings, or another process is at it.
    """
    torch.set_num_threads(run.threads)
    folder = Path(run.folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "lock", run.name):
        if is_finished(run, instruments):
            return read_result(run) or {}
        _sweep_up(folder)
        trainer = _train(run, progress)
        point = _measure(run, trainer, instruments, progress)
        return write_point(folder, _describe(run, trainer), point)


def _train(run: Run, progress: StageProgress) -> Trainer:
    """The run's recipe, to its last step."""
    recipe = {key: value for key, value in run.training.items() if key in RECIPE}
    recipe["folder"] = run.folder
    begun = (Path(run.folder) / "checkpoint.safetensors").exists()
    trainer = make_trainer(recipe, resume=begun, notes={"settings": run.training})
    if run.after and not begun:
        average, _ = checkpoints.load_average(Path(run.after) / "checkpoint.safetensors")
        trainer.start_from(average, 0)
    steps = trainer.config.steps
    progress("train", trainer.step, steps)
    trainer.run(lambda step, row: progress("train", step, steps))
    if trainer.step < steps:
        raise ConfigError(f"loop.minutes: training stopped at step {trainer.step} of {steps}")
    return trainer


def _measure(
    run: Run, trainer: Trainer, instruments: Instruments, progress: StageProgress
) -> Point:
    device = trainer.fabric.device
    torch.manual_seed(trainer.config.seed)
    train = shuffled(build(DataConfig, run.training["data"], "data")).to(device)
    test = shuffled(build(DataConfig, run.measuring["test"], "test")).to(device)
    test = test[: run.measuring["images"] or None]
    return instruments.take(trainer.average.eval(), train, test, run.measuring, progress)


def _describe(run: Run, trainer: Trainer) -> dict[str, Any]:
    """Everything about a run but what was measured."""
    training = run.training
    model, loop, objective = (training[key] for key in ("model", "loop", "objective"))
    return {
        "name": run.title,
        "family": model.get("family", model["name"]),
        "preset": model.get("preset", ""),
        "objective": objective | {"name": "beta" if "beta" in objective else objective["name"]},
        "annealed": loop["kl_warmup_steps"] > 0,
        "data": Path(training["data"]["folder"]).name,
        "seed": loop["seed"],
        "steps": trainer.step,
        "train_seconds": round(trainer.seconds, 1),
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        **trainer.state.report(),
        "settings": {"training": training, "measuring": run.measuring, "digest": digest(run)},
    }


def _refuse(told: Any, wanted: Mapping[str, Any], run: Run, remedy: str) -> None:
    refuse_changes(told, wanted, run.name, f"{remedy}, or give the sweep another folder")


def _sweep_up(folder: Path) -> None:
    """Remove what killed writers left: their temporary files begin with a dot."""
    for path in folder.glob(".*"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(path: Path, name: str) -> Iterator[None]:
    """Hold the lock of a file; it ends with the process, however that ends.

    The file beside it, `.owner`, holds the number of the process, for messages.

    Raises:
        ConfigError: another process holds it.
    """
    owner = path.with_suffix(".owner")
    lock = FileLock(path, timeout=PATIENCE_SECONDS, poll_interval=0.2)
    try:
        lock.acquire()
    except Timeout:
        number = owner.read_text().strip() if owner.exists() else "unknown"
        raise ConfigError(
            f"{name}: process {number} holds the lock of this run; wait for it or stop it"
        ) from None
    try:
        owner.write_text(f"{os.getpid()}\n")
        yield
    finally:
        lock.release()
