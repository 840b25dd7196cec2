"""Image files -> Pillow images, fully read, with errors that name the file.

Every reader uses this module, which corrects what Pillow reads wrongly: transparent values of PNG
files with fewer or more than 8 bits, TIFF files of 12 bits, and TIFF files of 16 bits in which 0 is
white. It also reads the chunk cICP of PNG files, which describes the colours.
"""

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from laconic.data import png_chunks
from laconic.data.plugins import HEAD_BYTES, find_by_start, load_plugin
from laconic.depth import SIXTEEN_BITS, WHITE
from laconic.errors import InputError, LaconicError, MissingPackageError
from laconic.paths import StoredPath

Source: TypeAlias = Path | IO[bytes] | Image.Image
"""A path, an open file (read from its start), or an image that Pillow has opened."""

BITS_TAG, PHOTOMETRIC_TAG = 258, 262
WHITE_IS_ZERO = 0
STRUCTURE_TAGS: Final = frozenset(
    {*range(254, 260), *range(262, 267), 273, 274, *range(277, 285), *range(288, 294), 296, 297}
    | {301, *range(317, 348), *range(512, 522), *range(529, 533), 700, 34675, 37724, 50838, 50839}
)
"""TIFF tags of the pixel layout, and tags that Pillow returns apart from EXIF."""


class FramesWarning(UserWarning):
    """Some frames of a file are left out."""


class MetadataWarning(UserWarning):
    """Some metadata of a file are left out."""


def read_image(source: Source, frame: int | None = None) -> Image.Image:
    """Read one frame of an image.

    Args:
        source: path, open file, or Pillow image.
        frame: number of the frame, from 1; None: the first, with a warning that counts the frames
            left out. For a Pillow image, None means its current frame.

    Returns:
        An image of one frame, loaded.

    Raises:
        InputError: the file is missing, truncated, too large or not an image that Pillow can read,
            or it has no such frame.
    """
    with naming_errors(source), opened(source) as image:
        frames = getattr(image, "n_frames", 1)
        if frame is None and frames > 1 and image.tell() == 0:
            warnings.warn(
                f"the file has {frames} frames; the first is coded and {frames - 1} left out; "
                "another is chosen by --frame N or frame=N",
                FramesWarning,
                stacklevel=4,
            )
        go_to_frame(image, frame)
        return load_frame(image)


@contextlib.contextmanager
def opened(source: Source) -> Iterator[Image.Image]:
    """Open an image without reading its pixels; closes files afterwards, but not given images."""
    if isinstance(source, Image.Image):
        yield source
    else:
        with open_image(source) as image:
            yield image


def go_to_frame(image: Image.Image, frame: int | None) -> None:
    """Go to a frame by its number from 1; None keeps the current frame.

    Raises:
        InputError: there is no such frame.
    """
    frames = getattr(image, "n_frames", 1)
    if frame is None:
        return
    if not 1 <= frame <= frames:
        raise InputError(f"frame {frame} does not exist; the frames are numbered 1 to {frames}")
    if frames > 1:
        image.seek(frame - 1)


def load_frame(image: Image.Image) -> Image.Image:
    """Read the pixels of an image's current frame, and correct what Pillow reads wrongly.

    Returns:
        The image, or a new one with the same `info`; with one frame.
    """
    rawmodes = str([tile[3] for tile in getattr(image, "tile", ())])
    deep = ";16" in rawmodes and "BGR;16" not in rawmodes  # The latter: 16 bits for all colours.
    _note_png(image, rawmodes)
    image.load()
    result = image.copy() if getattr(image, "n_frames", 1) > 1 else image
    if isinstance(image, TiffImageFile):
        result = _correct_tiff(image, result)
    if deep and result.mode in ("RGB", "RGBA", "L", "LA"):
        result.info[SIXTEEN_BITS] = True
    return result


def open_image(source: Path | IO[bytes]) -> Image.Image:
    """Open an image file of any size without reading its pixels.

    HEIF and JPEG XL files can be read if their plugin is installed.

    Raises:
        InputError: the file needs a plugin that is not installed.
    """
    if isinstance(source, StoredPath):
        source = io.BytesIO(source.read_bytes())
    with contextlib.ExitStack() as stack:
        file = source if not isinstance(source, Path) else stack.enter_context(source.open("rb"))
        file.seek(0)
        start = file.read(HEAD_BYTES)
        image = _open_png(file) if start.startswith(png_chunks.SIGNATURE) else None
    if image is not None:
        return image
    given = str(source) if isinstance(source, Path) else source
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            return Image.open(given)
        except UnidentifiedImageError:
            plugin = find_by_start(start)
            if plugin is None:
                raise
            try:
                load_plugin(plugin)
            except MissingPackageError as error:
                raise InputError(f"{name_of(source)}: {error}") from error
            return Image.open(given)


def name_of(source: Source) -> str:
    """The name of a source in messages."""
    if isinstance(source, Image.Image):
        return "the image"
    return str(source) if isinstance(source, Path) else "the image given as bytes"


@contextlib.contextmanager
def naming_errors(source: Source) -> Iterator[None]:
    """Turn every exception raised while an image is read into an `InputError` that names the image.

    Decoders raise all kinds of exceptions on damaged files. Our own errors and warnings pass
    unchanged.
    """
    name = name_of(source)
    try:
        yield
    except (LaconicError, Warning):
        raise
    except UnidentifiedImageError:
        empty = "is empty, it has 0 bytes"
        known = empty if _is_empty(source) else "is not an image in a known format"
        raise InputError(f"{name} {known}") from None
    except Image.DecompressionBombError as error:
        raise InputError(f"{name} is too large: {error}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"cannot read {name}: {reason}") from error
    except MemoryError as error:
        raise InputError(f"{name} is too large for the memory of this machine") from error
    except Exception as error:
        raise InputError(f"{name} is a damaged image: {error or type(error).__name__}") from error


def _is_empty(source: Source) -> bool:
    if isinstance(source, Image.Image):
        return False
    if isinstance(source, Path):
        return source.is_file() and source.stat().st_size == 0
    return source.seek(0, os.SEEK_END) == 0


def _open_png(file: IO[bytes]) -> Image.Image | None:
    """The file without the chunks that make Pillow refuse it; None if there are none."""
    notes = png_chunks.read_notes(file)
    if not notes.too_large:
        return None
    if notes.lost:
        warnings.warn(
            f"{notes.lost} of the PNG file is larger than Pillow's limit and is left out",
            MetadataWarning,
            stacklevel=5,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = Image.open(png_chunks.leave_out(file, notes.too_large))
    if notes.profile is not None:
        image.info["icc_profile"] = notes.profile
    return image


def _note_png(image: Image.Image, rawmodes: str) -> None:
    """Add to `info` transparent values in the units of Pillow's samples, and the chunk cICP."""
    file: Any = getattr(image, "fp", None)
    if image.format != "PNG" or not getattr(image, "tile", ()) or file is None:
        return
    cicp = png_chunks.read_notes(file).cicp
    if cicp is not None:
        image.info[png_chunks.CICP] = cicp
    transparent = image.info.get("transparency")
    if isinstance(transparent, int) and image.mode == "L":
        factor = 85 if "L;2" in rawmodes else 17 if "L;4" in rawmodes else 1
        image.info["transparency"] = transparent * factor
    elif isinstance(transparent, tuple) and ";16" in rawmodes:
        image.info["transparency"] = tuple(value >> 8 for value in transparent)


def _correct_tiff(image: TiffImageFile, result: Image.Image) -> Image.Image:
    """The loaded frame with 0 as black, in 16 bits if it has 12, with its EXIF data."""
    bits = max(image.tag_v2.get(BITS_TAG) or (1,))
    inverted = image.tag_v2.get(PHOTOMETRIC_TAG) == WHITE_IS_ZERO
    if image.mode.startswith("I;16") and (bits == 12 or inverted):
        values = np.asarray(image).astype(np.uint32)
        if bits == 12:
            values = (values * WHITE + 2047) // 4095
        if inverted:
            values = WHITE - values
        result = Image.fromarray(values.astype(np.uint16))
        result.info |= image.info
    exif = read_tiff_exif(image)
    if exif:
        result.info["exif"] = exif
    return result


def read_tiff_exif(image: TiffImageFile) -> bytes:
    """The EXIF tags of a TIFF file, without orientation, which Pillow has already applied."""
    try:
        found, kept = image.getexif(), Image.Exif()
        for tag, value in found.items():
            if tag not in STRUCTURE_TAGS and tag not in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
                kept[tag] = value
        for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            if values := found.get_ifd(part):
                kept.get_ifd(part).update(values)
        return kept.tobytes() if len(kept) or kept._ifds else b""
    except Exception as error:  # Pillow raises all kinds of exceptions on damaged tags.
        warnings.warn(
            f"the EXIF data are damaged and are left out: {error}", MetadataWarning, stacklevel=6
        )
        return b""
