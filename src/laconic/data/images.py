"""Image files -> Pillow images, fully read, with errors that name the file."""

import warnings
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from laconic.errors import InputError

SIXTEEN_BITS = "sixteen_bits"
"""Key set in `Image.info` when the file has 16 bits a sample of which Pillow keeps eight."""


def read_image(path: Path) -> Image.Image:
    """Read the first frame of an image file.

    Raises:
        InputError: the file is missing, truncated, too large or no image that Pillow knows.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
        with image:
            deep = any(";16" in str(tile) for tile in getattr(image, "tile", ()))
            image.load()
    except UnidentifiedImageError:
        raise InputError(f"{path} is not an image in a known format") from None
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} is too large: {error}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"cannot read {path}: {reason}") from error
    except (ValueError, SyntaxError, EOFError, IndexError, TypeError, KeyError) as error:
        raise InputError(f"{path} is a damaged image: {error}") from error
    if deep and image.mode in ("RGB", "RGBA", "L", "LA"):
        image.info[SIXTEEN_BITS] = True
    return image
