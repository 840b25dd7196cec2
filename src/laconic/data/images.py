"""Image files -> Pillow images, fully read, with errors that name the file."""

import contextlib
import warnings
from collections.abc import Iterator
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
    with naming_errors(path):
        image = open_image(path)
        with image:
            deep = any(";16" in str(tile) for tile in getattr(image, "tile", ()))
            image.load()
    if deep and image.mode in ("RGB", "RGBA", "L", "LA"):
        image.info[SIXTEEN_BITS] = True
    return image


def open_image(path: Path) -> Image.Image:
    """Open an image file of whatever size without reading its pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(path)


@contextlib.contextmanager
def naming_errors(path: Path) -> Iterator[None]:
    """Turn what Pillow raises while it reads a file into an `InputError` that names it."""
    try:
        yield
    except UnidentifiedImageError:
        empty = path.is_file() and path.stat().st_size == 0
        known = "is empty, it has 0 bytes" if empty else "is not an image in a known format"
        raise InputError(f"{path} {known}") from None
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} is too large: {error}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"cannot read {path}: {reason}") from error
    except (ValueError, SyntaxError, EOFError, IndexError, TypeError, KeyError) as error:
        raise InputError(f"{path} is a damaged image: {error}") from error
