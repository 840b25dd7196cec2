"""idx files, such as those of MNIST -> tensors."""

import gzip
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from laconic.errors import InputError

UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> Tensor:
    """A gzipped idx file of bytes as a uint8 tensor.

    Raises:
        InputError: the file is missing or damaged, or its numbers are not bytes.
    """
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read as a gzipped idx file ({error})") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != UNSIGNED_BYTE:
        raise InputError(f"{path}: not an idx file of bytes")
    axes = data[3]
    start = 4 + 4 * axes
    if len(data) < start:
        raise InputError(f"{path}: the file is cut off")
    shape = struct.unpack(f">{axes}I", data[4:start])
    values = np.frombuffer(data, np.uint8, offset=start)
    if values.size != int(np.prod(shape, dtype=np.int64)):
        raise InputError(f"{path}: {values.size} numbers where its header says {shape}")
    return torch.from_numpy(values.reshape(shape).copy())


def load_digits(folder: Path, split: str) -> tuple[Tensor, Tensor]:
    """Images `(count, 1, rows, columns)` in [0, 1] and labels `(count,)` of `train` or `t10k`.

    Raises:
        InputError: a file is missing or damaged, or their counts differ.
    """
    images = read_idx(folder / f"{split}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{split}-labels-idx1-ubyte.gz")
    if len(images) != len(labels):
        raise InputError(f"{folder}: {len(images)} images, {len(labels)} labels")
    return images[:, None].float() / 255, labels.long()
