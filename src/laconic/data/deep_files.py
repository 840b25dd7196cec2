"""Files of 16 bits a sample in several channels, which Pillow would round to 8: PNG, PPM, TIFF."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from laconic.data import images
from laconic.deep_image import DeepImage
from laconic.deep_image.png import read_png
from laconic.deep_image.ppm import read_ppm
from laconic.deep_image.tiff import read_tiff
from laconic.deep_image.turns import turn
from laconic.depth import SIXTEEN_BITS, WHITE

ORIENTATION_TAG = 274
Info = dict[str | tuple[int, int], Any]


def read_deep(image: Image.Image) -> Image.Image | DeepImage:
    """Read an opened file of 16 bits a sample with its exact samples.

    Args:
        image: opened by Pillow from a file in the format PNG, PPM or TIFF, and not loaded.

    Returns:
        A Pillow image of mode I;16 for grey without alpha.

    Raises:
        ValueError: the file is damaged.
    """
    file: Any = image.fp  # type: ignore[attr-defined]
    file.seek(0)
    data: bytes = file.read()
    if isinstance(image, TiffImageFile):
        orientation = int(image.tag_v2.get(ORIENTATION_TAG, 1))
        samples = turn(read_tiff(image, data), orientation)
        info: Info = dict(image.info)
        if exif := images.read_tiff_exif(image):
            info["exif"] = exif
    elif image.format == "PNG":
        samples, info = _read_png(data)
    else:
        samples, info = read_ppm(data), dict(image.info)
    info.pop(SIXTEEN_BITS, None)
    if samples.shape[2] == 1:
        return Image.fromarray(samples[..., 0])
    return DeepImage(samples, info)


def _read_png(data: bytes) -> tuple[NDArray[np.uint16], Info]:
    """The samples of a PNG file, with alpha if one colour is transparent, and its metadata."""
    samples, rest = read_png(data)
    with images.open_image(io.BytesIO(rest)) as carrier:
        transparent = carrier.info.get("transparency")
        loaded = images.load_frame(carrier)
        info: Info = {key: loaded.info[key] for key in loaded.info if key != "transparency"}
    if isinstance(transparent, tuple) and samples.shape[2] == 3:
        is_clear = (samples == np.array(transparent, np.uint16)).all(2)
        alpha = np.where(is_clear, 0, WHITE).astype(np.uint16)
        samples = np.dstack([samples, alpha])
    return samples, info
