"""Pictures of 16 bits a sample as files, with colour profile, EXIF and XMP data, dots per inch."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from laconic.deep_image.png import write_png
from laconic.deep_image.ppm import write_ppm
from laconic.deep_image.tiff import write_tiff
from laconic.deep_image.turns import turn
from laconic.errors import InputError
from laconic.orientation import PREFIX, read_orientation

JPEG_SEGMENT_BYTES: Final = 65_000
"""Longest EXIF and XMP data that JPEG files hold, roughly."""
XMP_TAG: Final = 700
Samples = NDArray[np.uint16]


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


def _png(samples: Samples, carrier: Image.Image) -> bytes:
    return write_png(samples, carrier, **save_options(carrier, "PNG"))


def _tiff(samples: Samples, carrier: Image.Image) -> bytes:
    options = save_options(carrier, "TIFF")
    exif = options.pop("exif", None)
    if isinstance(exif, bytes):
        tags = Image.Exif()
        tags.load(exif)
        exif = tags
    return write_tiff(samples, exif, **options)


def _ppm(samples: Samples, carrier: Image.Image) -> bytes:
    if samples.shape[2] != 3:
        raise InputError("PPM would drop the transparency; name a .png file")
    return write_ppm(turn(samples, read_orientation(carrier)))


Writer = Callable[[Samples, Image.Image], bytes]
WRITERS: Final[dict[str, Writer]] = {"PNG": _png, "TIFF": _tiff, "PPM": _ppm}
"""What writes samples, by Pillow's name of the format.

The metadata are those of an image of one pixel with the same channels.
"""
ENDINGS: Final = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".ppm": "PPM", ".pnm": "PPM"}
"""Formats by the ending of a file's name."""
