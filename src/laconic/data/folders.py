"""Folders of pictures: the list of their files, and each file as 8-bit RGB pixels."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from laconic.data.images import Source, read_image
from laconic.deep_image import DeepImage
from laconic.depth import to_eight_bits
from laconic.errors import InputError
from laconic.orientation import turn_upright

SUFFIXES = frozenset({".png", ".ppm", ".bmp", ".tif", ".tiff", ".webp", ".jpg", ".jpeg"})
"""File names that count as pictures."""


def list_images(folder: Path) -> list[Path]:
    """The pictures directly inside a folder, sorted by name; hidden files are left out.

    Args:
        folder: an existing folder, or a single picture.

    Raises:
        InputError: the folder is missing or holds no picture.
    """
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give a folder that holds pictures")
    found = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    ]
    if not found:
        raise InputError(f"{folder}: no pictures here ({', '.join(sorted(SUFFIXES))})")
    return sorted(found)


def load_rgb(source: Source | DeepImage) -> NDArray[np.uint8]:
    """The upright pixels of one picture; every codec of an evaluation gets these.

    EXIF orientation is applied; grey, palette and CMYK pictures become RGB; samples of 16 bits are
    rounded to 8; alpha is dropped.

    Args:
        source: a file that Pillow reads, by path or open, a Pillow image, or a `DeepImage`.

    Returns:
        uint8 `(height, width, 3)`.

    Raises:
        InputError: the file is missing, not a picture, or damaged.
    """
    if isinstance(source, Path) and not source.exists():
        raise InputError(f"{source}: no such file")
    known = source.to_eight_bits() if isinstance(source, DeepImage) else source
    image = turn_upright(to_eight_bits(read_image(known)))
    return np.array(image.convert("RGB"))
