"""Laconic: deep probabilistic compression.

    import laconic

    data = laconic.compress("photo.png", quality=60)
    laconic.decompress(data).save("decoded.png")
    laconic.open("photo.lac").info.bpp
    laconic.archive("pictures/")
    laconic.shrink("net.safetensors", tolerance=0.02)
    laconic.compress_map("map.mrc", variance="variance.mrc")

The import has one side effect: it registers the format with Pillow, so that `Image.open("x.lac")`
works.
"""

from laconic.api import (
    LaconicFile,
    LaconicImage,
    archive,
    bits_map,
    compress,
    compress_map,
    decompress,
    decompress_map,
    expand,
    open,
    predict,
    shrink,
    thumbnail,
    unarchive,
)
from laconic.deep_image import DeepImage
from laconic.errors import (
    CodingError,
    ConfigError,
    CorruptFileError,
    FileError,
    InputError,
    LaconicError,
    MissingPackageError,
    UnreachableTargetError,
    UnsupportedFileError,
)
from laconic.plugin import register_pillow

__version__ = "0.1.0"

__all__ = [
    "CodingError",
    "ConfigError",
    "CorruptFileError",
    "DeepImage",
    "FileError",
    "InputError",
    "LaconicError",
    "LaconicFile",
    "LaconicImage",
    "MissingPackageError",
    "UnreachableTargetError",
    "UnsupportedFileError",
    "__version__",
    "archive",
    "bits_map",
    "compress",
    "compress_map",
    "decompress",
    "decompress_map",
    "expand",
    "open",
    "predict",
    "register_pillow",
    "shrink",
    "thumbnail",
    "unarchive",
]

register_pillow()
