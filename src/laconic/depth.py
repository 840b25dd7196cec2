"""Samples of 16 bits -> 8 bits: the only place where the depth of a picture changes.

Pillow's own conversion of 16-bit grey clips samples at 255, so that nearly every picture becomes
white. So readers, codecs and writers call this module before they convert.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from laconic.errors import InputError

SIXTEEN_BITS: Final = "sixteen_bits"
"""Key in `Image.info`: the file has 16 bits per sample, of which Pillow keeps eight."""
WHITE: Final = 65535
"""Largest sample of 16 bits."""


def is_deep(image: Image.Image) -> bool:
    """Whether Pillow holds more than 8 bits per sample of this image."""
    return image.mode.startswith(("I", "F"))


def to_eight_bits(image: Image.Image) -> Image.Image:
    """Convert grey of 16 bits to grey of 8 bits; return every other image unchanged.

    Args:
        image: an image of any mode. Modes I and I;16 are grey, with samples from 0 to 65535.

    Returns:
        An image of mode L, or LA if one value is transparent, with the same `info`.

    Raises:
        InputError: samples lie outside 0 to 65535, or are floats.
    """
    if not is_deep(image):
        return image
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > WHITE:
        raise InputError(
            f"samples of mode {image.mode} outside 0 to 65535 do not define black and white; "
            "scale the image to 8 or 16 bits first"
        )
    grey = Image.fromarray(round_to_eight(values))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    grey.info |= {key: value for key, value in image.info.items() if key != "transparency"}
    return grey


def round_to_eight(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Samples of 0 to 65535 to the nearest of 0 to 255.

    Formula: floor((255 v + 32767) / 65535).

    >>> round_to_eight(np.array([0, 128, 129, 40000, 65535], np.uint16))
    array([  0,   0,   1, 156, 255], dtype=uint8)
    """
    return ((values.astype(np.uint32) * 255 + 32767) // WHITE).astype(np.uint8)
