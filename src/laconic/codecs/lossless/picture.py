"""Any Pillow image <-> what the lossless codec keeps: samples, alpha, profile, orientation.

| input | coded as | comes back as |
|---|---|---|
| RGB | RGB, or one channel where all three are equal | RGB |
| grey (L) | grey | L |
| grey of 16 bits (I;16 in any byte order) | grey of 16 bits | I;16 |
| bilevel (1) | bilevel | 1 |
| alpha (LA, RGBA) | colour as above, alpha losslessly | LA, RGBA |
| colour of 16 bits, grey of 16 bits with alpha | as it is | `DeepImage` |
| palette (P, PA) | as its RGB or RGBA colours | RGB, RGBA |
| a transparent colour (L, 1, RGB, I;16) | as LA or RGBA | LA, RGBA |

Colour below transparent pixels is kept. A colour profile is kept byte for byte, whatever its size;
what else a PNG file says of colours becomes a profile. EXIF orientation is kept as a tag, the
pixels stay where they are. EXIF and XMP data and dots per inch are kept, other metadata is dropped.
Everything else (CMYK, floats, 32-bit integers) is refused.
"""

import zlib
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from laconic.codecs.image.colour import find_profile
from laconic.codecs.image.metadata import NONE, Info, Metadata
from laconic.codecs.image.picture import ROWS, to_array
from laconic.codecs.lossless.core import DTYPES, Samples
from laconic.deep_image import DeepImage
from laconic.deep_image.image import MODES
from laconic.depth import WHITE
from laconic.errors import InputError
from laconic.orientation import UPRIGHT, orientation_tags, read_orientation

Alpha = NDArray[np.uint8] | NDArray[np.uint16]
Shown = Image.Image | DeepImage
"""A decoded picture."""
Given = Image.Image | DeepImage | NDArray[Any]
"""A picture that is compressed."""


class Kind(IntEnum):
    """What samples a picture has; the number is written into files."""

    RGB = 0
    GREY = 1
    BILEVEL = 2
    GREY_16 = 3
    EQUAL_RGB = 4
    RGB_16 = 5

    @property
    def colours(self) -> int:
        """Channels that are coded."""
        return 3 if self in (Kind.RGB, Kind.RGB_16) else 1

    @property
    def bits(self) -> int:
        """Bits of a sample."""
        return {Kind.BILEVEL: 1, Kind.GREY_16: 16, Kind.RGB_16: 16}.get(self, 8)

    def is_deep(self, alpha: bool) -> bool:
        """Whether neither Pillow nor a model has pictures of this kind: a `DeepImage`."""
        return self is Kind.RGB_16 or (self is Kind.GREY_16 and alpha)

    def is_possible(self, alpha: bool, direct: bool) -> bool:
        """Whether files have pictures of this kind, with alpha, coded without a model."""
        return direct or not self.is_deep(alpha) if self is not Kind.BILEVEL else not alpha

    def mode(self, alpha: bool) -> str:
        """Pillow's name for pictures of this kind, or that of `DeepImage`."""
        if self.is_deep(alpha):
            return MODES[self.colours + alpha]
        names = {Kind.BILEVEL: "1", Kind.GREY: "L", Kind.GREY_16: "I;16"}
        return names.get(self, "RGB") + ("A" if alpha else "")


@dataclass(frozen=True)
class ExactPicture:
    """An image taken apart without loss.

    Attributes:
        kind: what the samples are.
        pixels: shape `(height, width, kind.colours)`; bool, uint8 or uint16.
        alpha: shape `(height, width)`, uint8, or uint16 beside samples of 16 bits; or None.
        profile: ICC profile, or empty.
        orientation: EXIF's number, 1 to 8.
        metadata: EXIF data as they are, XMP data, dots per inch.
    """

    kind: Kind
    pixels: Samples
    alpha: Alpha | None = None
    profile: bytes = b""
    orientation: int = UPRIGHT
    metadata: Metadata = NONE

    @property
    def samples(self) -> Samples:
        """Colours and alpha together, shape `(height, width, channels)`, alpha last."""
        if self.alpha is None:
            return self.pixels
        return cast(Samples, np.dstack([self.pixels, self.alpha]))

    def checksum(self, start: int = 0) -> int:
        """CRC-32 of the samples (16 bits: low byte first) and then alpha, going on from `start`."""
        check = _add(self.pixels, start)
        return check if self.alpha is None else _add(self.alpha, check)


def take_apart(image: Given, strip: bool = False) -> ExactPicture:
    """What is to be kept of an image.

    Args:
        image: a Pillow image, or a `DeepImage`; or an array, `(h, w)` or `(h, w, 1)`: bool, uint8
            or uint16, `(h, w, 2 to 4)`: uint8 or uint16.
        strip: leave out metadata; the orientation stays.

    Raises:
        InputError: it has no pixels, several frames, or samples that would not be kept exactly.
    """
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if isinstance(image, DeepImage):
        picture = replace(_from_array(image.samples), metadata=NONE)
        return _add_tags(picture, image.carrier(), strip)
    if image.width == 0 or image.height == 0:
        raise InputError("the image has no pixels")
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise InputError(f"the image has {frames} frames; save each as an image of its own")
    expanded = _expand(image)
    if isinstance(expanded, np.ndarray):
        bands: NDArray[Any] = expanded
    elif expanded.mode in ("RGB", "RGBA", "LA"):
        bands = to_array(expanded, expanded.mode)
    else:
        bands = np.asarray(expanded)
    return _add_tags(from_bands(bands), image, strip)


def _add_tags(picture: ExactPicture, image: Image.Image, strip: bool) -> ExactPicture:
    """The picture with the profile, the orientation and, unless stripped, the metadata."""
    profile, orientation = find_profile(image), read_orientation(image)
    metadata = NONE if strip else Metadata.of(image)
    return replace(picture, profile=profile, orientation=orientation, metadata=metadata)


def separate(samples: Samples, kind: Kind, profile: bytes, orientation: int) -> ExactPicture:
    """The picture of `ExactPicture.samples`: what comes after the colours is alpha."""
    pixels: Samples = np.ascontiguousarray(samples[..., : kind.colours])  # type: ignore[assignment]
    alpha: Alpha | None = None
    if samples.shape[2] > kind.colours:
        alpha = cast(Alpha, samples[..., -1].astype(DTYPES[kind.bits]))
    return ExactPicture(kind, pixels, alpha, profile, orientation)


def put_together(picture: ExactPicture) -> Shown:
    """The image back, in the mode that the table above says."""
    pixels: NDArray[Any] = picture.pixels
    if picture.kind.is_deep(picture.alpha is not None):
        info = describe(picture.profile, picture.orientation, picture.metadata)
        return DeepImage(cast(NDArray[np.uint16], picture.samples), info)
    if picture.kind is Kind.EQUAL_RGB:
        pixels = np.repeat(pixels, 3, 2)
    image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0].copy())
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    image.info |= describe(picture.profile, picture.orientation, picture.metadata)
    return image


def describe(profile: bytes, orientation: int, metadata: Metadata) -> Info:
    """What `Image.info` has of a picture with this profile, orientation and metadata."""
    found: Info = {"icc_profile": profile} if profile else {}
    if orientation != UPRIGHT:
        found["exif"] = orientation_tags(orientation)
    return found | metadata.entries()


def _from_array(array: NDArray[Any]) -> ExactPicture:
    channels = array.shape[2] if array.ndim == 3 else 1
    types = (np.bool_, np.uint8, np.uint16) if channels == 1 else (np.uint8, np.uint16)
    shape_is_good = array.ndim in (2, 3) and 1 <= channels <= 4
    if not shape_is_good or array.dtype.newbyteorder("=") not in types:
        raise InputError(
            "an array must have shape (h, w) and type bool, uint8 or uint16, or shape "
            f"(h, w, 1 to 4) and type uint8 or uint16, not {array.shape} and {array.dtype}"
        )
    if array.size == 0:
        raise InputError("the image has no pixels")
    return from_bands(array[..., 0] if array.ndim == 3 and channels == 1 else array)


def from_bands(bands: NDArray[Any]) -> ExactPicture:
    """A picture from `(h, w)` or `(h, w, 2 to 4)`, of which the second or fourth is alpha."""
    if bands.ndim == 2:
        if bands.dtype == np.bool_:  # Pillow's own say true by the byte 255.
            kind, samples = Kind.BILEVEL, bands.view(np.uint8) != 0
        else:
            kind = Kind.GREY if bands.itemsize == 1 else Kind.GREY_16
            samples = bands.astype(bands.dtype.newbyteorder("="))
        return ExactPicture(kind, samples[..., None])
    bands = bands.astype(bands.dtype.newbyteorder("="), copy=False)
    alpha = bands[..., -1].copy() if bands.shape[2] in (2, 4) else None
    if bands.shape[2] == 2:
        kind = Kind.GREY if bands.itemsize == 1 else Kind.GREY_16
        return ExactPicture(kind, bands[..., :1].copy(), alpha)
    if bands.itemsize == 2:
        return ExactPicture(Kind.RGB_16, np.ascontiguousarray(bands[..., :3]), alpha)
    return from_colours(np.ascontiguousarray(bands[..., :3]), alpha)


def from_colours(
    pixels: NDArray[np.uint8],
    alpha: NDArray[np.uint8] | None = None,
    profile: bytes = b"",
    orientation: int = UPRIGHT,
) -> ExactPicture:
    """A picture from `(h, w, 3)`; a single channel is kept where all three are equal."""
    rows = (pixels[top : top + ROWS] for top in range(0, len(pixels), ROWS))
    if all((part[..., 1:] == part[..., :1]).all() for part in rows):
        return ExactPicture(Kind.EQUAL_RGB, pixels[..., :1].copy(), alpha, profile, orientation)
    return ExactPicture(Kind.RGB, pixels, alpha, profile, orientation)


def _expand(image: Image.Image) -> Image.Image | NDArray[np.uint16]:
    """One of the modes 1, L, LA, I;16, RGB and RGBA, with the same samples.

    Of grey of 16 bits with a transparent value: its grey and its alpha, `(h, w, 2)`.
    """
    mode, transparent = image.mode, image.has_transparency_data
    if mode.startswith("I;16"):
        if transparent:
            grey = np.asarray(image).astype(np.uint16)
            clear = grey == image.info["transparency"]
            return np.dstack([grey, np.where(clear, 0, WHITE).astype(np.uint16)])
        return image
    if mode in ("P", "PA"):
        return image.convert("RGBA" if transparent else "RGB")
    if mode in ("1", "L", "RGB"):
        return image.convert("RGBA" if mode == "RGB" else "LA") if transparent else image
    if mode in ("LA", "RGBA"):
        return image
    raise InputError(f"samples of mode {mode} cannot be kept exactly; {_advice(mode)}")


def _advice(mode: str) -> str:
    if mode == "I":
        return "where all 32-bit integers lie in 0 to 65535, convert them to mode I;16"
    if mode == "F":
        return "scale the floats to integers of 8 or 16 bits first"
    if mode in ("La", "RGBa"):
        return "undo the multiplication with alpha first: convert to LA or RGBA"
    return "convert the image to RGB first"


def _add(samples: NDArray[Any], check: int) -> int:
    """CRC-32 going on over samples, low bytes first, some rows at a time."""
    for first in range(0, len(samples), ROWS):
        part = samples[first : first + ROWS]
        check = zlib.crc32(part.astype(part.dtype.newbyteorder("<"), copy=False).tobytes(), check)
    return check
