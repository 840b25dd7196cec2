"""Unpacked weights, kept in a folder of this user: loading them takes no decoding.

The packed file stays what counts: the name of what is kept is the SHA-256 of the packed bytes, and
a checksum covers every number. What is missing, damaged or cannot be written is unpacked anew.
"""

import os
import tempfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

VARIABLE: Final = "LACONIC_CACHE"
"""The environment variable that names the folder; empty: nothing is kept."""
CHECK: Final = "crc32"

Weights = tuple[dict[str, "Tensor"], Mapping[str, str]]
"""Tensors in float32 by name, and notes."""


def cache_root() -> Path | None:
    """The folder; None where nothing is to be kept."""
    from platformdirs import user_cache_path

    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(named) if named else None
    return user_cache_path("laconic", appauthor=False)


def read_kept(digest: str) -> Weights | None:
    """The weights whose packed file has this SHA-256, in hex; None if they are not kept."""
    from safetensors import SafetensorError, safe_open

    root = cache_root()
    if root is None:
        return None
    try:
        with safe_open(root / f"{digest}.safetensors", "pt") as file:
            notes = dict(file.metadata() or {})
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    return (state, notes) if notes.pop(CHECK, "") == _check(state) else None


def keep(digest: str, weights: Weights) -> None:
    """Keep weights; a folder that is full or may not be written is left as it is."""
    from safetensors.torch import save_file

    root, (state, notes) = cache_root(), weights
    if root is None:
        return
    temporary = ""
    with suppress(OSError):
        root.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=root)
        os.close(descriptor)
        plain = {name: tensor.contiguous() for name, tensor in state.items()}
        save_file(plain, temporary, metadata={**notes, CHECK: _check(state)})
        os.replace(temporary, root / f"{digest}.safetensors")
        temporary = ""
    if temporary:
        with suppress(OSError):
            os.unlink(temporary)


def _check(state: Mapping[str, "Tensor"]) -> str:
    """A checksum of names, shapes and numbers."""
    value = 0
    for name in sorted(state):
        value = zlib.crc32(f"{name} {tuple(state[name].shape)}".encode(), value)
        value = zlib.crc32(state[name].contiguous().numpy().data, value)
    return f"{value:08x}"
