"""One run of a recipe, from settings to a result; interrupted at any time, it can go on.

```
 lock ─► checkpoint? ─► train ─► checkpoint ─► measure ─► grids.npz ─► result.json
          its settings must be those of the recipe           written whole, last of all
```

Every recipe has the same folder:

| file | what |
|---|---|
| `lock`, `lock.owner` | the process that works here |
| `checkpoint.safetensors` | weights, optimiser, step; settings and digest of the recipe |
| `log.csv` | rows of training |
| `grids.npz`, others | pictures and files, if the recipe makes any |
| `result.json` | what was measured, and all settings |
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from laconic.container import write_atomically
from laconic.container.storage import TEMPORARY_PREFIX
from laconic.errors import ConfigError, InputError
from laconic.evaluation.plane.points import RESULT
from laconic.lab.contract import (
    Findings,
    Parts,
    Recipe,
    StageProgress,
    StepProgress,
    digest,
    refuse_changes,
    written,
)
from laconic.training import checkpoints
from laconic.training.loop import CHECKPOINT, Trainer
from laconic.training.processes import is_first

GRIDS = "grids.npz"
"""Name of the file with its pictures."""

PATIENCE_SECONDS = 15.0
"""How long a run's lock is waited for: a worker whose parent was killed saves before it ends."""

ANOTHER = "or give the sweep another folder"


def silent(stage: str, done: int, total: int) -> None:
    """No progress at all."""


def unsaid(step: int, row: dict[str, float]) -> None:
    """No row of the log is shown."""


def train(
    recipe: Recipe, resume: bool = False, force: bool = False, say: StepProgress = unsaid
) -> dict[str, Any] | None:
    """Train as `laconic train` does: begin, go on, or begin anew.

    Args:
        recipe: what to do.
        resume: continue from the checkpoint in the folder; the recipe's adjustable sections may
            have changed.
        force: begin anew where the folder holds a checkpoint, which is replaced.
        say: called with the step and the latest row of the log.

    Returns:
        The result; None where nothing is measured, or training stopped early (`loop.minutes`).

    Raises:
        ConfigError: anything wrong with the recipe or its files; the folder holds a checkpoint,
            and neither `resume` nor `force` is given; or one of other settings.
    """
    checkpoint = recipe.place / CHECKPOINT
    if checkpoint.exists() and not (resume or force):
        raise ConfigError(
            f"{checkpoint} exists; --resume goes on with it, --force replaces it, and "
            "--set folder=FOLDER begins elsewhere"
        )
    recipe.training()
    _finish_before(recipe, silent, say)
    parts = recipe.assemble(fresh=not resume)  # Whatever is wrong shows before a folder is made.
    with locked(recipe):
        if resume:
            _, meta = checkpoints.load(checkpoint, tensors=False)
            if (recorded := recipe.recorded(meta)) is not None:
                remedy = "--force begins anew, --set folder=FOLDER begins elsewhere"
                wanted = recipe.training()
                refuse_changes(recorded, wanted, recipe.title, remedy, recipe.adjustable)
        trainer = make_trainer(recipe, resume, parts)
        if force and is_first():
            (recipe.place / RESULT).unlink(missing_ok=True)
            trainer.log.rewind(trainer.step)
        if not _run(recipe, trainer, silent, say) or not recipe.measuring() or not is_first():
            return None
        return _conclude(recipe, trainer, silent)


def complete(
    recipe: Recipe, watch: StageProgress = silent, say: StepProgress = unsaid
) -> dict[str, Any]:
    """Do whatever is left of a run, and return its result.

    Raises:
        ConfigError: it was begun with other settings, another process holds its lock, or training
            stopped before its last step (`loop.minutes`).
    """
    _finish_before(recipe, watch, say)
    with locked(recipe):
        if is_finished(recipe):
            return read_result(recipe) or {}
        trainer = make_trainer(recipe, resume=(recipe.place / CHECKPOINT).exists())
        if not _run(recipe, trainer, watch, say):
            raise ConfigError(
                f"loop.minutes: training stopped at step {trainer.step} of {trainer.config.steps}"
            )
        return _conclude(recipe, trainer, watch) if recipe.measuring() and is_first() else {}


def is_finished(recipe: Recipe) -> bool:
    """Whether the run has its result.

    Raises:
        ConfigError: the result, or the checkpoint, was made with other settings.
    """
    anew = f"remove {recipe.place} to train it anew, {ANOTHER}"
    checkpoint = recipe.place / CHECKPOINT
    if checkpoint.exists():
        _, meta = checkpoints.load(checkpoint, tensors=False)
        if (recorded := recipe.recorded(meta)) is not None:  # Older ones hold none.
            refuse_changes(recorded, recipe.training(), recipe.title, anew)
    result = read_result(recipe)
    if result is None:
        return False
    found = result.get("settings") or {}
    trained = recipe.recorded({"settings": found.get("training")})
    refuse_changes(trained, recipe.training(), recipe.title, anew)
    remedy = f"remove {recipe.place / RESULT} to measure it anew, {ANOTHER}"
    refuse_changes(found.get("measuring"), recipe.measuring(), recipe.title, remedy)
    return True


def make_trainer(recipe: Recipe, resume: bool = False, parts: Parts | None = None) -> Trainer:
    """The training loop of a recipe: before its first step, or where its checkpoint stopped.

    Args:
        recipe: what is trained.
        resume: whether there is a checkpoint to go on from.
        parts: of the recipe, if they are assembled already.
    """
    parts = recipe.assemble(fresh=not resume) if parts is None else parts
    settings = written(recipe.training())
    identity = {"recipe": recipe.kind, "settings": settings, "digest": digest(recipe)}
    trainer = parts.trainer(recipe.place, identity)
    if resume:
        trainer.resume()
    elif parts.start is not None:
        trainer.start_from(parts.start, parts.start_step)
    return trainer


def _finish_before(recipe: Recipe, watch: StageProgress, say: StepProgress) -> None:
    """Finish the run that this one starts from."""
    if (before := recipe.before()) is not None:
        complete(before, watch, say)


def _run(recipe: Recipe, trainer: Trainer, watch: StageProgress, say: StepProgress) -> bool:
    """Train to the last step; returns whether it was reached."""
    steps = trainer.config.steps
    say = recipe.observe(trainer, say)

    def progress(step: int, row: dict[str, float]) -> None:
        watch("train", step, steps)
        say(step, row)

    watch("train", trainer.step, steps)
    trainer.run(progress)
    return trainer.step >= steps


def _conclude(recipe: Recipe, trainer: Trainer, watch: StageProgress) -> dict[str, Any]:
    """Measure, and write the result."""
    found = recipe.evaluate(trainer, watch)
    settings = {
        "training": written(recipe.training()),
        "measuring": written(recipe.measuring()),
        "digest": digest(recipe),
    }
    return write_result(recipe.place, recipe.result_format, found, settings)


def read_result(recipe: Recipe) -> dict[str, Any] | None:
    """What the run found; None where it is not finished.

    Raises:
        InputError: the file is not a result of this kind of recipe.
    """
    return read_document(recipe.place, recipe.result_format)


def read_document(folder: Path, result_format: str) -> dict[str, Any] | None:
    """The `result.json` of a folder; None where there is none.

    Raises:
        InputError: the file has another format.
    """
    path = folder / RESULT
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable result ({error}); remove it") from error
    if not isinstance(result, dict) or result.get("format") != result_format:
        raise InputError(f"{path}: not of the format '{result_format}'; remove it")
    return result


def write_result(
    folder: Path, result_format: str, found: Findings, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Write pictures and files first, `result.json` last, each whole.

    Args:
        folder: it exists.
        result_format: first entry of the result.
        found: what was measured.
        settings: JSON-able; what the result was made with.

    Returns:
        What `result.json` holds.
    """
    result = {"format": result_format, **found.facts, "settings": dict(settings)}
    if found.arrays:
        result["grids"] = GRIDS
    text = json.dumps(result, indent=1, allow_nan=False)
    for name, data in found.files.items():
        write_atomically(folder / name, data)
    if found.arrays:
        packed = BytesIO()
        np.savez_compressed(packed, **dict(found.arrays))
        write_atomically(folder / GRIDS, packed.getvalue())
    write_atomically(folder / RESULT, (text + "\n").encode())
    return result


@contextlib.contextmanager
def locked(recipe: Recipe) -> Iterator[None]:
    """Hold the lock of a run's folder; it ends with the process, however that ends.

    The file beside it, `.owner`, holds the number of the process, for messages.

    Raises:
        ConfigError: another process holds it.
    """
    if not is_first():  # The process that started this one holds it.
        yield
        return
    folder = recipe.place
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder / "lock.owner"
    lock = FileLock(folder / "lock", timeout=PATIENCE_SECONDS, poll_interval=0.2)
    try:
        lock.acquire()
    except Timeout:
        number = owner.read_text().strip() if owner.exists() else "unknown"
        raise ConfigError(
            f"{recipe.title}: process {number} holds the lock of this run; wait for it or stop it"
        ) from None
    try:
        owner.write_text(f"{os.getpid()}\n")
        for pattern in (f"{TEMPORARY_PREFIX}*", ".*.part*"):  # Left by writers that were killed.
            for path in folder.glob(pattern):
                path.unlink(missing_ok=True)
        yield
    finally:
        lock.release()
