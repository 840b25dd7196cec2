"""A point of the plane in its folder: how it is written, read and identified.

```
 result.json   whose point it is, its measures and its settings; written whole, last of all
 grids.npz     pictures, where there are any
```
"""

import json
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from laconic.container import write_atomically
from laconic.errors import ConfigError, InputError
from laconic.models.base import LatentVariableModel

FORMAT = "laconic rd point 1"
RESULT = "result.json"
GRIDS = "grids.npz"

IGNORED = ("checkpoint_minutes", "log_steps", "logger", "minutes", "compile")
"""Settings of the loop that change nothing about where it ends."""

StageProgress = Callable[[str, int, int], None]
"""Called with the stage, the number of its finished parts and of all its parts."""


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
        watch: StageProgress,
    ) -> Point:
        """The point of a model.

        Args:
            model: trained.
            train: images that it was trained on, `(count, 1, height, width)` in [0, 1].
            test: images that it was not.
            settings: `Run.measuring`.
            watch: called with the stage, its finished part and the whole.
        """
        ...


def read_point(folder: Path) -> dict[str, Any] | None:
    """The point that a folder holds; None where there is none.

    Raises:
        InputError: the file is none of ours.
    """
    path = folder / RESULT
    try:
        result = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no readable result ({error}); remove it") from error
    if not isinstance(result, dict) or result.get("format") != FORMAT:
        raise InputError(f"{path}: not a '{FORMAT}'; remove it")
    return result


def write_point(folder: Path, facts: Mapping[str, Any], point: Point) -> dict[str, Any]:
    """Leave a point in a folder: its pictures first, `result.json` last, each whole.

    Args:
        folder: it exists.
        facts: whose point it is: name, family, objective, data and whatever else is known.
        point: what was measured.

    Returns:
        What `result.json` holds.
    """
    result = {"format": FORMAT, **facts, "measures": dict(point.measures)}
    if point.files:
        result["files"] = dict(point.files)
    if point.grids:
        result["grids"] = GRIDS
        write_atomically(folder / GRIDS, _packed(point.grids))
    text = json.dumps(result, indent=1, allow_nan=False)
    write_atomically(folder / RESULT, (text + "\n").encode())
    return result


def refuse_changes(told: Any, wanted: Mapping[str, Any], name: str, remedy: str) -> None:
    """Raise `ConfigError` at the first setting that is not what it was.

    Args:
        told: the settings in a file; None for none.
        wanted: the requested settings.
        name: of the run.
        remedy: what to do about it.
    """
    before, now = comparable(told or {}), comparable(wanted)
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise ConfigError(
                f"{name} was made with other settings: {key} was {before.get(key)}, is now "
                f"{now.get(key)}; {remedy}"
            )


def comparable(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Settings by their dotted names, without those that change no result."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            found |= comparable(value, f"{name}.")
        elif key not in IGNORED:
            found[name] = value
    return found


def _packed(grids: Mapping[str, Any]) -> bytes:
    buffer = BytesIO()
    np.savez_compressed(buffer, **dict(grids))
    return buffer.getvalue()
