"""Any Pillow image <-> what the codec codes: 8-bit RGB, and beside it what RGB cannot say.

| input | coded as | comes back as |
|---|---|---|
| RGB | RGB | RGB |
| grey (L) | RGB with equal channels | L: the mean of the three |
| bilevel (1) | as grey | 1: black below one half |
| alpha (LA, RGBA, transparent palettes) | colour as above, alpha losslessly | LA, RGBA |
| palette (P) | RGB or RGBA | RGB or RGBA |
| 16 bits a sample | rounded to 8 bits, with a warning and a flag | 8 bits |
| CMYK, YCbCr, LAB, HSV | converted to RGB | RGB |

EXIF orientation is applied to the pixels. EXIF and XMP data and dots per inch are kept; an EXIF
thumbnail is not. Colour below a fully transparent pixel may change. A
colour profile is kept when it is small (`PROFILE_LIMIT` after deflate); that of sRGB is dropped,
since it is what readers assume; with a larger one the pixels are converted to sRGB. What else PNG
files say of colours is a profile too (`laconic.codecs.image.colour`).
"""

import warnings
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from laconic.codecs.image.colour import (
    LossyInputWarning,
    colour_space,
    find_profile,
    is_srgb,
    to_srgb,
)
from laconic.codecs.image.metadata import NONE, Info, Metadata
from laconic.depth import SIXTEEN_BITS, is_deep, round_to_eight, to_eight_bits
from laconic.errors import CorruptFileError, InputError
from laconic.orientation import turn_upright

ROWS: Final = 256
"""Rows of a picture that are converted at once."""
PROFILE_LIMIT: Final = 4096
PROFILE_BYTES: Final = 1 << 22
DEPTHS: Final = (np.uint8, np.uint16)


class Colour(IntEnum):
    """How the colours of an image are meant; the number is written into files."""

    RGB = 0
    GREY = 1
    BILEVEL = 2


@dataclass(frozen=True)
class Picture:
    """An image taken apart.

    Attributes:
        pixels: shape `(height, width, 3)`, uint8.
        colour: what the three channels mean.
        alpha: shape `(height, width)`, uint8, or None.
        profile: ICC profile, deflated, or empty.
        reduced: whether the input had 16 bits a sample.
        metadata: EXIF and XMP data of the upright picture, and dots per inch.
    """

    pixels: NDArray[np.uint8]
    colour: Colour = Colour.RGB
    alpha: NDArray[np.uint8] | None = None
    profile: bytes = b""
    reduced: bool = False
    metadata: Metadata = NONE

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])


def take_apart(image: Image.Image | NDArray[Any], strip: bool = False) -> Picture:
    """Bring an image into the form that is coded.

    Args:
        image: a Pillow image, or an array of shape `(h, w)` or `(h, w, 1 to 4)`, uint8 or uint16.
        strip: leave out metadata.

    Raises:
        InputError: it has no pixels, or samples that are neither 8 nor 16 bits.
    """
    if isinstance(image, np.ndarray):
        image, reduced = _from_array(image)
    else:
        reduced = bool(image.info.get(SIXTEEN_BITS))
    if image.width == 0 or image.height == 0:
        raise InputError("the image has no pixels")
    image = turn_upright(image)
    metadata = NONE if strip else Metadata.of(image)
    if is_deep(image):
        image, reduced = to_eight_bits(image), True
    if reduced:
        warnings.warn(
            "the image has 16 bits a sample; it is coded with 8, the lower 8 are lost",
            LossyInputWarning,
            stacklevel=2,
        )
    image, profile = _settle_profile(_expand(image), find_profile(image))
    colour = _colour_of(image)
    alpha = to_array(image.getchannel("A"), "L")[..., 0] if "A" in image.getbands() else None
    return Picture(to_array(image, "RGB"), colour, alpha, profile, reduced, metadata)


def to_array(image: Image.Image, mode: str) -> NDArray[np.uint8]:
    """The samples of an image in a mode of 8 bits, `(height, width, channels)`.

    Some rows are converted at a time: Pillow itself would need several copies of the image.
    """
    found = np.empty((image.height, image.width, len(mode)), np.uint8)
    for top in range(0, image.height, ROWS):
        bottom = min(top + ROWS, image.height)
        part = np.asarray(image.crop((0, top, image.width, bottom)).convert(mode))
        found[top:bottom] = part.reshape(bottom - top, image.width, len(mode))
    return found


def put_together(picture: Picture) -> Image.Image:
    """The image back, in the mode that the table above says."""
    pixels = picture.pixels
    if picture.colour is Colour.RGB:
        image = Image.fromarray(pixels)
    else:
        image = Image.fromarray(to_grey(pixels))
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    elif picture.colour is Colour.BILEVEL:
        image = image.point(lambda value: 255 if value >= 128 else 0).convert("1")
    image.info |= describe(picture.profile, picture.metadata)
    return image


def to_grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The mean of the three channels, `(height, width)`."""
    grey = np.empty(pixels.shape[:2], np.uint8)
    for top in range(0, len(pixels), ROWS):
        total = pixels[top : top + ROWS].sum(axis=2, dtype=np.uint16)
        grey[top : top + ROWS] = (total + 1) // 3
    return grey


def describe(profile: bytes, metadata: Metadata) -> Info:
    """What `Image.info` has of a picture with this profile, deflated or empty, and metadata."""
    found: Info = {"icc_profile": _inflate_profile(profile)} if profile else {}
    return found | metadata.entries()


def _from_array(array: NDArray[Any]) -> tuple[Image.Image, bool]:
    """An 8-bit image and whether bits were dropped."""
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or not 1 <= channels <= 4 or array.dtype not in DEPTHS:
        raise InputError(
            "an array must have shape (h, w) or (h, w, 1 to 4) and type uint8 or uint16, "
            f"not {array.shape} and {array.dtype}"
        )
    if array.size == 0:
        raise InputError("the image has no pixels")
    reduced = array.dtype == np.uint16
    eight = round_to_eight(array) if reduced else array.astype(np.uint8)
    if channels == 2:
        image = Image.fromarray(np.ascontiguousarray(eight[..., 0]))
        image.putalpha(Image.fromarray(np.ascontiguousarray(eight[..., 1])))
        return image, reduced
    flat = eight[..., 0] if eight.ndim == 3 and channels == 1 else eight
    return Image.fromarray(np.ascontiguousarray(flat)), reduced


def _expand(image: Image.Image) -> Image.Image:
    """One of the modes 1, L, LA, RGB, RGBA and CMYK."""
    transparent = image.has_transparency_data
    if image.mode == "CMYK" or (image.mode == "1" and not transparent):
        return image
    if image.mode in ("1", "L", "LA", "La"):
        return image.convert("LA" if transparent else "L")
    if image.mode == ("RGBA" if transparent else "RGB"):
        return image
    return image.convert("RGBA" if transparent else "RGB")


def _settle_profile(image: Image.Image, profile: bytes) -> tuple[Image.Image, bytes]:
    """Keep a small profile, drop that of sRGB, convert the pixels where it is large."""
    if image.mode == "CMYK":
        return to_srgb(image, profile), b""
    if not profile or is_srgb(profile):
        return image, b""
    space = colour_space(profile)
    grey = image.mode in ("1", "L", "LA")
    if space not in ("", "RGB", "GRAY") or (space == "GRAY" and not grey):
        warnings.warn(
            f"the colour profile is one for {space} and is left out, since the pixels are "
            f"{image.mode}",
            LossyInputWarning,
            stacklevel=3,
        )
        return image, b""
    deflated = zlib.compress(profile, 9)
    if len(deflated) <= PROFILE_LIMIT:
        return image, deflated
    # Black and white are the same in every profile.
    return image if image.mode == "1" else to_srgb(image, profile), b""


def _colour_of(image: Image.Image) -> Colour:
    if image.mode == "1":
        return Colour.BILEVEL
    return Colour.GREY if image.mode in ("L", "LA") else Colour.RGB


def _inflate_profile(profile: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(profile, PROFILE_BYTES)
    except zlib.error as error:
        raise CorruptFileError(f"the colour profile is damaged: {error}") from error
