"""From a YAML configuration to trained weights: the one place where data, model and loop meet."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Distribution

from laconic.data.patches import PatchSampler
from laconic.errors import ConfigError
from laconic.lab.datasets import DataConfig, make_batches, read_photos
from laconic.models import make_model
from laconic.models.base import Condition, Context, LatentVariableModel, Rung
from laconic.training.ahead import Batches
from laconic.training.classification import LabelledBatches
from laconic.training.config import build, plain, read_config
from laconic.training.loop import CHECKPOINT, LoopConfig, Trainer
from laconic.training.objectives.base import Objective
from laconic.training.objectives.beta_range import LadderLoss
from laconic.training.objectives.choice import choose
from laconic.training.schedules import LearningRate

FIRST_BATCH = 16
"""Examples at a time that a model sees before training."""

RECIPE = ("model", "data", "objective", "structure", "rate", "loop", "folder", "start_from")


def train_from_config(
    path: Path,
    overrides: Sequence[str] = (),
    resume: bool = False,
    progress: Callable[[int, dict[str, float]], None] | None = None,
    force: bool = False,
) -> None:
    """Train the model that a YAML file describes; checkpoints and logs go to its `folder`.

    Args:
        path: the configuration.
        overrides: `section.key=value` strings.
        resume: continue from the checkpoint in `folder`; else start a new run (from `start_from`'s
            weights where given).
        progress: called with the step and the latest row of the log.
        force: start a new run where `folder` holds a checkpoint, which is replaced.

    Raises:
        ConfigError: anything wrong with the configuration or its files; or `folder` holds a
            checkpoint, and neither `resume` nor `force` is given.
    """
    config = read_config(path, overrides)
    checkpoint = _folder(config) / CHECKPOINT
    if checkpoint.exists() and not (resume or force):
        raise ConfigError(
            f"{checkpoint} exists; --resume goes on with it, --force replaces it, and "
            "--set folder=FOLDER begins elsewhere"
        )
    trainer = make_trainer(config, resume)
    if force:
        trainer.log.rewind(trainer.step)
    trainer.run(progress)


def _folder(config: Mapping[str, Any]) -> Path:
    """Where checkpoints and logs of a run go."""
    return Path(config.get("folder", "runs/default"))


def make_trainer(
    config: dict[str, Any], resume: bool, notes: Mapping[str, Any] | None = None
) -> Trainer:
    """Assemble data, model, objective and loop; `notes` are kept in the checkpoint."""
    unknown = set(config) - set(RECIPE)
    if unknown:
        raise ConfigError(
            f"unknown section(s) {', '.join(sorted(unknown))}; known are {', '.join(RECIPE)}"
        )
    data = build(DataConfig, config.get("data"), "data")
    loop = build(LoopConfig, config.get("loop"), "loop")
    objective = make_objective(config)
    torch.manual_seed(loop.seed)
    model = make_model(config.get("model", {}))
    images = read_photos(data) if data.kind == "photos" else []
    batches = make_batches(data, images)
    if not resume and "start_from" not in config:
        model.prepare(_examples(data, images, batches))
    if objective.has_taste and not model.has_taste:
        raise ConfigError("objective: 'taste' needs a model with that coordinate (model.taste)")
    rate = build(LearningRate, config.get("rate"), "rate")
    identity = {"model": config.get("model", {}), "data": plain(data), **(notes or {})}
    loss = LadderLoss(one_pass(model, objective), objective, model.beta_range, loop)
    folder = _folder(config)
    trainer = Trainer(
        model,
        loss,
        batches,
        rate,
        loop,
        folder,
        identity,
        state=objective.state,
    )
    if resume:
        trainer.resume()
    elif "start_from" in config:
        from laconic.pretrained import load

        released = load(config["start_from"])
        trainer.start_from(_grown(model, released.model), released.steps)
    return trainer


def _examples(
    data: DataConfig, photos: Sequence[NDArray[np.uint8]], batches: Batches
) -> Iterator[Tensor]:
    """Training examples for `model.prepare`, a batch at a time, in an order without meaning."""
    if isinstance(batches, LabelledBatches):
        images, generator = batches.inputs, torch.Generator().manual_seed(data.seed)
        order = torch.randperm(len(images), generator=generator)
        for first in range(0, len(images), FIRST_BATCH):
            yield images[order[first : first + FIRST_BATCH]]
    else:
        sampler = PatchSampler(photos, data.patch, FIRST_BATCH, data.seed)
        yield from map(sampler.batch, range(data.covariance_batches))


def make_objective(config: dict[str, Any]) -> Objective:
    """The objective that the sections `objective` and `structure` describe.

    Raises:
        ConfigError: an unknown name or setting, or one that the loop contradicts.
    """
    objective = choose(config.get("objective", "elbo"), config.get("structure"))
    if not objective.takes_warmup and (config.get("loop") or {}).get("kl_warmup_steps"):
        raise ConfigError("loop.kl_warmup_steps: the target-rate objective takes none, write 0")
    return objective


def _grown(model: LatentVariableModel, released: LatentVariableModel) -> dict[str, Tensor]:
    """Released weights, and what the model has beside them as it starts.

    Raises:
        ConfigError: the released model is no part of this one.
    """
    state, given = model.state_dict(), released.state_dict()
    for name, value in given.items():
        if name not in state or state[name].shape != value.shape:
            raise ConfigError(f"start_from: {name} of the released model has no place in this one")
    return {**state, **given}


def one_pass(
    model: LatentVariableModel, objective: Objective
) -> Callable[..., tuple[list[Rung], Distribution]]:
    """The pass of a model that `LadderLoss` runs, with the draws that the objective requires."""

    def run(
        x: Tensor, log_beta: Tensor, taste: Tensor | None = None
    ) -> tuple[list[Rung], Distribution]:
        context = Context(x.shape[2:], Condition(log_beta, taste=taste))
        return model.pass_through(x, context, objective.pathwise)

    return run
