"""Pictures of 16 bits a sample as files, with colour profile, EXIF and XMP data, dots per inch."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from PIL import Image, PngImagePlugin

from laconic.deep_image.image import DeepImage, turn
from laconic.deep_image.png import write_png
from laconic.deep_image.ppm import write_ppm
from laconic.deep_image.tiff import write_tiff
from laconic.errors import InputError
from laconic.orientation import PREFIX, read_orientation

JPEG_SEGMENT_BYTES: Final = 65_000
"""Longest EXIF and XMP data that JPEG files hold, roughly."""
XMP_TAG: Final = 700


def save_options(image: Image.Image, format_name: str) -> dict[str, Any]:
    """The arguments of Pillow's `save` for a picture's profile and metadata in this format."""
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


def _png(image: DeepImage) -> bytes:
    return write_png(image, **save_options(image.carrier(), "PNG"))


def _tiff(image: DeepImage) -> bytes:
    options = save_options(image.carrier(), "TIFF")
    exif = options.pop("exif", None)
    if isinstance(exif, bytes):
        tags = Image.Exif()
        tags.load(exif)
        exif = tags
    return write_tiff(image, exif, **options)


def _ppm(image: DeepImage) -> bytes:
    if image.has_transparency_data:
        raise InputError("PPM would drop the transparency; name a .png file")
    upright = turn(image.samples, read_orientation(image.carrier()))
    return write_ppm(replace(image, samples=upright))


WRITERS: Final[dict[str, Callable[[DeepImage], bytes]]] = {"PNG": _png, "TIFF": _tiff, "PPM": _ppm}
"""What writes a picture, by Pillow's name of the format."""
ENDINGS: Final = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".ppm": "PPM", ".pnm": "PPM"}
"""Formats by the ending of a file's name."""
