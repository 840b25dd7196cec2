"""TIFF files of 16 bits a sample: Pillow reads the tags, and the samples as pairs of bytes.

The strips or tiles of a file are wrapped in another TIFF file as grey of 8 bits, two bytes for each
sample: so every compression that Pillow's libtiff has is read without a change of the samples.

Source: TIFF 6.0, sections 2, 8, 14 and 18.
"""

import io
import zlib
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from laconic.deep_image.rows import DamagedRowsError

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
OFFSETS, SAMPLES, ROWS, COUNTS, PLANAR, PREDICTOR = 273, 277, 278, 279, 284, 317
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS, EXTRA = 322, 323, 324, 325, 338
X_RESOLUTION, Y_RESOLUTION, UNIT, PROFILE = 282, 283, 296, 34675
EXIF_PARTS: Final = (34665, 34853)
"""Directories inside of EXIF data: of the camera, and of the place."""
LONG, BLACK_IS_ZERO, RGB, INCH, DEFLATE, DIFFERENCES, STRAIGHT_ALPHA = 4, 1, 2, 2, 8, 2, 2
STRIP_BYTES: Final = 1 << 16
MOST_BYTES: Final = 1 << 26
"""That Pillow reads at once; it refuses much larger pictures."""


def read_tiff(image: TiffImageFile, file: bytes) -> NDArray[np.uint16]:
    """The samples of an opened file of 16 bits, `(height, width, channels)`, not turned.

    Args:
        image: opened by Pillow, not loaded.
        file: its bytes.

    Raises:
        DamagedRowsError: the strips are not those of such a picture.
    """
    tags = image.tag_v2
    planar, tiled = tags.get(PLANAR, 1) == 2, TILE_OFFSETS in tags
    parts = [
        file[start : start + size]
        for start, size in zip(_list(tags, tiled, 0), _list(tags, tiled, 1), strict=True)
    ]
    planes = int(tags.get(SAMPLES, 1)) if planar else 1
    if len(parts) % planes:
        raise DamagedRowsError("the channels have different numbers of strips")
    each, order = len(parts) // planes, "<u2" if file[:2] == b"II" else ">u2"
    plans = (parts[first : first + each] for first in range(0, len(parts), each))
    return np.concatenate([_read_plane(tags, one, tiled, order) for one in plans], 2)


def _read_plane(
    tags: ImageFileDirectory_v2, parts: list[bytes], tiled: bool, order: str
) -> NDArray[np.uint16]:
    """The channels that strips or tiles have together, some rows at a time."""
    width, height = int(tags[WIDTH]), int(tags[HEIGHT])
    together = 1 if tags.get(PLANAR, 1) == 2 else int(tags.get(SAMPLES, 1))
    rows = int(tags[TILE_HEIGHT] if tiled else min(tags.get(ROWS, height), height))
    across = -(-width // int(tags[TILE_WIDTH])) if tiled else 1
    step = max(1, MOST_BYTES // (2 * together * width * rows))
    found = np.empty((height, width, together), np.uint16)
    for first in range(0, -(-height // rows), step):
        some = parts[first * across : (first + step) * across]
        band = found[first * rows : (first + step) * rows]
        pairs = _read_pairs(_wrap(tags, some, width, len(band), together, tiled))
        values = pairs.view(order).astype(np.uint16).reshape(band.shape)
        if tags.get(PREDICTOR, 1) == DIFFERENCES:
            values = _add_up(values, int(tags[TILE_WIDTH]) if tiled else width)
        band[:] = values
    return found


def write_tiff(
    samples: NDArray[np.uint16], exif: Image.Exif | None = None, **options: Any
) -> bytes:
    """A TIFF file of 16 bits a sample, deflated with differences between columns.

    Args:
        samples: `(height, width, channels)`.
        exif: EXIF data, also with XMP data in the tag 700.
        options: the colour profile as `icc_profile`, dots per inch as `dpi`.
    """
    height, width, channels = samples.shape
    tags = ImageFileDirectory_v2(prefix=b"II")
    if exif is not None:
        for tag, value in exif.items():
            tags[tag] = exif.get_ifd(tag) if tag in EXIF_PARTS else value
    if "icc_profile" in options:
        tags.tagtype[PROFILE] = 7  # Bytes without a meaning.
        tags[PROFILE] = options["icc_profile"]
    if "dpi" in options:
        tags[UNIT] = INCH
        tags[X_RESOLUTION], tags[Y_RESOLUTION] = options["dpi"]
    strips, rows = _deflate(samples)
    tags[WIDTH], tags[HEIGHT], tags[BITS] = width, height, (16,) * channels
    tags[COMPRESSION], tags[PREDICTOR], tags[PLANAR] = DEFLATE, DIFFERENCES, 1
    tags[PHOTOMETRIC] = RGB if channels > 2 else BLACK_IS_ZERO
    tags[SAMPLES], tags[ROWS] = channels, rows
    if channels % 2 == 0:
        tags[EXTRA] = STRAIGHT_ALPHA
    return _save(tags, strips)


def _list(tags: ImageFileDirectory_v2, tiled: bool, which: int) -> tuple[int, ...]:
    """Offsets, or sizes, of strips or tiles."""
    tag = ((OFFSETS, COUNTS), (TILE_OFFSETS, TILE_COUNTS))[tiled][which]
    found = tags.get(tag)
    if not found:
        raise DamagedRowsError("the file does not say where its samples are")
    return tuple(found)


def _wrap(
    tags: ImageFileDirectory_v2,
    parts: list[bytes],
    width: int,
    height: int,
    together: int,
    tiled: bool,
) -> bytes:
    """A file of the same strips or tiles as grey of 8 bits."""
    step, found = 2 * together, ImageFileDirectory_v2(prefix=b"II")
    found[WIDTH], found[HEIGHT], found[BITS] = step * width, height, 8
    found[COMPRESSION], found[PHOTOMETRIC] = tags.get(COMPRESSION, 1), BLACK_IS_ZERO
    found[SAMPLES] = 1
    if not tiled:
        found[ROWS] = min(tags.get(ROWS, height), height)
        return _save(found, parts)
    found[TILE_WIDTH], found[TILE_HEIGHT] = step * tags[TILE_WIDTH], tags[TILE_HEIGHT]
    return _save(found, parts, TILE_OFFSETS, TILE_COUNTS)


def _save(
    tags: ImageFileDirectory_v2,
    parts: list[bytes],
    offsets: int = OFFSETS,
    counts: int = COUNTS,
) -> bytes:
    """A file of tags, and then of strips or tiles."""
    tags.tagtype[offsets] = tags.tagtype[counts] = LONG
    starts = np.cumsum([0, *map(len, parts)])[:-1]
    tags[offsets], tags[counts] = tuple(starts.tolist()), tuple(map(len, parts))
    if offsets != OFFSETS:  # Those of strips Pillow moves behind the directory.
        tags[offsets] = tuple((starts + 8 + len(tags.tobytes(8))).tolist())
    return b"".join([b"II*\0", (8).to_bytes(4, "little"), tags.tobytes(8), *parts])


def _read_pairs(file: bytes) -> NDArray[np.uint8]:
    """The bytes of a wrapped file, `(height, bytes)`."""
    with Image.open(io.BytesIO(file), formats=["TIFF"]) as image:
        return np.ascontiguousarray(np.asarray(image))


def _add_up(values: NDArray[np.uint16], step: int) -> NDArray[np.uint16]:
    """Undo differences between columns, which begin anew after `step` columns."""
    found = np.empty_like(values)
    for first in range(0, values.shape[1], step):
        part = slice(first, first + step)
        found[:, part] = np.cumsum(values[:, part], axis=1, dtype=np.uint16)
    return found


def _deflate(samples: NDArray[np.uint16]) -> tuple[list[bytes], int]:
    """Strips of differences between columns, deflated, and the rows of a strip."""
    height, width, channels = samples.shape
    rows = max(1, STRIP_BYTES // (2 * width * channels))
    strips = []
    for first in range(0, height, rows):
        part = samples[first : first + rows].astype(np.uint16)
        part[:, 1:] -= samples[first : first + rows, :-1]
        strips.append(zlib.compress(part.astype("<u2").tobytes(), 6))
    return strips, rows
