"""The contract of recipes: what is trained, on which data, and what is measured afterwards.

```
 YAML ─► Recipe.read ─► Recipe ─┬─ training(), measuring() ─► settings, digest: they identify a run
                                ├─ assemble() ─► Parts ─► the training loop ─► weights
                                └─ evaluate() ─► Findings ─► result.json
```

A recipe is a frozen dataclass. Its fields are the keys of the YAML file; a field whose type is a
dataclass is a section. `laconic.lab.runs` does the rest: folder, lock, checkpoint, resume, result.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, get_type_hints

from torch import Tensor, nn

from laconic.errors import ConfigError
from laconic.training.ahead import Batches
from laconic.training.config import build
from laconic.training.loop import LoopConfig, Trainer
from laconic.training.loss import Loss, LossState
from laconic.training.schedules import LearningRate

IGNORED = ("ahead", "checkpoint_minutes", "compile", "log_steps", "logger", "minutes")
"""Settings of the loop that do not change the weights after its last step."""

StageProgress = Callable[[str, int, int], None]
"""Called with the name of a stage, how much of it is done, and how much there is."""

StepProgress = Callable[[int, dict[str, float]], None]
"""Called with the step and the latest row of the log."""


@dataclass(frozen=True)
class Choice:
    """One of several methods, with its settings.

    Attributes:
        name: of the method.
        settings: a dataclass; None where the method has none.
    """

    name: str
    settings: Any = None


@dataclass(frozen=True)
class Parts:
    """What the training loop needs.

    Attributes:
        model: all that is trained.
        loss: what is minimised.
        batches: the data.
        rate: learning rate by step.
        loop: settings of the loop.
        identity: JSON-able; kept in the checkpoint beside the settings.
        factors: see `Trainer`.
        after_step: see `Trainer`.
        state: see `Trainer`.
        start: weights to start from, by name; None where the model has its own.
        start_step: number of the first step.
    """

    model: nn.Module
    loss: Loss
    batches: Batches
    rate: LearningRate
    loop: LoopConfig
    identity: Mapping[str, Any] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)
    after_step: Callable[[], None] | None = None
    state: LossState | None = None
    start: dict[str, Tensor] | None = None
    start_step: int = 0

    def trainer(self, folder: Path, identity: Mapping[str, Any]) -> Trainer:
        """The loop, before its first step; checkpoints and the log go to `folder`."""
        return Trainer(
            self.model,
            self.loss,
            self.batches,
            self.rate,
            self.loop,
            folder,
            {**self.identity, **identity},
            self.factors,
            self.after_step,
            self.state,
        )


@dataclass(frozen=True)
class Findings:
    """What was measured of trained weights.

    Attributes:
        facts: JSON-able; become `result.json`.
        arrays: pictures by name, uint8; become `grids.npz`.
        files: further files of the run, by name.
    """

    facts: Mapping[str, Any]
    arrays: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


class Recipe(ABC):
    """What is trained and measured; subclasses are frozen dataclasses."""

    kind: ClassVar[str]
    """Its name in YAML files: `recipe: KIND`."""

    result_format: ClassVar[str]
    """First entry of `result.json`."""

    adjustable: ClassVar[tuple[str, ...]] = ()
    """Sections that may change when training is resumed: how long it lasts, how fast it learns."""

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Self:
        """A recipe from the mapping of a YAML file.

        Raises:
            ConfigError: an unknown key, a missing one, or a value that cannot be.
        """
        known: dict[str, Field[Any]] = {entry.name: entry for entry in fields(cls)}  # type: ignore[arg-type]
        given = {str(key): value for key, value in config.items() if value is not None}
        for key in config:
            if key not in known:
                raise ConfigError(
                    f"{key}: unknown key; a recipe of kind '{cls.kind}' has {', '.join(known)}; "
                    "the key `recipe` names the kind"
                )
        for name, entry in known.items():
            if name not in given and _default(entry) is MISSING:
                raise ConfigError(f"{name}: missing; a recipe of kind '{cls.kind}' requires it")
        hints = get_type_hints(cls)
        values = {
            name: build(hints[name], value, name) if is_dataclass(hints[name]) else value
            for name, value in given.items()
        }
        return build(cls, values, "recipe")

    @property
    @abstractmethod
    def place(self) -> Path:
        """The run's folder."""

    @property
    def title(self) -> str:
        """The run's name in messages."""
        return str(self.place)

    @abstractmethod
    def training(self) -> dict[str, Any]:
        """Everything that the trained weights depend on, by section: dataclasses and choices.

        Raises:
            ConfigError: a value that cannot be.
        """

    def measuring(self) -> dict[str, Any]:
        """Everything else that the result depends on; empty where nothing is measured."""
        return {}

    def unusual(self, *names: str) -> dict[str, Any]:
        """Fields that differ from their defaults; for settings that later versions added."""
        entries = {entry.name: entry for entry in fields(self)}  # type: ignore[arg-type]
        values = {name: getattr(self, name) for name in names}
        return {name: own for name, own in values.items() if own != _default(entries[name])}

    def before(self) -> "Recipe | None":
        """The recipe that must be finished first, since this one starts from its weights."""
        return None

    def check(self, checked: set[str]) -> None:
        """Raise a `LaconicError` for whatever can be known to fail before training.

        Args:
            checked: what recipes of the same sweep have checked; this one adds its own.
        """
        self.training()
        self.measuring()

    @abstractmethod
    def assemble(self, fresh: bool) -> Parts:
        """Model, data, loss and schedule.

        Args:
            fresh: whether training begins; otherwise a checkpoint replaces all weights.
        """

    def observe(self, trainer: Trainer, say: StepProgress) -> StepProgress:
        """What is called with each row of the log; a recipe may add to it, or write it down."""
        return say

    def evaluate(self, trainer: Trainer, watch: StageProgress) -> Findings:
        """Measure the weights after the last step; called where `measuring()` is not empty."""
        raise NotImplementedError

    def recorded(self, meta: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The settings of training that a checkpoint or a result holds.

        A recipe whose earlier versions wrote them otherwise translates here.

        Args:
            meta: what the file says beside tensors or measures.

        Returns:
            As `written(self.training())`; None where the file holds none.
        """
        found: Mapping[str, Any] | None = meta.get("settings")
        return found


def _default(entry: "Field[Any]") -> Any:
    """A field's default; MISSING where it has none."""
    if entry.default_factory is not MISSING:
        return entry.default_factory()
    return entry.default


def written(value: Any) -> Any:
    """Settings as JSON-able data, every default written out."""
    if isinstance(value, Choice):
        return {"name": value.name, **(written(value.settings) or {})}
    if is_dataclass(value):
        return {entry.name: written(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): written(item) for key, item in value.items()}
    return [written(item) for item in value] if isinstance(value, list | tuple) else value


def changed(value: Any, default: Any = None) -> Any:
    """The same without the settings that have their defaults.

    Args:
        value: settings.
        default: a dataclass of the same type to compare with, in place of the type's defaults.
    """
    if isinstance(value, Choice):
        return {"name": value.name, **(changed(value.settings) or {})}
    if isinstance(value, Mapping):
        return {str(key): changed(item) for key, item in value.items()}
    if not is_dataclass(value):
        return written(value)
    found = {}
    for entry in fields(value):
        own = getattr(value, entry.name)
        usual = _default(entry) if default is None else getattr(default, entry.name)
        if own != usual:
            nested = is_dataclass(own) and is_dataclass(usual)
            found[entry.name] = changed(own, usual) if nested else written(own)
    return found


def flat(
    settings: Mapping[str, Any], ignored: tuple[str, ...] = IGNORED, before: str = ""
) -> dict[str, Any]:
    """Settings by their dotted names, without those that are ignored."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            found |= flat(value, ignored, f"{name}.")
        elif key not in ignored:
            found[name] = value
    return found


def digest_of(settings: Mapping[str, Any], ignored: tuple[str, ...] = IGNORED) -> str:
    """Sixteen hexadecimal digits of JSON-able settings; the order of keys does not matter."""
    text = json.dumps(flat(settings, ignored), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest(recipe: Recipe) -> str:
    """Sixteen hexadecimal digits that identify the weights that a recipe trains.

    They cover every setting that changes the weights and differs from its default, so that a
    later version's new setting, at its default, leaves them as they are.
    """
    return digest_of({"recipe": recipe.kind, **changed(recipe.training())})


def refuse_changes(
    found: Mapping[str, Any] | None,
    wanted: Mapping[str, Any],
    name: str,
    remedy: str,
    adjustable: tuple[str, ...] = (),
) -> None:
    """Raise `ConfigError` at the first setting that is not what it was.

    A setting that the file does not know, since a later version added it, had its default.

    Args:
        found: settings in a file, JSON-able; None for none.
        wanted: sections of the recipe: dataclasses, choices, JSON-able data.
        name: of the run.
        remedy: what to do about it.
        adjustable: sections that may differ.
    """
    before, now, own = flat(found or {}), flat(written(wanted)), flat(changed(wanted))
    for key in sorted(before.keys() | now.keys()):
        known = key in before
        differs = before[key] != now.get(key) if known else key in own
        if differs and key.partition(".")[0] not in adjustable:
            raise ConfigError(
                f"{name} was made with other settings: {key} was {before.get(key)}, is now "
                f"{now.get(key)}; {remedy}"
            )
