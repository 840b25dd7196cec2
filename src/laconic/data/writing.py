"""Pillow images -> image files that hold them, or an error that says why a format cannot.

Formats that can keep every sample do so, unless a quality is asked for. What was written is read
back: a format that changes the size of a picture or drops its transparency is refused, and one that
changes samples is refused where they must stay as they are.
"""

import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, PngImagePlugin

from laconic.data.images import MetadataWarning
from laconic.data.plugins import find_by_ending, load_plugin
from laconic.depth import is_deep, to_eight_bits
from laconic.errors import InputError
from laconic.orientation import PREFIX, read_orientation, turn_upright

DEFAULT_QUALITY: Final = 95
"""Of a lossy picture in a format that cannot keep it exactly, such as JPEG."""
JPEG_SEGMENT_BYTES: Final = 65_000
"""Longest EXIF and XMP data that JPEG files hold, roughly."""
XMP_TAG: Final = 700
HOLD_EXIF: Final = frozenset({"JPEG", "MPO", "PNG", "TIFF", "WEBP", "AVIF", "HEIF", "JXL"})
"""Formats that can say how a picture is turned; for the others it is turned upright."""
TRUSTED: Final = ("PNG", "TIFF")
"""Formats that keep all samples of all modes that we write: they are not read back."""
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Settings:
    """What Pillow's `save` is given for a format.

    Attributes:
        exact: so that samples stay as they are; None where the format always changes them.
        lossy: at a quality from 1 to 100; None where there is no such scale.
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
"""By Pillow's name of a format; all others have no settings, and may or may not keep a picture."""
PLAIN: Final = Settings({})
LOSSY: Final = ", ".join(name for name, one in SETTINGS.items() if one.lossy and name != "MPO")


def find_format(ending: str) -> str | None:
    """Pillow's name of the format of files whose names end so, such as ".png"; or None.

    Raises:
        MissingPackageError: the format needs a package that is not installed.
    """
    plugin = find_by_ending(ending)
    if plugin is not None:
        load_plugin(plugin)
    name = Image.registered_extensions().get(ending.lower())
    return name if name in Image.SAVE else None


def check_request(format_name: str, target: Path, quality: int | None, exact: bool) -> None:
    """Refuse, before anything is decoded, what a format never does.

    Args:
        format_name: Pillow's.
        target: the file, for messages.
        quality: 1 to 100, or None.
        exact: whether samples must stay as they are unless a quality is given.

    Raises:
        InputError: the format has no scale of quality, or always changes samples.
    """
    settings = SETTINGS.get(format_name, PLAIN)
    if quality is not None and settings.lossy is None:
        raise InputError(
            f"{target}: {format_name} has no scale of quality; --quality is for {LOSSY}"
        )
    if exact and quality is None and settings.exact is None:
        raise _refuse(format_name, target)


def image_bytes(
    image: Image.Image,
    format_name: str,
    target: Path,
    quality: int | None = None,
    exact: bool = False,
) -> bytes:
    """A picture as a file, with its colour profile, EXIF and XMP data, and dots per inch.

    Args:
        image: of one frame.
        format_name: Pillow's.
        target: the file, for messages.
        quality: 1 to 100, for formats that have a scale of quality; None: as it is, where the
            format can keep it so.
        exact: whether samples must stay as they are unless a quality is given; else a format that
            cannot keep them is given the quality 95.

    Raises:
        InputError: the format cannot hold the picture, or would change what must stay.
    """
    check_request(format_name, target, quality, exact)
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


def _refuse(format_name: str, target: Path) -> InputError:
    lossy = SETTINGS.get(format_name, PLAIN).lossy is not None
    advice = "give --quality 1 to 100 to accept losses, or name" if lossy else "name"
    return InputError(
        f"{target}: {format_name} cannot keep this lossless picture as it is; {advice} a .png "
        "or .tiff file"
    )


def _save(image: Image.Image, format_name: str, target: Path, options: Options) -> bytes:
    buffer = io.BytesIO()
    try:
        image.save(buffer, format=format_name, **_extras(image, format_name), **options)
    except Exception as error:  # Whatever a format's writer raises.
        raise InputError(
            f"{target}: {format_name} cannot hold this picture ({error}); name a .png or .tiff file"
        ) from error
    return buffer.getvalue()


def _extras(image: Image.Image, format_name: str) -> dict[str, Any]:
    """What `save` is given of a picture's profile and metadata, in the format's own way."""
    names = ("icc_profile", "exif", "xmp", "dpi")
    found: dict[str, Any] = {name: image.info[name] for name in names if name in image.info}
    xmp: bytes = found.get("xmp", b"")
    if format_name in ("JPEG", "MPO"):
        found = {
            name: value
            for name, value in found.items()
            if name not in ("exif", "xmp") or len(value) <= JPEG_SEGMENT_BYTES
        }
    elif format_name == "PNG" and xmp:
        notes = PngImagePlugin.PngInfo()
        notes.add_itxt("XML:com.adobe.xmp", xmp.decode(errors="replace"))
        found["pnginfo"] = notes
    elif format_name == "TIFF" and xmp:
        tags = Image.Exif()
        tags.load(found.get("exif", PREFIX))
        tags[XMP_TAG] = xmp
        found["exif"] = tags
    return found


def _open(data: bytes) -> Image.Image | None:
    """What Pillow reads of a file that it wrote; None where it cannot read the format."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Image.open(io.BytesIO(data))
    except (OSError, SyntaxError, ValueError):
        return None


def _is_same(image: Image.Image, shown: Image.Image | None) -> bool:
    """Whether every sample came back, and no transparency was lost."""
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
    """Raise `InputError` where a file has another size, or no transparency where there is some."""
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
    """Name what a file does not hold of a picture's profile and metadata."""
    if shown is None:
        return
    words = {"icc_profile": "colour profile", "exif": "EXIF", "xmp": "XMP", "dpi": "dots per inch"}
    kept = {*shown.info, *(["exif"] if read_orientation(shown) > 1 or len(shown.getexif()) else [])}
    lost = [word for name, word in words.items() if name in image.info and name not in kept]
    if "exif" in image.info and read_orientation(image) == 1 == len(image.getexif()):
        lost = [word for word in lost if word != "EXIF"]  # It said no more than "upright".
    if lost:
        warnings.warn(
            f"{format_name} files hold no {', '.join(lost)}: left out",
            MetadataWarning,
            stacklevel=3,
        )
