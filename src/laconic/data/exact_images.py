"""Image files -> Pillow images with exactly the samples of the file, or an error with the reason.

Pillow changes some samples while it reads: it rounds colour of 16 bits to 8, stretches unusual
ranges, divides premultiplied colour by alpha, and drops extra channels. Files of 16 bits are read
by `laconic.data.deep_files`; this module refuses the others.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from laconic.data import images
from laconic.data.deep_files import read_deep
from laconic.data.images import BITS_TAG, PHOTOMETRIC_TAG
from laconic.deep_image import DeepImage
from laconic.depth import WHITE
from laconic.errors import InputError
from laconic.paths import StoredPath, find_below, to_path

FORMATS = ("PNG", "PPM", "TIFF", "BMP", "GIF", "WEBP", "JPEG", "MPO")
"""Formats in which Pillow keeps the samples, or shows that it changes them."""
SUFFIXES = frozenset(
    {".png", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".tif", ".tiff"}
    | {".bmp", ".gif", ".webp", ".jpg", ".jpeg"}
)
"""File names that count as pictures."""
NAMED_FILES = 5
"""Most files that a warning names; it counts the others."""
Read = Image.Image | DeepImage | NDArray[Any]
Input = str | Path | BytesIO | Read
Source = tuple[str, Callable[[], Read]]
"""A picture's name, and a function that reads it."""
EXTRA_TAG, FORMAT_TAG = 338, 339
SAMPLES_TAG = 277
UNSIGNED, STRAIGHT_ALPHA, RGB = 1, 2, 2
FULL_RANGE = 255
"""Largest sample of files that Pillow reads as 8 bits without a change."""


def read_exact(source: images.Source, frame: int | None = None) -> Image.Image | DeepImage:
    """Read one frame of an image with its exact samples, or raise an error.

    Args:
        source: path, open file, or Pillow image.
        frame: number of the frame, from 1; None: the file has one frame.

    Raises:
        InputError: the file is missing, damaged or not an image, or Pillow would change its
            samples; or it has several frames and `frame` is None, or has no such frame.

    Returns:
        Colour of 16 bits a sample, and grey of 16 bits with alpha, as a `DeepImage`.
    """
    with images.naming_errors(source), images.opened(source) as image:
        images.go_to_frame(image, frame)
        fault = _find_frames(image, frame)
        in_memory = _is_in_memory(source)
        if not fault and not in_memory:
            fault = _find_fault(image)
        if fault:
            raise InputError(f"{images.name_of(source)} {fault}")
        if not in_memory and _is_deep(image):
            return read_deep(image)
        return images.load_frame(image)


class LeftOutWarning(UserWarning):
    """Some files of a folder are not pictures."""


def list_sources(inputs: str | Path | Mapping[str, Input] | Iterable[Input]) -> list[Source]:
    """Names of pictures that are to be archived, and a function that reads each.

    Args:
        inputs: a folder, whose pictures are named by their paths in it; pictures by name; or
            pictures: files keep their names, all others are numbered: 00000.png, 00001.png, ...

    Raises:
        InputError: the folder is not a folder, cannot be read, or holds no picture.
    """
    if isinstance(inputs, str | Path):
        folder = to_path(inputs)
        return [
            (path.relative_to(folder).as_posix(), partial(read_exact, path))
            for path in _find_pictures(folder)
        ]
    if isinstance(inputs, Mapping):
        return [(name, _reader(given)) for name, given in inputs.items()]
    pictures = list(inputs)
    digits = max(5, len(str(len(pictures) - 1)))
    return [
        (
            Path(given).name if isinstance(given, str | Path) else f"{k:0{digits}d}.png",
            _reader(given),
        )
        for k, given in enumerate(pictures)
    ]


def _reader(given: Input) -> Callable[[], Read]:
    if isinstance(given, str | Path):
        return partial(read_exact, to_path(given))
    if isinstance(given, BytesIO | Image.Image):
        return partial(read_exact, given)
    return lambda: given


def _find_pictures(folder: Path) -> list[Path]:
    """Pictures anywhere below a folder, sorted; a warning names the files that are not pictures.

    Hidden files and folders (names that begin with a dot) and links to folders are left out.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; name a folder of pictures")
    visible, others = list[Path](), list[Path]()
    if isinstance(folder, StoredPath):
        visible += [folder / name for name in find_below(folder)]
    else:
        visible, others = _walk(folder)
    pictures = [path for path in visible if path.suffix.lower() in SUFFIXES]
    others += [path for path in visible if path.suffix.lower() not in SUFFIXES]
    if others:
        named = [str(path.relative_to(folder)) for path in sorted(others)]
        more = f" and {len(named) - NAMED_FILES} more" if len(named) > NAMED_FILES else ""
        some = ", ".join(named[:NAMED_FILES]) + more
        message = f"left out, not pictures by their names: {some}"
        warnings.warn(message, LeftOutWarning, stacklevel=2)
    if not pictures:
        raise InputError(f"{folder}: no pictures here or below ({', '.join(sorted(SUFFIXES))})")
    return sorted(pictures)


def _walk(folder: Path) -> tuple[list[Path], list[Path]]:
    """The visible files below a folder, and what is passed by: hidden files, links to folders."""
    visible: list[Path] = []
    passed: list[Path] = []

    def stop(error: OSError) -> None:
        raise InputError(f"cannot read {error.filename}: {error.strerror}") from error

    for root, folders, files in os.walk(folder, onerror=stop):
        left = [name for name in folders if name.startswith(".") or Path(root, name).is_symlink()]
        passed += [Path(root, name) for name in left]
        folders[:] = [name for name in folders if name not in left]
        for path in (Path(root, name) for name in files):
            is_visible = not path.name.startswith(".") and path.is_file()
            (visible if is_visible else passed).append(path)
    return visible, passed


def _is_in_memory(source: images.Source) -> bool:
    """Whether the samples are already in memory, or a plugin reads them."""
    if not isinstance(source, Image.Image):
        return False
    return not _tiles(source) or source.format not in FORMATS


def _find_frames(image: Image.Image, frame: int | None) -> str:
    """The fault if the file has several frames and none is chosen, or ""."""
    frames = getattr(image, "n_frames", 1)
    if frames == 1 or frame is not None:
        return ""
    return (
        f"has {frames} frames; choose one by --frame N or frame=N, or save each as a file of its "
        "own"
    )


def _find_fault(image: Image.Image) -> str:
    """Why Pillow would change the samples of the file, or ""."""
    if image.format not in FORMATS:
        return f"is in format {image.format}; convert it to PNG, PPM or TIFF first"
    if isinstance(image, TiffImageFile):
        return _find_tiff_fault(image)
    if image.format == "PNG" and _is_deep(image) and getattr(image, "n_frames", 1) > 1:
        return "has 16 bits a sample and several frames; save the frame as a file of its own"
    if image.format == "PPM":
        return _find_range_fault(image)
    return ""


def _is_deep(image: Image.Image) -> bool:
    """Whether a file without a fault has more than 8 bits a sample, which Pillow would change."""
    if isinstance(image, TiffImageFile):
        return max(image.tag_v2.get(BITS_TAG) or (1,)) == 16 and image.mode in ("RGB", "RGBA")
    if image.format == "PPM":
        return (_largest(image) or 0) > FULL_RANGE
    # In a BMP file, ";16" counts the bits of all three colours together.
    return image.format == "PNG" and image.mode != "I;16" and ";16" in str(_tiles(image))


def _find_tiff_fault(image: TiffImageFile) -> str:
    tags = image.tag_v2
    bits = max(tags.get(BITS_TAG) or (1,))
    if set(tags.get(FORMAT_TAG) or (UNSIGNED,)) != {UNSIGNED}:
        return "has signed or floating-point samples; convert it to unsigned integers first"
    if bits > 16:
        return f"has {bits} bits a sample; convert it to 8 or 16 bits first"
    if bits == 16 and image.mode in ("RGB", "RGBA"):
        channels = tags.get(SAMPLES_TAG)
        whole = set(tags.get(BITS_TAG) or ()) == {16} and channels == len(image.mode)
        if not whole or tags.get(PHOTOMETRIC_TAG) != RGB:
            return _deep_colour()
    elif bits > 8 and not image.mode.startswith("I;16"):
        return _deep_colour()
    if bits not in (1, 2, 4, 8, 16):
        return f"has {bits} bits a sample; convert it to 8 or 16 bits first"
    if set(tags.get(EXTRA_TAG) or (STRAIGHT_ALPHA,)) != {STRAIGHT_ALPHA}:
        return (
            "has a channel that is neither colour nor straight alpha; remove it, or undo the "
            "multiplication of colour with alpha"
        )
    return ""


def _find_range_fault(image: Image.Image) -> str:
    """The fault of a PPM file, or "": ranges below 255 are not read exactly."""
    largest = _largest(image)
    if largest is None or largest >= FULL_RANGE:
        return ""
    return f"has samples from 0 to {largest}; convert it to a range of 255 or 65535 first"


def _largest(image: Image.Image) -> int | None:
    """White of a PPM file as Pillow's plan has it; None where it has none."""
    settings = [tile[3] for tile in _tiles(image) if str(tile[0]).startswith("ppm")]
    if settings and isinstance(settings[0], tuple):
        return int(settings[0][1])
    return WHITE if image.mode.startswith("I") else None


def _tiles(image: Image.Image) -> Sequence[Any]:
    """Pillow's plan for reading the pixels: decoder, box, offset, arguments."""
    return getattr(image, "tile", ())


def _deep_colour() -> str:
    return (
        "has 16 bits a sample in channels that are neither grey nor RGB nor RGBA; convert it to "
        "one of them, or save each channel as a file of its own"
    )
