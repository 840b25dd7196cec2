"""What there is to do: the units of a corpus, and which of them are missing."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from laconic import __version__
from laconic.container.storage import TEMPORARY_PREFIX
from laconic.corpus.manifest import Manifest
from laconic.data.exact_images import SUFFIXES
from laconic.errors import InputError
from laconic.paths import StoredPath, exists, find_below, remove_below

MANIFESTS: Final = {"compress": "manifest", "decompress": "manifest", "evaluate": "evaluation"}
"""The folder of the manifest in the destination, by what is done."""
FILE_SUFFIX: Final = ".lac"
PICTURE_SUFFIX: Final = ".png"
LOCK: Final = ".lock"


@dataclass(frozen=True)
class Unit:
    """One picture.

    Attributes:
        name: its path in the source.
        output: the path of the result in the destination.
        input_bytes: of the file in the source.
    """

    name: str
    output: str
    input_bytes: int


@dataclass(frozen=True)
class Plan:
    """What is done, and what is left of it.

    Attributes:
        action: "compress", "decompress" or "evaluate".
        source: folder that is read.
        destination: folder that is written, or whose files are measured.
        units: all of them.
        missing: those that are not done yet.
        manifest: of the destination.
    """

    action: str
    source: Path
    destination: Path
    units: tuple[Unit, ...]
    missing: tuple[Unit, ...]
    manifest: Manifest


@contextmanager
def opened(
    action: str,
    source: Path,
    destination: Path,
    options: Mapping[str, Any],
    force: bool = False,
) -> Iterator[Plan]:
    """List the source and the destination, open the manifest, and keep other runs away.

    A unit is done where the manifest has it without an error, its source has the same size, and its
    result is there in full length. What an earlier run left half written is removed.

    Args:
        action: "compress", "decompress" or "evaluate".
        source: folder of pictures, or of .lac files.
        destination: folder of the results; of "evaluate", of the files that are measured.
        options: that change results; a folder has one set of them.
        force: do everything again.

    Raises:
        InputError: the source holds nothing, two results would have one name, the destination has
            other options, or another run of this machine is at work on it.
    """
    units = list_units(action, source)
    manifest = Manifest(destination / MANIFESTS[action])
    with _alone(manifest.folder):
        manifest.open({"action": action, "laconic": __version__, **options}, force)
        remove_below(destination, TEMPORARY_PREFIX)
        there = find_below(destination)
        missing = tuple(one for one in units if force or not _is_done(one, manifest, there))
        yield Plan(action, source, destination, units, missing, manifest)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a lock, which ends with the process; folders in stores have none.

    Raises:
        InputError: another process has it.
    """
    if isinstance(folder, StoredPath):
        yield
        return
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK, timeout=0):
            yield
    except Timeout as error:
        raise InputError(f"{folder}: another run is at work here; wait for its end") from error


def list_units(action: str, source: Path) -> tuple[Unit, ...]:
    """The pictures, or .lac files, below a folder, sorted by name; hidden ones are left out.

    Raises:
        InputError: there is none, or no such folder, or two results would have one name.
    """
    wanted = {FILE_SUFFIX} if action == "decompress" else SUFFIXES
    rename = picture_name if action == "decompress" else file_name
    units = tuple(
        Unit(name, rename(name), size)
        for name, size in find_below(source).items()
        if Path(name).suffix.lower() in wanted
    )
    if not units and not exists(source):
        raise InputError(f"{source}: there is no such folder")
    if not units:
        raise InputError(f"{source}: nothing here or below ends in {', '.join(sorted(wanted))}")
    names: dict[str, str] = {}
    for unit in units:
        other = names.setdefault(unit.output, unit.name)
        if other != unit.name:
            raise InputError(f"{source}: {other} and {unit.name} would both be {unit.output}")
    return units


def file_name(name: str) -> str:
    """The name of a picture's file: no other picture's name changes it.

    >>> file_name("a/b.png")
    'a/b.png.lac'
    """
    return name + FILE_SUFFIX


def picture_name(name: str) -> str:
    """The name of a file's picture.

    >>> picture_name("a/b.png.lac"), picture_name("a/b.jpg.lac"), picture_name("c.lac")
    ('a/b.png', 'a/b.jpg.png', 'c.png')
    """
    plain = name[: -len(FILE_SUFFIX)]
    return plain if plain.lower().endswith(PICTURE_SUFFIX) else plain + PICTURE_SUFFIX


def _is_done(unit: Unit, manifest: Manifest, there: Mapping[str, int]) -> bool:
    """Whether the manifest has a unit, and the destination has its result."""
    record = manifest.records.get(unit.name)
    if record is None or record.get("error") is not None:
        return False
    same = record.get("input_bytes") == unit.input_bytes
    return same and there.get(unit.output) == record.get("bytes")
