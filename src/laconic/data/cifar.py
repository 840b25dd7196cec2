"""The archive of CIFAR-10's bytes, as its authors publish it -> tensors."""

import tarfile
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from laconic.errors import InputError

FOLDER: Final = "cifar-10-batches-bin"
FILES: Final = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test": ("test_batch.bin",),
}
"""The members of the archive, by split."""

SIDE: Final = 32
RECORD_BYTES: Final = 1 + 3 * SIDE * SIDE
"""Of a picture: its class, then its red, green and blue rows."""


def load_cifar(path: Path, split: str) -> tuple[Tensor, Tensor]:
    """Colour images `(count, 3, 32, 32)` in [0, 1] and labels `(count,)`.

    Args:
        path: of `cifar-10-binary.tar.gz`; `laconic data fetch cifar10` downloads it.
        split: "train" or "test".

    Raises:
        InputError: the file is missing or damaged, or is another archive.
    """
    parts = []
    try:
        with tarfile.open(path) as archive:
            for name in FILES[split]:
                member = archive.extractfile(f"{FOLDER}/{name}")
                parts.append(b"" if member is None else member.read())
    except (OSError, EOFError, KeyError, tarfile.TarError) as error:
        raise InputError(f"{path}: cannot be read as CIFAR-10's archive ({error})") from error
    if any(not part or len(part) % RECORD_BYTES for part in parts):
        raise InputError(f"{path}: a file in it does not hold records of {RECORD_BYTES} bytes")
    records = np.frombuffer(b"".join(parts), np.uint8).reshape(-1, RECORD_BYTES)
    images = torch.from_numpy(records[:, 1:].reshape(-1, 3, SIDE, SIDE).copy())
    return images.float() / 255, torch.from_numpy(records[:, 0].astype(np.int64))
