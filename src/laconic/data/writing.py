"""Pillow images -> image files, or an error with the reason why the format cannot hold the image.

Formats that can keep every sample do so, unless the user sets a quality. Every file is read back
after writing: a format that changes the size of a picture or drops its transparency is refused, and
one that changes samples is refused if they must be kept.
"""

import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from laconic.data.images import MetadataWarning
from laconic.data.plugins import find_by_ending, load_plugin
from laconic.deep_image import DeepImage
from laconic.deep_image.files import WRITERS, save_options
from laconic.depth import is_deep, to_eight_bits
from laconic.errors import InputError
from laconic.orientation import read_orientation, turn_upright

DEFAULT_QUALITY: Final = 95
"""Quality of a lossy picture in a format that cannot keep it exactly, such as JPEG."""
HOLD_EXIF: Final = frozenset({"JPEG", "MPO", "PNG", "TIFF", "WEBP", "AVIF", "HEIF", "JXL"})
"""Formats that store an orientation; for the others the pixels are turned upright."""
TRUSTED: Final = ("PNG", "TIFF")
"""Formats that keep all samples of all modes that we write: these files are not read back."""
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Settings:
    """The arguments of Pillow's `save` for a format.

    Attributes:
        exact: arguments that keep all samples; None if the format always changes them.
        lossy: arguments for a quality from 1 to 100; None if the format has no such scale.
    """

    exact: Options | None = None
    lossy: Callable[[int], Options] | None = None


def _jpeg(quality: int) -> Options:
    return {"quality": quality, "subsampling": "4:4:4" if quality >= 90 else "4:2:0"}


def _quality(quality: int) -> Options:
    return {"quality": quality}


SETTINGS: Final = {
    "JPEG": Settings(None, _jpeg),
    "MPO": Settings(None, _jpeg),
    "WEBP": Settings({"lossless": True, "quality": 100, "exact": True}, _quality),
    "AVIF": Settings({"quality": 100, "subsampling": "4:4:4"}, _quality),
    "JPEG2000": Settings({"irreversible": False}),
    "HEIF": Settings({"quality": -1, "chroma": 444, "matrix_coefficients": 0}, _quality),
    "JXL": Settings({"lossless": True}, _quality),
}
"""Settings by Pillow's name of a format; other formats have none and may change the samples."""
PLAIN: Final = Settings({})
LOSSY: Final = ", ".join(name for name, one in SETTINGS.items() if one.lossy and name != "MPO")


def find_format(ending: str) -> str | None:
    """Pillow's name of the format of files with this ending, such as ".png"; or None.

    Raises:
        MissingPackageError: the format needs a package that is not installed.
    """
    plugin = find_by_ending(ending)
    if plugin is not None:
        load_plugin(plugin)
    name = Image.registered_extensions().get(ending.lower())
    return name if name in Image.SAVE else None


def check_request(format_name: str, target: Path, quality: int | None, exact: bool) -> None:
    """Refuse, before anything is decoded, a request that the format cannot fulfil.

    Args:
        format_name: Pillow's name of the format.
        target: the file, for messages.
        quality: 1 to 100, or None.
        exact: whether samples must stay as they are unless a quality is given.

    Raises:
        InputError: the format has no quality scale, or always changes samples.
    """
    settings = SETTINGS.get(format_name, PLAIN)
    if quality is not None and settings.lossy is None:
        raise InputError(f"{target}: {format_name} has no quality scale; --quality is for {LOSSY}")
    if exact and quality is None and settings.exact is None:
        raise _refuse(format_name, target)


def image_bytes(
    image: Image.Image | DeepImage,
    format_name: str,
    target: Path,
    quality: int | None = None,
    exact: bool = False,
) -> bytes:
    """The bytes of an image file, with colour profile, EXIF and XMP data, and dots per inch.

    Args:
        image: an image of one frame.
        format_name: Pillow's name of the format.
        target: the file, for messages.
        quality: 1 to 100, for formats that have a quality scale; None: exact, if the format can
            keep all samples.
        exact: whether all samples must be kept unless a quality is given; if False, a format that
            cannot keep them uses the quality 95.

    Raises:
        InputError: the format cannot hold the picture, or would change what must be kept.
    """
    check_request(format_name, target, quality, exact)
    if isinstance(image, DeepImage):
        if quality is None and format_name in WRITERS:
            return _deep_bytes(image, format_name, target)
        if quality is None and exact:
            raise _refuse(format_name, target)
        image = image.to_eight_bits()
    if format_name not in HOLD_EXIF:
        image = turn_upright(image)
    settings = SETTINGS.get(format_name, PLAIN)
    if quality is None and settings.exact is not None:
        data = _save(image, format_name, target, settings.exact)
        if format_name in TRUSTED:
            return data
        shown = _open(data)
        if _is_same(image, shown):
            _warn_of_losses(image, shown, format_name)
            return data
        if exact:
            raise _refuse(format_name, target)
    if settings.lossy is not None:
        options = settings.lossy(DEFAULT_QUALITY if quality is None else quality)
        data = _save(to_eight_bits(image), format_name, target, options)
        shown = _open(data)
    _check_shape(image, shown, format_name, target)
    _warn_of_losses(image, shown, format_name)
    return data


def _deep_bytes(image: DeepImage, format_name: str, target: Path) -> bytes:
    """A file of 16 bits a sample."""
    try:
        data = image.to_bytes(format_name)
    except InputError as error:
        raise InputError(f"{target}: {error}") from error
    if format_name not in TRUSTED:
        _warn_of_losses(image.carrier(), _open(data), format_name)
    return data


def _refuse(format_name: str, target: Path) -> InputError:
    lossy = SETTINGS.get(format_name, PLAIN).lossy is not None
    advice = "give --quality 1 to 100 to accept losses, or name" if lossy else "name"
    return InputError(
        f"{target}: {format_name} would change samples of this lossless picture; {advice} a .png "
        "or .tiff file"
    )


def _save(image: Image.Image, format_name: str, target: Path, options: Options) -> bytes:
    buffer = io.BytesIO()
    try:
        image.save(buffer, format=format_name, **save_options(image, format_name), **options)
    except Exception as error:  # A format's writer raises all kinds of exceptions.
        raise InputError(
            f"{target}: {format_name} cannot hold this picture ({error}); name a .png or .tiff file"
        ) from error
    return buffer.getvalue()


def _open(data: bytes) -> Image.Image | None:
    """The image that Pillow reads from a file it wrote; None if it cannot read the format."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Image.open(io.BytesIO(data))
    except (OSError, SyntaxError, ValueError):
        return None


def _is_same(image: Image.Image, shown: Image.Image | None) -> bool:
    """Whether all samples and the transparency were kept."""
    if shown is None:
        return False
    try:
        one, other = turn_upright(image), turn_upright(shown)
        if one.size != other.size or is_deep(one) != is_deep(other):
            return False
        if not is_deep(one):
            one, other = one.convert("RGBA"), other.convert("RGBA")
        return np.array_equal(np.asarray(one), np.asarray(other))
    except (OSError, SyntaxError, ValueError):
        return False


def _check_shape(
    image: Image.Image, shown: Image.Image | None, format_name: str, target: Path
) -> None:
    """Raise `InputError` if a file has another size than the picture, or lost its transparency."""
    if shown is None:
        return
    turned = read_orientation(image) > 4 and read_orientation(shown) <= 4
    size = image.size[::-1] if turned else image.size
    if shown.size != size:
        raise InputError(
            f"{target}: {format_name} would make {shown.width} x {shown.height} pixels of "
            f"{size[0]} x {size[1]}; name a .png file"
        )
    if image.has_transparency_data and not shown.has_transparency_data:
        raise InputError(
            f"{target}: {format_name} would drop the transparency; name a .png or .webp file"
        )


def _warn_of_losses(image: Image.Image, shown: Image.Image | None, format_name: str) -> None:
    """Warn about parts of a picture's profile and metadata that the file does not hold."""
    if shown is None:
        return
    words = {"icc_profile": "colour profile", "exif": "EXIF", "xmp": "XMP", "dpi": "dots per inch"}
    kept = {*shown.info, *(["exif"] if read_orientation(shown) > 1 or len(shown.getexif()) else [])}
    lost = [word for name, word in words.items() if name in image.info and name not in kept]
    if "exif" in image.info and read_orientation(image) == 1 == len(image.getexif()):
        lost = [word for word in lost if word != "EXIF"]  # It held only the orientation "upright".
    if lost:
        warnings.warn(
            f"{format_name} files hold no {', '.join(lost)}: left out",
            MetadataWarning,
            stacklevel=3,
        )
