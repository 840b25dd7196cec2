"""Small labelled pictures kept as JPEG bytes in one .npz file -> tensors."""

import io
from itertools import pairwise
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from laconic.data.images import read_image
from laconic.errors import InputError

FIELDS = ("jpeg", "offsets", "labels")
"""The bytes of all files, one after the other; the begin of each, and the end; one class each."""


def load_jpeg_pack(path: Path) -> tuple[Tensor, Tensor]:
    """Colour images `(count, 3, height, width)` in [0, 1] and labels `(count,)`.

    Args:
        path: an .npz file with `FIELDS`; all pictures have one size.

    Raises:
        InputError: the file is missing or damaged, or its parts do not fit together.
    """
    try:
        with np.load(path) as file:
            data, offsets, labels = (file[name] for name in FIELDS)
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as a pack of JPEG files ({error})") from error
    count = len(labels)
    bounds = offsets.astype(np.int64)
    whole = len(bounds) == count + 1 and not bounds[0] and bounds[-1] == len(data)
    if not count or not whole or bool((np.diff(bounds) <= 0).any()):
        raise InputError(f"{path}: {count} labels and {len(bounds)} offsets do not fit its bytes")
    ends = pairwise(bounds)
    pictures = [_decode(data[first:end].tobytes(), path, i) for i, (first, end) in enumerate(ends)]
    if len({picture.shape for picture in pictures}) > 1:
        raise InputError(f"{path}: pictures of different sizes")
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    return pixels.float() / 255, torch.from_numpy(labels.astype(np.int64))


def _decode(data: bytes, path: Path, index: int) -> np.ndarray:
    try:
        return np.asarray(read_image(io.BytesIO(data)).convert("RGB"))
    except InputError as error:
        raise InputError(f"{path}: picture {index} is damaged ({error})") from error
