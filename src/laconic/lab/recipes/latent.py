"""Recipes of latent-variable models: a ladder of latents, images, an objective.

```yaml
model: {name: sliced}
data: {folder: photos, patch: 128, batch: 8}
objective: elbo                    # or {name: rate-distortion, beta: 0.5}
rate: {peak: 5.0e-4}
loop: {steps: 150000}
folder: runs/embedded
start_from: default                # released weights to start from; absent for none
test: {split: test, images: 1000}  # what differs from `data` for the images to measure with
measure: {iwae_draws: 64}          # what is measured of them, if `test` is given
code: {bits_back: true}            # in which ways they become files, for their size
```
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Distribution

from laconic.data.patches import PatchSampler
from laconic.errors import ConfigError, InputError
from laconic.evaluation.plane.points import FORMAT
from laconic.lab.contract import (
    IGNORED,
    Choice,
    Findings,
    Parts,
    Recipe,
    StageProgress,
    digest_of,
    written,
)
from laconic.lab.datasets import SMALL_KINDS, DataConfig, make_batches, read_photos, shuffled
from laconic.models import MODELS, make_model
from laconic.models.base import Condition, Context, LatentVariableModel, Rung
from laconic.training import checkpoints
from laconic.training.ahead import Batches
from laconic.training.classification import LabelledBatches
from laconic.training.config import build
from laconic.training.loop import CHECKPOINT, LoopConfig, Trainer
from laconic.training.objectives.base import Objective
from laconic.training.objectives.beta_range import LadderLoss
from laconic.training.objectives.choice import SETTABLE, choose
from laconic.training.schedules import LearningRate

FIRST_BATCH = 16
"""Examples at a time that a model sees before training."""


@dataclass(frozen=True)
class CodeConfig:
    """In which ways images become real files, for their size.

    Attributes:
        bits_back: by bits-back coding.
        relative_entropy: by relative entropy coding.
        images: how many images.
    """

    bits_back: bool = False
    relative_entropy: bool = False
    images: int = 10_000


@final
@dataclass(frozen=True)
class LatentRecipe(Recipe):
    """A latent-variable model, its data and its objective; see the module.

    Attributes:
        model: name and sizes, see `laconic.models.MODELS`.
        data: images to train on.
        objective: a name, or a mapping with the name and its settings.
        structure: settings of the objective "structural".
        rate: learning rate.
        loop: length and precision of the training.
        folder: the run's folder.
        start_from: name or path of released weights to start from; empty for none.
        after: folder of a finished run whose averaged weights are the first ones; empty for none.
        starts_from: digest of that run's recipe; a sweep writes it.
        name: of the run, for people; by default the folder's.
        test: what differs from `data` for the images to measure with, and their number `images`
            (0 for all); empty to measure nothing.
        measure: `laconic.evaluation.models.measures.MeasureConfig`.
        code: real files to make.
    """

    kind: ClassVar[str] = "latent"
    result_format: ClassVar[str] = FORMAT
    adjustable: ClassVar[tuple[str, ...]] = ("loop", "rate")

    model: Mapping[str, Any] = field(default_factory=dict)
    data: DataConfig = field(default_factory=DataConfig)
    objective: str | Mapping[str, Any] = field(default_factory=lambda: "elbo")
    structure: Mapping[str, Any] = field(default_factory=dict)
    rate: LearningRate = field(default_factory=LearningRate)
    loop: LoopConfig = field(default_factory=LoopConfig)
    folder: str = "runs/default"
    start_from: str = ""
    after: str = ""
    starts_from: str = ""
    name: str = ""
    test: Mapping[str, Any] = field(default_factory=dict)
    measure: Mapping[str, Any] = field(default_factory=dict)
    code: CodeConfig = field(default_factory=CodeConfig)

    @property
    def place(self) -> Path:
        """The run's folder."""
        return Path(self.folder)

    def training(self) -> dict[str, Any]:
        """Model, data, objective, schedule, and the weights to start from."""
        self.make_objective()
        return {
            "model": self._model(),
            "data": self.data,
            "objective": self._objective(),
            "loop": self.loop,
            "rate": self.rate,
            "starts_from": self.starts_from,
            **self.unusual("start_from"),
        }

    def measuring(self) -> dict[str, Any]:
        """The images to measure with, and what is measured; empty without `test`."""
        if not self.test:
            return {}
        from laconic.evaluation.models.measures import MeasureConfig

        images, test = self._test()
        return {
            "images": images,
            "test": test,
            "measure": build(MeasureConfig, self.measure, "measure"),
            "code": self.code,
        }

    def _model(self) -> Choice:
        sizes = dict(self.model)
        name = sizes.pop("name", None)
        if name not in MODELS:
            raise ConfigError(f"model.name: '{name}' is not one of {', '.join(MODELS)}")
        return Choice(name, build(MODELS[name][0], sizes, "model"))

    def _objective(self) -> Choice:
        given = self.objective
        settings = dict(given) if isinstance(given, Mapping) else {"name": given}
        name = str(settings.pop("name", None))
        if name not in SETTABLE:
            return Choice(name)
        if name == "structural":
            settings = {**self.structure, **settings}
        return Choice(name, build(SETTABLE[name][0], settings, "objective"))

    def _test(self) -> tuple[int, DataConfig]:
        """How many images are measured (0 for all), and of which data."""
        changes = dict(self.test)
        images = changes.pop("images", 0)
        if type(images) is not int or images < 0:
            raise ConfigError(f"test.images: {images!r} is not a number of images")
        test = build(DataConfig, {**written(self.data), "hold_out": 0, **changes}, "test")
        for where, data in (("data", self.data), ("test", test)):
            if data.kind not in SMALL_KINDS:
                raise ConfigError(
                    f"{where}.kind: '{data.kind}' is not one of {', '.join(SMALL_KINDS)}, the "
                    "small images that can be measured"
                )
        return images, test

    def make_objective(self) -> Objective:
        """The objective that the sections `objective` and `structure` describe.

        Raises:
            ConfigError: an unknown name or setting, or one that the loop contradicts.
        """
        objective = choose(self.objective, self.structure)
        if not objective.takes_warmup and self.loop.kl_warmup_steps:
            raise ConfigError("loop.kl_warmup_steps: the target-rate objective takes none, write 0")
        return objective

    def check(self, checked: set[str]) -> None:
        """Read the images, and code two of them with an untrained model where files are wanted."""
        measuring = self.measuring()
        key = json.dumps(written([self._model(), self.data, measuring]), sort_keys=True)
        if not measuring or key in checked:
            return
        checked.add(key)
        from laconic.evaluation.models.laboratory import rehearse

        train, test = shuffled(self.data), shuffled(measuring["test"])
        side = written(self._model()).get("side", train.shape[-1])
        if train.shape[1:] != test.shape[1:]:
            raise InputError("test: its images are not of the size of those in data")
        if side != train.shape[-1]:
            raise InputError(f"model.side: it is {side}, but the images have {train.shape[-1]}")
        if len(train) < self.data.batch:
            raise InputError(f"data.batch: there are no more than {len(train)} images")
        with torch.random.fork_rng(devices=[]):
            model = make_model(self.model).eval()
        rehearse(model, test[:2], self._ways())

    def _ways(self) -> dict[str, int]:
        """How many images become files, by the way of coding them."""
        code = self.code
        wanted = {"bits_back": code.bits_back, "relative_entropy": code.relative_entropy}
        return {way: code.images for way, is_wanted in wanted.items() if is_wanted}

    def assemble(self, fresh: bool) -> Parts:
        """Model, data, objective and loop."""
        objective = self.make_objective()
        torch.manual_seed(self.loop.seed)
        model = make_model(self.model)
        images = read_photos(self.data) if self.data.kind == "photos" else []
        batches = make_batches(self.data, images)
        if fresh and not (self.start_from or self.after):
            model.prepare(_examples(self.data, images, batches))
        if objective.has_taste and not model.has_taste:
            raise ConfigError("objective: 'taste' needs a model with that coordinate (model.taste)")
        start, step = self._start(model) if fresh else (None, 0)
        return Parts(
            model,
            LadderLoss(one_pass(model, objective), objective, model.beta_range, self.loop),
            batches,
            self.rate,
            self.loop,
            identity={"model": dict(self.model), "data": written(self.data)},
            state=objective.state,
            start=start,
            start_step=step,
        )

    def _start(self, model: LatentVariableModel) -> tuple[dict[str, Tensor] | None, int]:
        """The first weights, if they are those of another run, and the number of the first step."""
        if self.start_from:
            from laconic.pretrained import load

            released = load(self.start_from)
            return _grown(model, released.model), released.steps
        if self.after:
            return checkpoints.load_average(Path(self.after) / CHECKPOINT)[0], 0
        return None, 0

    def evaluate(self, trainer: Trainer, watch: StageProgress) -> Findings:
        """A point of the rate-distortion plane: measures, sizes of files, pictures."""
        from laconic.evaluation.models.laboratory import take

        device, measuring = trainer.fabric.device, self.measuring()
        torch.manual_seed(trainer.config.seed)
        train = shuffled(self.data).to(device)
        test = shuffled(measuring["test"]).to(device)[: measuring["images"] or None]
        model = trainer.average.eval()
        found = take(model, train, test, measuring["measure"], self._ways(), watch)
        return Findings({**self._describe(trainer), **found.results}, found.grids)

    def _describe(self, trainer: Trainer) -> dict[str, Any]:
        """Everything about a run but what was measured."""
        model, given = written(self._model()), self.objective
        objective = dict(given) if isinstance(given, Mapping) else {"name": given}
        return {
            "name": self.name or self.place.name,
            "family": model.get("family", model["name"]),
            "preset": model.get("preset", ""),
            "objective": objective | {"name": "beta" if "beta" in objective else objective["name"]},
            "annealed": self.loop.kl_warmup_steps > 0,
            "data": Path(self.data.folder).name,
            "seed": self.loop.seed,
            "steps": trainer.step,
            "train_seconds": round(trainer.seconds, 1),
            "parameters": sum(p.numel() for p in trainer.model.parameters()),
            **trainer.state.report(),
        }

    def recorded(self, meta: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The settings of a checkpoint or a result.

        Runs of a chain once recorded a digest of all settings of the run before, defaults too.
        """
        found: Mapping[str, Any] | None = meta.get("settings")
        path = Path(self.after) / CHECKPOINT
        if found and self.after and path.exists():
            _, before = checkpoints.load(path, tensors=False)
            if found.get("starts_from") == _full_digest(before.get("settings") or {}):
                return {**found, "starts_from": self.starts_from}
        return found


def trained_model(folder: Path) -> tuple[LatentVariableModel, int]:
    """The model of a run with its averaged weights, in evaluation mode, and its iterations.

    Args:
        folder: of the run; training need not be finished.

    Raises:
        ConfigError: there is no checkpoint, or it is damaged or of another kind of recipe.
    """
    path = folder / CHECKPOINT
    state, meta = checkpoints.load_average(path)
    try:
        model = make_model(meta["model"])
        model.load_state_dict(state)
    except (KeyError, RuntimeError) as error:
        raise ConfigError(f"{path}: not the checkpoint of a latent-variable model") from error
    return model.eval(), int(meta["step"])


def _full_digest(settings: Mapping[str, Any]) -> str:
    """What identified a run before digests left defaults out."""
    return digest_of(settings, tuple(name for name in IGNORED if name != "ahead"))


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


def _grown(model: LatentVariableModel, released: LatentVariableModel) -> dict[str, Tensor]:
    """Released weights, and what the model has beside them as it starts.

    Raises:
        ConfigError: the released model is not a part of this one.
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
