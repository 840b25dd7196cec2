"""Paths on this machine, and addresses of object stores such as `s3://bucket/a.png`.

`StoredPath` is a `Path`: names, endings and parents work as usual, and what reads or writes goes
through fsspec. So every function that takes a `Path` takes an address, too. `to_path` decides which
of the two a text is. A store's package (s3fs, gcsfs, ...) is installed by who uses it.
"""

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PosixPath
from typing import Any, Final, Self, final

from laconic.errors import InputError, MissingPackageError

START: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
"""How an address begins; a protocol of one letter would be a drive."""
JOINED: Final = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):/+")
"""The same, as a `Path` writes it."""
LOCAL: Final = ("file", "local")
"""Protocols of this machine's files."""


def to_path(text: str | os.PathLike[str]) -> Path:
    """The path that a user wrote.

    Args:
        text: a path, or an address: `protocol://...`. A file whose name looks like an address is
            written with `./` before it.

    >>> to_path("memory://a/b.png").with_suffix(".lac").name
    'b.lac'
    >>> type(to_path("file:///a/b.png")) is type(to_path("a/b.png"))
    True
    """
    if isinstance(text, StoredPath):
        return text
    plain = os.fsdecode(text)
    found = START.match(plain)
    if found is None:
        return Path(plain)
    return Path(plain[found.end() :]) if found[1] in LOCAL else StoredPath(plain)


@final
class StoredPath(PosixPath):
    """An address of an object store, or of another file system that fsspec reaches."""

    def __str__(self) -> str:
        return JOINED.sub(r"\1://", super().__str__())

    def __fspath__(self) -> str:
        return str(self)

    def stat(self, **how: bool) -> os.stat_result:
        """Size and kind; the other fields are 0."""
        with _asking(self) as (store, place):
            found = store.info(place)
        kind = stat.S_IFDIR if found["type"] == "directory" else stat.S_IFREG
        return os.stat_result((kind, 0, 0, 0, 0, 0, int(found.get("size") or 0), 0, 0, 0))

    def exists(self, **how: bool) -> bool:
        """Whether there is such a file or folder."""
        with _asking(self) as (store, place):
            return bool(store.exists(place))

    def is_dir(self, **how: bool) -> bool:
        """Whether it is a folder: an object store has one where names begin with it."""
        with _asking(self) as (store, place):
            return bool(store.isdir(place))

    def is_file(self, **how: bool) -> bool:
        """Whether it is a file."""
        with _asking(self) as (store, place):
            return bool(store.isfile(place))

    def is_symlink(self) -> bool:
        """No: stores have no links that we follow."""
        return False

    def resolve(self, strict: bool = False) -> Self:
        """Itself: an address is absolute."""
        return self

    def absolute(self) -> Self:
        """Itself."""
        return self

    def open(self, mode: str = "r", *arguments: Any, **how: Any) -> Any:
        """An open file; see `Path.open`."""
        with _asking(self) as (store, place):
            return store.open(place, mode, *arguments, **how)

    def read_bytes(self) -> bytes:
        """The whole content."""
        with _asking(self) as (store, place):
            return bytes(store.cat_file(place))

    def iterdir(self) -> Any:
        """The files and folders in this folder."""
        with _asking(self) as (store, place):
            found = store.ls(place, detail=False)
        return iter([self / name.rstrip("/").rpartition("/")[2] for name in found])

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Make the folder, where the store has folders of their own."""
        with _asking(self) as (store, place):
            store.makedirs(place, exist_ok=exist_ok)

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the file."""
        with _asking(self) as (store, place):
            if not (missing_ok and not store.exists(place)):
                store.rm_file(place)

    def replace(self, target: Any) -> Any:
        """Give the file another name; a file of that name is replaced."""
        with _asking(self) as (store, place):
            store.mv(place, _place(to_path(target))[1])
        return target


def is_folder(path: Path) -> bool:
    """Whether a path is a folder; False where it cannot be found out on this machine."""
    return path.is_dir() if isinstance(path, StoredPath) else os.path.isdir(path)


def exists(path: Path) -> bool:
    """Whether something has this path; False where it cannot be found out on this machine."""
    return path.exists() if isinstance(path, StoredPath) else os.path.exists(path)


def follow_links(path: Path) -> Path:
    """The absolute path without links; an address stays as it is."""
    return path if isinstance(path, StoredPath) else Path(os.path.realpath(path))


def find_below(folder: Path) -> dict[str, int]:
    """The bytes of every file below a folder of any kind, by its path relative to the folder.

    Files and folders whose names begin with a dot are left out. A folder that does not exist holds
    nothing.
    """
    return {name: size for name, size in _find_all(folder).items() if not is_hidden(name)}


def remove_below(folder: Path, prefix: str) -> None:
    """Remove every file below a folder whose own name begins with a prefix."""
    for name in _find_all(folder):
        if name.rpartition("/")[2].startswith(prefix):
            (folder / name).unlink(missing_ok=True)


def _find_all(folder: Path) -> dict[str, int]:
    with _asking(folder) as (store, place):
        listed = store.find(place, detail=True)
    root = place.rstrip("/") + "/"
    names = {
        name.removeprefix(root): int(found.get("size") or 0)
        for name, found in listed.items()
        if name.startswith(root)
    }
    return {name: names[name] for name in sorted(names)}


def is_hidden(name: str) -> bool:
    """Whether a relative path has a part that begins with a dot."""
    return any(part.startswith(".") for part in name.split("/"))


@contextlib.contextmanager
def _asking(path: Path) -> Iterator[tuple[Any, str]]:
    """The file system of a path and the path's name in it; errors of a store become `OSError`."""
    found = _place(path)
    try:
        yield found
    except OSError as error:
        if error.errno is None:  # Stores leave the number out; messages are made from it.
            number = errno.ENOENT if isinstance(error, FileNotFoundError) else errno.EIO
            reason = os.strerror(errno.ENOENT) if number == errno.ENOENT else str(error)
            raise type(error)(number, reason, str(path)) from error
        raise
    except Exception as error:  # Each store's package has exceptions of its own.
        raise OSError(errno.EIO, f"{type(error).__name__}: {error}", str(path)) from error


def _place(path: Path) -> tuple[Any, str]:
    """The file system of a path, and the path's name in it.

    Raises:
        MissingPackageError: the store's package is not installed.
        InputError: there is no such protocol, or the store refuses the address.
    """
    import fsspec

    try:
        store, place = fsspec.core.url_to_fs(str(path))
    except ImportError as error:
        raise MissingPackageError(f"{path} needs", error.name or _package(path), "") from error
    except Exception as error:  # Each store's package has exceptions of its own.
        raise InputError(f"{path}: not an address that can be opened ({error})") from error
    return store, str(place)


def _package(path: Path) -> str:
    """The package that fsspec names for a protocol."""
    from fsspec.registry import known_implementations

    protocol = str(path).partition(":")[0]
    module: str = known_implementations.get(protocol, {}).get("class", "a package of fsspec")
    return module.partition(".")[0]
