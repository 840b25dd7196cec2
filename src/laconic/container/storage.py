"""Files, on disk or in a store: read whole, written whole or not at all."""

import contextlib
import errno
import os
import stat
import tempfile
import threading
import uuid
import weakref
from collections.abc import Iterable
from pathlib import Path

from laconic.errors import InputError
from laconic.paths import StoredPath

TEMPORARY_PREFIX = ".laconic-"
"""Begins the name of a file that is being written; short, so that every legal name can be used."""


def read_bytes(path: Path) -> bytes:
    """Everything in the file; raises `InputError` with the file's name when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


class StoredFile:
    """A file, on disk or in a store, whose bytes are read when needed: `file[start:stop]`.

    Args:
        path: of the file; it stays open as long as this object lives.

    Raises:
        InputError: it cannot be read, or is no regular file.
    """

    def __init__(self, path: Path) -> None:
        if is_special(path):
            raise InputError(f"cannot read parts of {path}: it is no regular file")
        try:
            self._size = path.stat().st_size
            self._file = path.open("rb")
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error
        self._path, self._lock = path, threading.Lock()
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, place: slice) -> bytes:
        start, stop, _ = place.indices(self._size)
        try:
            with self._lock:
                self._file.seek(start)
                return self._file.read(max(0, stop - start))
        except OSError as error:
            raise InputError(f"cannot read {self._path}: {error.strerror or error}") from error


def is_special(path: Path) -> bool:
    """Whether the path is a device, a pipe or a socket, or a link to one."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def write_atomically(
    path: Path,
    data: bytes | Iterable[bytes],
    survives_power_loss: bool = True,
    replace: bool = True,
    label: str = "",
) -> None:
    """Write to a temporary name in the same folder, then rename: all or nothing.

    Nothing is left behind when writing fails or is interrupted, or when `data`, given piece by
    piece, raises. A symbolic link is followed: the file that it names is written. A device or a
    pipe is written to, piece by piece, and stays what it is.

    Args:
        path: of the file.
        data: whole or piece by piece.
        survives_power_loss: wait for the disk; too slow for thousands of small files.
        replace: whether a file that exists is replaced.
        label: part of the temporary name, e.g. a digest of the content.

    Raises:
        InputError: the folder does not exist, is full or may not be written; the file exists and
            is not to be replaced.
    """
    pieces, prefix = [data] if isinstance(data, bytes) else data, f"{TEMPORARY_PREFIX}{label}"
    try:
        if isinstance(path, StoredPath):
            _write_stored(path, pieces, replace, prefix)
            return
        if is_special(path):
            with open(path, "wb", buffering=0) as device:
                for piece in pieces:
                    _write_all(device.fileno(), piece)
            return
        _write_file(Path(os.path.realpath(path)), pieces, survives_power_loss, replace, prefix)
    except FileExistsError as error:
        raise InputError(f"{path} exists and is not replaced") from error
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


def _write_stored(path: StoredPath, pieces: Iterable[bytes], replace: bool, prefix: str) -> None:
    """Write a file of a store; whether its name is free is seen before, and may change since."""
    temporary = path.with_name(f"{prefix}{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("wb") as file:
            for piece in pieces:
                file.write(piece)
        if not replace and path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _write_file(
    path: Path, pieces: Iterable[bytes], survives_power_loss: bool, replace: bool, prefix: str
) -> None:
    """Write a regular file at a path without links."""
    if path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=prefix, dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            for piece in pieces:
                file.write(piece)
            if survives_power_loss:
                file.flush()
                os.fsync(file.fileno())
        os.chmod(temporary, _mode(path))
        if not replace:
            _link(temporary, path)
        else:
            os.replace(temporary, path)
            temporary = ""
    finally:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _link(temporary: str, path: Path) -> None:
    """Give a file a second name, which must be free.

    A file system without such names gets the file renamed, after a look whether the name is free.

    Raises:
        FileExistsError: the name is taken.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        os.replace(temporary, path)


def _write_all(descriptor: int, piece: bytes) -> None:
    """Write every byte; a pipe may take fewer at a time."""
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _mode(path: Path) -> int:
    """Permissions for the new file: those of the one it replaces, or the process's default."""
    with contextlib.suppress(OSError):
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
