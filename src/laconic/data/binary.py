"""Binary images in an .npz file -> tensors; the file holds packed bits, or greys to draw from."""

import math
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray
from torch import Tensor

from laconic.errors import InputError


def read_binary(path: Path, split: str) -> Tensor:
    """Square images of static binarised MNIST and similar files.

    Args:
        path: an .npz file of arrays `(count, side² / 8)` of bytes, the first pixel in a byte's
            highest bit, rows one after the other.
        split: name of the array.

    Returns:
        `(count, 1, side, side)`, uint8, 0 or 1.

    Raises:
        InputError: the file is missing or damaged, or the array does not hold packed square images.
    """
    packed = _read_array(path, split)
    side = math.isqrt(8 * packed.shape[1]) if packed.ndim == 2 else 0
    if packed.dtype != np.uint8 or not side or side**2 != 8 * packed.shape[1]:
        raise InputError(f"{path}: '{split}' does not hold square images, 8 pixels to a byte")
    bits = np.unpackbits(packed, axis=1)
    return torch.from_numpy(bits.reshape(-1, 1, side, side))


def draw_binary(path: Path, split: str) -> Tensor:
    """Black and white images drawn once from grey square images, such as Omniglot's.

    A pixel is 1 with probability grey / 255, as in static binarised MNIST. The draws are the bits
    of Philox4x64 with key 0, pixel after pixel, so every call returns the same images.
    Source: Burda et al. 2015, 5 (there every pass draws again; Alemi's static images are one draw).

    Args:
        path: an .npz file of arrays `(..., side, side)` of bytes, ink 255.
        split: name of the array.

    Returns:
        `(count, 1, side, side)`, uint8, 0 or 1, in the file's order.

    Raises:
        InputError: the file is missing or damaged, or the array does not hold square images.
    """
    grey = read_greys(path, split)
    words = np.random.Philox(key=0).random_raw(-(-grey.size // 4))
    drawn = words.astype("<u8").view("<u2")[: grey.size].astype(np.uint32)
    threshold = (drawn * 255 >> 16).reshape(grey.shape)  # Uniform on 0 ... 254.
    bits = (grey > threshold).astype(np.uint8)
    return torch.from_numpy(bits.reshape(-1, 1, *grey.shape[-2:]))


def read_greys(path: Path, split: str) -> NDArray[np.uint8]:
    """Grey square images of an .npz file, such as Omniglot's, `(..., side, side)`.

    Raises:
        InputError: the file is missing or damaged, or the array does not hold square images.
    """
    grey = _read_array(path, split)
    if grey.dtype != np.uint8 or grey.ndim < 3 or grey.shape[-1] != grey.shape[-2]:
        raise InputError(f"{path}: '{split}' does not hold square images of bytes")
    return grey


def _read_array(path: Path, name: str) -> NDArray[Any]:
    try:
        arrays = np.load(BytesIO(path.read_bytes()), allow_pickle=False)
        names = list(arrays) if isinstance(arrays, NpzFile) else []
        found = arrays[name] if name in names else None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as an .npz file ({error})") from error
    if found is None:
        held = ", ".join(names) or "none"
        raise InputError(f"{path}: there is no array '{name}'; the file holds {held}")
    return np.asarray(found)
