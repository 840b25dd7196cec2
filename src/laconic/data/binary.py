"""Binary images, eight pixels to a byte, in an .npz file -> tensors."""

import math
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from torch import Tensor

from laconic.errors import InputError


def read_binary(path: Path, split: str) -> Tensor:
    """Square images of static binarised MNIST and its kin.

    Args:
        path: an .npz file of arrays `(count, side² / 8)` of bytes, the first pixel in a byte's
            highest bit, rows one after the other.
        split: name of the array.

    Returns:
        `(count, 1, side, side)`, uint8, 0 or 1.

    Raises:
        InputError: the file is missing or damaged, or the array is none of packed square images.
    """
    try:
        arrays = np.load(BytesIO(path.read_bytes()), allow_pickle=False)
        names = list(arrays) if isinstance(arrays, NpzFile) else []
        packed = arrays[split] if split in names else None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as an .npz file ({error})") from error
    if packed is None:
        raise InputError(f"{path}: there is no array '{split}', but {', '.join(names) or 'none'}")
    side = math.isqrt(8 * packed.shape[1]) if packed.ndim == 2 else 0
    if packed.dtype != np.uint8 or not side or side**2 != 8 * packed.shape[1]:
        raise InputError(f"{path}: '{split}' does not hold square images, 8 pixels to a byte")
    bits = np.unpackbits(packed, axis=1)
    return torch.from_numpy(bits.reshape(-1, 1, side, side))
