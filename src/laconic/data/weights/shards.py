"""The files of a path of weights: one safetensors file, an index of shards, or a folder.

An index is a JSON file beside its shards, as Hugging Face's tools write it:
`{"metadata": {...}, "weight_map": {"name of a tensor": "model-00001-of-00002.safetensors", ...}}`.
"""

import json
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from laconic.data.weights.safetensors_file import StoredTensor, read_header
from laconic.errors import InputError

ENDING: Final = ".safetensors"
MAX_INDEX_BYTES: Final = 1 << 28
NAMED: Final = 5
"""Most files or tensors that a message names."""

_NUMBERED: Final = re.compile(r"(.*-)(\d+)-of-(\d+)(\.safetensors)")


@dataclass(frozen=True)
class Shards:
    """The files of a network's weights.

    Attributes:
        files: in order of their names.
        places: the file's name by tensor, from the index; None without an index.
        left_out: other safetensors files of a folder with an index.
    """

    files: tuple[Path, ...]
    places: Mapping[str, str] | None = None
    left_out: tuple[Path, ...] = ()


def find_shards(path: Path) -> Shards:
    """The files that belong to a path.

    Args:
        path: a file; an index, which means its shards; or a folder, which means the shards of its
            index, or all its safetensors files if it has no index.

    Raises:
        InputError: the path cannot be read, the index is damaged, a shard is missing, or the
            folder has no safetensors files or several indexes.
    """
    if path.is_dir():
        try:
            return _of_folder(path)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if path.suffix == ".json":
        return _of_index(path)
    return Shards((path,))


def read_shards(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """The tensors of all files of a path, by name, and their notes.

    Raises:
        InputError: as `find_shards`; or a file is not a complete safetensors file, lacks a tensor
            that the index lists, or has a tensor that another file has, too.

    Warns:
        UserWarning: the folder has safetensors files that its index does not list; or the index
            does not list a tensor, which is kept anyway; or files have different notes of one
            name, of which the first is kept.
    """
    shards = find_shards(path)
    if shards.left_out:
        _warn(
            f"the index does not list {some(shards.left_out)}, which is left out: shrink such "
            "files one by one"
        )
    tensors: dict[str, StoredTensor] = {}
    notes: dict[str, str] = {}
    for file in shards.files:
        found, own = read_header(file)
        if twice := [name for name in found if name in tensors]:
            other = Path(str(tensors[twice[0]].path)).name
            raise InputError(
                f"{path}: {other} and {file.name} both have the tensors {some(twice)}: give one of "
                "the files, or take the other away"
            )
        if changed := [key for key in sorted(own) if notes.get(key, own[key]) != own[key]]:
            _warn(f"{file.name} has other notes than an earlier file, {some(changed)}: left out")
        tensors |= found
        notes = own | notes
    if shards.places is not None:
        _check_places(path, tensors, shards.places)
    return tensors, notes


def _check_places(path: Path, tensors: Collection[str], places: Mapping[str, str]) -> None:
    """Compare the tensors that were found with the index."""
    if missing := [f"{name} ({places[name]})" for name in places if name not in tensors]:
        raise InputError(
            f"{path}: the index lists {len(missing)} tensors that its shards lack, "
            f"{some(missing)}: download the shards again"
        )
    if unlisted := [name for name in tensors if name not in places]:
        _warn(f"the index does not list {some(unlisted)}: kept as well")


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=3)


def _of_folder(folder: Path) -> Shards:
    # Names that begin with a dot belong to the system, such as "._model.safetensors" of macOS.
    files = sorted(one for one in folder.glob(f"[!.]*{ENDING}") if one.is_file())
    indexes = sorted(folder.glob(f"[!.]*{ENDING}.index*.json"))
    if len(indexes) > 1:
        raise InputError(f"{folder} has several indexes, {some(indexes)}: give one of them")
    if indexes:
        shards = _of_index(indexes[0])
        return replace(shards, left_out=tuple(one for one in files if one not in shards.files))
    if not files:
        raise InputError(_describe_folder(folder))
    _refuse_gaps(folder, files)
    return Shards(tuple(files))


def _describe_folder(folder: Path) -> str:
    """The message for a folder without safetensors files."""
    below = sorted({one.parent for one in folder.glob(f"*/*{ENDING}")})
    if below:
        return f"{folder} has safetensors files only in its folders {some(below)}: give one of them"
    others = sorted(one for one in folder.iterdir() if one.is_file())
    found = f"it has {some(others)}" if others else "it has no files"
    return f"{folder} has no safetensors files, {found}: give the folder or file of the weights"


def _refuse_gaps(folder: Path, files: Sequence[Path]) -> None:
    """Refuse a folder if the numbers in the names show that a shard is missing."""
    names = {file.name for file in files}
    for found in filter(None, map(_NUMBERED.fullmatch, sorted(names))):
        start, number, total, end = found.groups()
        width = len(number)
        wanted = [
            f"{start}{k:0{width}}-of-{total}{end}" for k in range(1, min(int(total), 99_999) + 1)
        ]
        _refuse_missing(folder, [name for name in wanted if name not in names], len(wanted))


def _refuse_missing(folder: Path, missing: Sequence[str], total: int) -> None:
    if missing:
        raise InputError(
            f"{folder}: {len(missing)} of {total} shards are missing, {some(missing)}: download "
            "them, or give one file"
        )


def _of_index(path: Path) -> Shards:
    places = _read_index(path)
    names = sorted(set(places.values()))
    if strange := [name for name in names if Path(name).name != name]:
        raise InputError(f"{path} names files outside its folder, {some(strange)}: not an index")
    if foreign := [name for name in names if not name.endswith(ENDING)]:
        raise InputError(
            f"{path} is an index of {some(foreign)}, which are not safetensors files: let the "
            "program that wrote them write safetensors (in transformers, "
            "model.save_pretrained(folder, safe_serialization=True))"
        )
    missing = [name for name in names if not (path.parent / name).is_file()]
    _refuse_missing(path.parent, missing, len(names))
    return Shards(tuple(path.parent / name for name in names), places)


def _read_index(path: Path) -> dict[str, str]:
    """The index: the file's name by tensor."""
    try:
        if path.stat().st_size > MAX_INDEX_BYTES:
            raise InputError(f"{path} is too large for an index of shards")
        found = json.loads(path.read_bytes(), object_pairs_hook=_no_name_twice)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not an index of shards: {error}") from error
    places = found.get("weight_map") if isinstance(found, dict) else None
    if not (
        isinstance(places, dict) and places and all(isinstance(v, str) for v in places.values())
    ):
        raise InputError(f"{path} is not an index of shards: its weight_map does not name files")
    return places


def _no_name_twice(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise ValueError(f"it lists {some(n for n, k in counts.items() if k > 1)} twice")
    return found


def some(names: Iterable[str | Path]) -> str:
    """A few of the names, and the number of the others."""
    texts = [name.name if isinstance(name, Path) else name for name in names]
    more = len(texts) - NAMED
    return ", ".join(texts[:NAMED]) + (f" and {more} more" if more > 0 else "")
