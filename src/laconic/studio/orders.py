"""What a browser may request of a worker, read and checked before any work begins."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from laconic.errors import InputError
from laconic.studio.settings import ANCHOR_NAMES

MOST_LEVELS: Final = 64
MOST_BITS: Final = 64.0
EFFORTS: Final = (0, 9)


class Order(NamedTuple):
    """One request.

    Attributes:
        task: name of the worker's task.
        source: name of the stored file that it works on.
        fields: what else the task needs.
        slot: what it replaces: an older order of the same slot and tab ends.
    """

    task: str
    source: str
    fields: dict[str, Any]
    slot: str


def read_order(request: object) -> Order:
    """Check what a browser sent.

    Raises:
        InputError: it is no order.
    """
    if not isinstance(request, dict):
        raise InputError("give a JSON object with a task")
    task, source = request.get("task"), request.get("source")
    if not isinstance(task, str) or task not in FIELDS:
        raise InputError(f"task is {task!r}, choose one of {', '.join(FIELDS)}")
    if not isinstance(source, str):
        raise InputError("source is missing: give the name of a file that was uploaded")
    fields = FIELDS[task](request)
    slot = f"{task} {fields['name']}" if task == "compare" else task
    return Order(task, source, fields, slot)


def _encode(request: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {"lossless": request.get("lossless") is True}
    effort = request.get("effort")
    fields["effort"] = None if effort is None else _whole("effort", effort, *EFFORTS)
    if fields["lossless"]:
        return fields
    if request.get("bpp") is not None:
        fields["bpp"] = _number("bpp", request["bpp"], 0.001, MOST_BITS)
    else:
        fields["quality"] = _number("quality", request.get("quality"), 1, 100)
    tune = request.get("tune")
    if tune is not None and not isinstance(tune, str):
        raise InputError(f"tune is {tune!r}, give a name")
    return fields | {"tune": tune}


def _level(request: Mapping[str, Any]) -> dict[str, Any]:
    return {"level": _whole("level", request.get("level"), 1, MOST_LEVELS)}


def _bits(request: Mapping[str, Any]) -> dict[str, Any]:
    level = request.get("level")
    return {"level": None if level is None else _whole("level", level, 1, MOST_LEVELS)}


def _compare(request: Mapping[str, Any]) -> dict[str, Any]:
    name = request.get("name")
    if name not in ANCHOR_NAMES:
        raise InputError(f"name is {name!r}, choose one of {', '.join(ANCHOR_NAMES)}")
    return {"name": name, "bytes": _whole("bytes", request.get("bytes"), 1, 1 << 31)}


FIELDS: Final[Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    "encode": _encode,
    "level": _level,
    "bits": _bits,
    "compare": _compare,
}
"""What each task needs, read from a request."""


def _number(name: str, value: object, least: float, most: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not least <= value <= most:  # type: ignore[operator, arg-type]
        raise InputError(f"{name} is {value!r}, give a number from {least:g} to {most:g}")
    return float(value)  # type: ignore[arg-type]


def _whole(name: str, value: object, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InputError(f"{name} is {value!r}, give a whole number from {least} to {most}")
    return value
