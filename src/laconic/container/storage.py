"""Files on disk: read whole, written whole or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from laconic.errors import InputError


def read_bytes(path: Path) -> bytes:
    """Everything in the file; raises `InputError` with the file's name when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def write_atomically(
    path: Path, data: bytes | Iterable[bytes], survives_power_loss: bool = True
) -> None:
    """Write to a temporary name in the same folder, then rename: all or nothing.

    Nothing is left behind when writing fails or is interrupted, or when `data`, given piece by
    piece, raises.

    Args:
        path: of the file.
        data: whole or piece by piece.
        survives_power_loss: wait for the disk; too slow for thousands of small files.

    Raises:
        InputError: the folder does not exist, is full or may not be written.
    """
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            for piece in [data] if isinstance(data, bytes) else data:
                file.write(piece)
            if survives_power_loss:
                file.flush()
                os.fsync(file.fileno())
        os.chmod(temporary, _mode(path))
        os.replace(temporary, path)
        temporary = ""
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _mode(path: Path) -> int:
    """Permissions for the new file: those of the one it replaces, or the process's default."""
    with contextlib.suppress(OSError):
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
