"""One run of a sweep, from settings to a point of the plane; interrupted anywhere, it goes on.

```
 lock ─► checkpoint? ─► train ─► checkpoint ─► measure ─► grids.npz ─► result.json
          its settings must be these                       written whole, last of all
```
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from laconic.container import write_atomically
from laconic.errors import ConfigError, InputError
from laconic.models.base import LatentVariableModel
from laconic.pretrained.recipe import RECIPE, DataConfig, make_trainer, read_small
from laconic.pretrained.sweep import Run, comparable, digest
from laconic.training import checkpoints
from laconic.training.config import build
from laconic.training.loop import Trainer

FORMAT = "laconic rd point 1"
PATIENCE_SECONDS = 15.0
"""How long a run's lock is waited for: a worker whose parent was killed saves before it ends."""
Progress = Callable[[str, int, int], None]
"""Told the stage, and how much of how much is done."""


class Point(Protocol):
    """What was measured of a trained model."""

    @property
    def measures(self) -> Mapping[str, Any]:
        """By name, each with its value and standard error, in nats per image."""
        ...

    @property
    def files(self) -> Mapping[str, Any]:
        """Real codes by the way they were made, in bits per image."""
        ...

    @property
    def grids(self) -> Mapping[str, Any]:
        """Arrays of pictures by name, uint8."""
        ...


class Instruments(Protocol):
    """What measures; it lives above training, and is handed down."""

    def resolve(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The section `measure` with every default; raises `ConfigError` for what cannot be."""
        ...

    def rehearse(
        self, model: LatentVariableModel, images: Tensor, settings: Mapping[str, Any]
    ) -> None:
        """Raise a `LaconicError` for what this model, still untrained, can never be coded by."""
        ...

    def take(
        self,
        model: LatentVariableModel,
        train: Tensor,
        test: Tensor,
        settings: Mapping[str, Any],
        watch: Progress,
    ) -> Point:
        """The point of a model.

        Args:
            model: trained.
            train: images that it was trained on, `(count, 1, height, width)` in [0, 1].
            test: images that it was not.
            settings: `Run.measuring`.
            watch: told the stage, how much is done and of how much.
        """
        ...


def is_finished(run: Run) -> bool:
    """Whether the run has its result.

    Raises:
        ConfigError: it, or the checkpoint it left, was made with other settings.
    """
    checkpoint = Path(run.folder) / "checkpoint.safetensors"
    if checkpoint.exists():
        _, meta = checkpoints.load(checkpoint, tensors=False)
        _compare(meta.get("settings"), run.training, run, f"remove {run.folder} to train it anew")
    result = read_result(run)
    if result is None:
        return False
    told = result.get("settings", {})
    _compare(told.get("training"), run.training, run, f"remove {run.folder} to train it anew")
    _compare(told.get("measuring"), run.measuring, run, f"remove {run.result} to measure it anew")
    return True


def read_result(run: Run) -> dict[str, Any] | None:
    """What the run found; None where it is not finished.

    Raises:
        InputError: the file is none of ours.
    """
    try:
        result = json.loads(run.result.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{run.result}: no readable result ({error}); remove it") from error
    if not isinstance(result, dict) or result.get("format") != FORMAT:
        raise InputError(f"{run.result}: not a '{FORMAT}'; remove it")
    return result


def complete(run: Run, instruments: Instruments, progress: Progress) -> dict[str, Any]:
    """Do whatever is left of a run, and return its result.

    Raises:
        ConfigError: it was begun with other settings, or another process is at it.
    """
    torch.set_num_threads(run.threads)
    folder = Path(run.folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "lock", run.name):
        if is_finished(run):
            return read_result(run) or {}
        _sweep_up(folder)
        trainer = _train(run, progress)
        point = _measure(run, trainer, instruments, progress)
        result = _describe(run, trainer, point)
        if point.grids:
            write_atomically(folder / result["grids"], _packed(point.grids))
        text = json.dumps(result, indent=1, allow_nan=False)
        write_atomically(run.result, (text + "\n").encode())
        return result


def _train(run: Run, progress: Progress) -> Trainer:
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


def _measure(run: Run, trainer: Trainer, instruments: Instruments, progress: Progress) -> Point:
    device = trainer.fabric.device
    torch.manual_seed(trainer.config.seed)
    train = shuffled(build(DataConfig, run.training["data"], "data")).to(device)
    test = shuffled(build(DataConfig, run.measuring["test"], "test")).to(device)
    test = test[: run.measuring["images"] or None]
    return instruments.take(trainer.average.eval(), train, test, run.measuring, progress)


def shuffled(data: DataConfig) -> Tensor:
    """All images of a split in a fixed order without meaning, since files may go by class."""
    images = read_small(data)
    kept = images[: len(images) - data.hold_out]
    return kept[torch.randperm(len(kept), generator=torch.Generator().manual_seed(0))]


def _describe(run: Run, trainer: Trainer, point: Point) -> dict[str, Any]:
    training = run.training
    model, loop, objective = (training[key] for key in ("model", "loop", "objective"))
    grids = {"grids": "grids.npz"} if point.grids else {}
    files = {"files": dict(point.files)} if point.files else {}
    return {
        "format": FORMAT,
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
        "measures": dict(point.measures),
        **files,
        **grids,
        "settings": {"training": training, "measuring": run.measuring, "digest": digest(run)},
    }


def _packed(grids: Mapping[str, Any]) -> bytes:
    buffer = BytesIO()
    np.savez_compressed(buffer, **dict(grids))
    return buffer.getvalue()


def _compare(told: Any, wanted: Mapping[str, Any], run: Run, remedy: str) -> None:
    """Raise `ConfigError` at the first setting that is not what it was."""
    before, now = comparable(told or {}), comparable(wanted)
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise ConfigError(
                f"{run.name} was made with other settings: {key} was {before.get(key)}, is now "
                f"{now.get(key)}; {remedy}, or give the sweep another folder"
            )


def _sweep_up(folder: Path) -> None:
    """Remove what killed writers left: their temporary files begin with a dot."""
    for path in folder.glob(".*"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(path: Path, name: str) -> Iterator[None]:
    """Hold a file's lock, which ends with the process, however it ends.

    Raises:
        ConfigError: another process keeps it.
    """
    try:
        import fcntl
    except ImportError as error:
        raise ConfigError("sweeps lock their runs as POSIX systems do; this is none") from error
    with path.open("a+") as file:
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > until:
                    owner = path.read_text().strip()
                    raise ConfigError(f"{name}: process {owner} is at it already") from None
                time.sleep(0.2)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
