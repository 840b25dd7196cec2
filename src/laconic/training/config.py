"""Configurations: YAML to dataclasses; unknown keys and wrong types are errors."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from math import isinf, isnan
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from laconic.errors import ConfigError, MissingPackageError

T = TypeVar("T")


def read_config(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a YAML mapping and apply `section.key=value` overrides.

    Raises:
        ConfigError: the file is unreadable or not a mapping, or an override is malformed.
    """
    try:
        config = _parse(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a readable YAML configuration ({error})") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: the top of a configuration must be a mapping")
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override}: write KEY=VALUE, for instance loop.steps=1000")
        *sections, last = key.split(".")
        node = config
        for section in sections:
            node = node.setdefault(section, {})
            if not isinstance(node, dict):
                raise ConfigError(f"--set {override}: '{section}' is not a section")
        node[last] = _parse(value, f"--set {override}")
    return config


def _parse(text: str, where: str) -> Any:
    """The value of a YAML text; an error is one line that names the place in it."""
    try:
        import yaml
    except ImportError as error:
        raise MissingPackageError("reading a configuration needs", "PyYAML", "train") from error
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # A date may have month 13.
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        reason = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise ConfigError(
            f"{where}: not a readable YAML configuration ({place}{reason})"
        ) from error


def build(kind: type[T], values: Any, where: str) -> T:
    """Make a dataclass from a mapping; sequences become tuples.

    Raises:
        ConfigError: no mapping, an unknown key, a value of the wrong type, or a number that is
            not finite.
    """
    assert is_dataclass(kind)
    if not isinstance(values, Mapping | None):
        kind_of_values = type(values).__name__
        raise ConfigError(f"{where}: it is of type {kind_of_values}; give keys with values")
    values = dict(values or {})
    known = {field.name: field for field in fields(kind)}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"{where}.{name}: unknown key; known are {', '.join(known)}")
        default = getattr(kind, name, None)
        if default is None:  # Or a default factory: the type of the hint counts.
            default = _example(get_type_hints(kind)[name], value)
        values[name] = _checked(value, default, f"{where}.{name}")
    return kind(**values)


def _example(hint: Any, value: Any) -> Any:
    """A value of the type of a hint such as `float | None`; None if any type is allowed."""
    kinds = [get_origin(one) or one for one in (get_args(hint) if _is_union(hint) else (hint,))]
    if value is None and type(None) in kinds:
        return None
    examples = {float: 0.0, int: 0, bool: False, str: "", Mapping: {}, dict: {}}
    found = [examples.get(kind) for kind in kinds if kind is not type(None)]
    return found[0] if len(found) == 1 else None


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, UnionType)


def _checked(value: Any, default: Any, where: str) -> Any:
    if isinstance(value, list):
        value = tuple(value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(default, float) and isinstance(value, str):
        try:  # YAML reads 1e-4 as a string
            value = float(value)
        except ValueError as error:
            raise ConfigError(f"{where}: '{value}' is not a number") from error
    unbounded = isinstance(default, float) and isinf(default)
    if isinstance(value, float) and (isnan(value) or (isinf(value) and not unbounded)):
        raise ConfigError(f"{where} is {value}: give a finite number")
    if default is not None and type(value) is not type(default):
        raise ConfigError(f"{where}: expected {type(default).__name__}, got {value!r}")
    if isinstance(default, tuple) and default and not isinstance(default[0], str):
        value = tuple(_checked(v, 0.0, where) if isinstance(v, str) else v for v in value)
    return value


def plain(config: Any) -> dict[str, Any]:
    """A dataclass as data that JSON can hold."""
    return asdict(config)
