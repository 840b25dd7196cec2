"""Small pictures for systems of channels: Frey faces, CIFAR-10, and folders such as CelebA's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from laconic.data.folders import load_rgb
from laconic.data.jpeg_pack import load_jpeg_pack
from laconic.errors import ConfigError, InputError

FACES_FILE: Final = "freyfaces.npz"
SEGMENTS: Final = 20
"""Runs of consecutive frames that the faces are divided into."""
FACES_SPLITS: Final = {"valid": 4, "test": 9}
"""Which of every ten runs a split has; "train" has the others."""
PACKS: Final = {
    "train": "jpeg_train49k.npz",
    "valid": "jpeg_train49k.npz",
    "test": "jpeg_test8k.npz",
}
VALID_COUNT: Final = 4000
"""Pictures at the end of the training pack that are for validation."""


def load_faces(path: Path, split: str) -> Tensor:
    """The Frey faces of a split, `(count, 1, 28, 20)` in [0, 1].

    The frames are those of one film, and neighbours are nearly equal. So they are divided into 20
    runs of consecutive frames: of every ten, one is for validation and one for tests.

    Args:
        path: an .npz file with `images`, uint8 `(count, 28, 20)`.
        split: "train", "valid" or "test".

    Raises:
        InputError: the file is missing or damaged.
        ConfigError: an unknown split.
    """
    if split not in ("train", *FACES_SPLITS):
        raise ConfigError(f"split: '{split}' is not one of train, {', '.join(FACES_SPLITS)}")
    try:
        with np.load(path) as file:
            images = file["images"]
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as the Frey faces ({error})") from error
    if images.ndim != 3 or images.dtype != np.uint8 or len(images) < SEGMENTS:
        raise InputError(
            f"{path}: images are {images.dtype} of shape {images.shape}, not uint8 (count, h, w)"
        )
    run = np.arange(len(images)) * SEGMENTS // len(images) % 10
    held = np.isin(run, list(FACES_SPLITS.values()))
    chosen = ~held if split == "train" else run == FACES_SPLITS[split]
    return torch.from_numpy(images[chosen])[:, None].float() / 255


def load_pack_split(folder: Path, split: str) -> Tensor:
    """CIFAR-10 pictures of a split, `(count, 3, 32, 32)` in [0, 1], from packs of JPEG files.

    Raises:
        InputError: a pack is missing or damaged.
        ConfigError: an unknown split.
    """
    if split not in PACKS:
        raise ConfigError(f"split: '{split}' is not one of {', '.join(PACKS)}")
    pictures = load_jpeg_pack(folder / PACKS[split])[0]
    if split == "test":
        return pictures
    return pictures[-VALID_COUNT:] if split == "valid" else pictures[:-VALID_COUNT]


def load_thumbnails(paths: Sequence[Path], side: int) -> Tensor:
    """The middle squares of pictures, reduced to `side` x `side`, `(count, 3, side, side)`.

    Raises:
        InputError: a picture is missing or damaged, or smaller than `side`.
    """
    found = []
    for path in paths:
        pixels = load_rgb(path)
        height, width = pixels.shape[:2]
        square = min(height, width)
        if square < side:
            raise InputError(f"{path}: {width} x {height} pixels, {side} x {side} are needed")
        top, left = (height - square) // 2, (width - square) // 2
        middle = Image.fromarray(pixels[top : top + square, left : left + square])
        found.append(np.asarray(middle.resize((side, side), Image.Resampling.BOX)))
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float() / 255
