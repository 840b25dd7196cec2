"""The orientation of a picture in its EXIF data: reads it, applies it to the pixels, resets it.

EXIF data have the structure of a TIFF file: offsets point between all parts, and camera makers add
private blocks whose offsets are not documented. So bytes are changed in place, and the data are
never rewritten.

Source: CIPA DC-008 (Exif 2.32), 4.6; TIFF 6.0, section 2.
"""

import re
import struct
from typing import Final

from PIL import Image

ORIENTATION_TAG: Final = 0x0112
THUMBNAIL_TAGS: Final = (0x0201, 0x0202)
"""Offset and length of the small picture in EXIF data."""
UPRIGHT: Final = 1
ORIENTATIONS: Final = range(UPRIGHT, 9)
"""EXIF's orientations, rotations and mirrors; 1 means upright."""
PREFIX: Final = b"Exif\x00\x00"
"""Prefix of EXIF data in JPEG files and in Pillow's `info`."""
ENTRY_BYTES: Final = 12
METHODS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The operation that turns a picture of each orientation upright."""


def read_orientation(image: Image.Image) -> int:
    """EXIF's number, 1 to 8; 1 if it is missing or invalid."""
    try:
        found = image.getexif().get(ORIENTATION_TAG, UPRIGHT)
    except Exception:  # Pillow raises all kinds of exceptions on damaged tags.
        return UPRIGHT
    return found if isinstance(found, int) and found in ORIENTATIONS else UPRIGHT


def turn_upright(image: Image.Image) -> Image.Image:
    """The picture with its orientation applied to the pixels, and 1 in its `info`."""
    method = METHODS.get(read_orientation(image))
    if method is None:
        return image
    turned = image.transpose(method)
    if isinstance(turned.info.get("exif"), bytes):
        turned.info["exif"] = PREFIX + set_upright(turned.info["exif"])
    for key in ("xmp", "XML:com.adobe.xmp"):
        if key in turned.info:
            turned.info[key] = _set_upright_xmp(turned.info[key])
    if method >= Image.Transpose.ROTATE_90 and method != Image.Transpose.ROTATE_180:
        dpi = turned.info.get("dpi")
        if isinstance(dpi, tuple):
            turned.info["dpi"] = dpi[::-1]
    return turned


def orientation_tags(orientation: int) -> bytes:
    """EXIF data that hold only an orientation."""
    tags = Image.Exif()
    tags[ORIENTATION_TAG] = orientation
    return tags.tobytes()


def set_upright(exif: bytes) -> bytes:
    """EXIF data, without prefix, with orientation 1 and without the thumbnail, which may be turned.

    All other bytes keep their places. Data that are not a TIFF file are returned unchanged.
    """
    data = bytearray(exif.removeprefix(PREFIX))
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None:
        return bytes(data)
    try:
        (first,) = struct.unpack_from(order + "I", data, 4)
        for place in _find_entries(data, order, first, (ORIENTATION_TAG,)):
            struct.pack_into(order + "H", data, place + 8, UPRIGHT)
        _cut_thumbnail(data, order, first)
    except struct.error:
        pass  # An offset points outside the data: nothing more to change.
    return bytes(data)


def _find_entries(data: bytearray, order: str, start: int, tags: tuple[int, ...]) -> list[int]:
    """The positions of a directory's entries with these tags, in the order of the tags."""
    (count,) = struct.unpack_from(order + "H", data, start)
    places = [start + 2 + ENTRY_BYTES * k for k in range(count)]
    found = {struct.unpack_from(order + "H", data, place)[0]: place for place in places}
    return [found[tag] for tag in tags if tag in found]


def _cut_thumbnail(data: bytearray, order: str, first: int) -> None:
    """Remove the second directory from the chain, and overwrite its picture with zeros."""
    (count,) = struct.unpack_from(order + "H", data, first)
    link = first + 2 + ENTRY_BYTES * count
    (second,) = struct.unpack_from(order + "I", data, link)
    if second == 0:
        return
    struct.pack_into(order + "I", data, link, 0)
    places = _find_entries(data, order, second, THUMBNAIL_TAGS)
    if len(places) == len(THUMBNAIL_TAGS):
        offset, length = (struct.unpack_from(order + "I", data, one + 8)[0] for one in places)
        if offset + length <= len(data):
            data[offset : offset + length] = bytes(length)


def _set_upright_xmp(xmp: str | bytes) -> str | bytes:
    """XMP data without an orientation."""
    pattern = r'tiff:Orientation="[0-9]"|<tiff:Orientation>[0-9]</tiff:Orientation>'
    return re.sub(pattern, "", xmp) if isinstance(xmp, str) else re.sub(pattern.encode(), b"", xmp)
