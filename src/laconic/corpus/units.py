"""The work on one picture: read, compress or decode, measure, write.

A unit reads and writes through `laconic.paths`, so in stores, too. It raises nothing that can be a
result: an error has the key "error", and "again" where trying again may help, as with a store that
does not answer.
"""

import io
import math
import time
import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from laconic.container.storage import write_atomically
from laconic.errors import LaconicError
from laconic.paths import StoredPath, to_path

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Result = dict[str, Any]
LABEL_DIGITS: Final = 16
"""Of the SHA-256 of a result, in its temporary name."""
FINAL: Final = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""Errors of the system that stay when the same is tried again."""


def guarded(work: Callable[..., Result]) -> Callable[..., Result]:
    """Turn every error of a unit into its result."""

    @wraps(work)
    def run(source: str, target: str, options: Mapping[str, Any]) -> Result:
        start = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                found = work(source, target, options)
        except LaconicError as error:
            text = str(error) if error.names(source) else f"{source}: {error}"
            found = _failed(text, _may_pass(error.__cause__))
        except MemoryError:
            found = _failed(f"{source}: not enough memory", again=True)
        except OSError as error:
            found = _failed(f"{source}: {error.strerror or error}", _may_pass(error))
        except Exception as error:  # Our own fault stops no other picture.
            found = _failed(f"{source}: a fault in laconic, please report it: {error!r}")
        return found | {"seconds": round(time.perf_counter() - start, 4)}

    return run


def _failed(message: str, again: bool = False) -> Result:
    return {"error": " ".join(message.split()), "again": again}


def _may_pass(error: BaseException | None) -> bool:
    """Whether an error is one of the system or a store that may be gone the next time.

    Errors of Pillow's readers have no number.
    """
    is_system = isinstance(error, OSError) and error.errno is not None
    return is_system and not isinstance(error, FINAL)


@guarded
def compress(source: str, target: str, options: Mapping[str, Any]) -> Result:
    """Compress one picture.

    Args:
        source: path of the picture.
        target: path of the .lac file.
        options: arguments of `laconic.compress`; and "psnr", whether the file is decoded to measure
            it.
    """
    import laconic
    from laconic.data.folders import load_rgb

    options = dict(options)
    measured = options.pop("psnr")
    given = to_path(source).read_bytes()
    data = laconic.compress(given, **options)
    file = laconic.open(data)
    info = file.info
    found = {
        "input_bytes": len(given),
        "bytes": len(data),
        "width": info.width,
        "height": info.height,
        "bpp": info.bpp,
        "psnr": None,
    }
    if measured:
        found |= quality(load_rgb(io.BytesIO(given)), load_rgb(file.image))
    put(to_path(target), data)
    return found


@guarded
def decompress(source: str, target: str, options: Mapping[str, Any]) -> Result:
    """Decode one file to a PNG picture.

    Args:
        source: path of the .lac file.
        target: path of the picture.
        options: arguments of `laconic.decompress`.
    """
    import laconic
    from laconic.data.writing import image_bytes

    given, path = to_path(source).read_bytes(), to_path(target)
    image = laconic.decompress(given, **options)
    data = image_bytes(image, "PNG", path)
    put(path, data)
    size = {"width": image.width, "height": image.height}
    return {"input_bytes": len(given), "bytes": len(data), **size}


@guarded
def evaluate(source: str, target: str, options: Mapping[str, Any]) -> Result:
    """Measure one file of a corpus against its picture.

    Args:
        source: path of the picture.
        target: path of its .lac file.
        options: arguments of `laconic.decompress`.
    """
    import laconic
    from laconic.data.folders import load_rgb
    from laconic.metrics import ms_ssim

    given, data = to_path(source).read_bytes(), to_path(target).read_bytes()
    info = laconic.open(data).info
    start = time.perf_counter()
    image = laconic.decompress(data, **options)
    seconds = time.perf_counter() - start
    original, shown = load_rgb(io.BytesIO(given)), load_rgb(image)
    return {
        "input_bytes": len(given),
        "bytes": len(data),
        "width": info.width,
        "height": info.height,
        "bpp": info.bpp,
        **quality(original, shown),
        "ms_ssim": finite(ms_ssim(original, shown)),
        "decode_seconds": round(seconds, 4),
    }


def put(path: Path, data: bytes) -> None:
    """Write a result: under a temporary name with the digest of its content, then renamed."""
    if not isinstance(path, StoredPath):
        path.parent.mkdir(parents=True, exist_ok=True)
    label = f"{sha256(data).hexdigest()[:LABEL_DIGITS]}-"
    write_atomically(path, data, survives_power_loss=False, label=label)


def quality(original: "NDArray[np.uint8]", shown: "NDArray[np.uint8]") -> Result:
    """PSNR in dB, None if all pixels are equal, which "exact" says."""
    from laconic.metrics import psnr

    value = psnr(original, shown)
    return {"psnr": finite(value), "exact": math.isinf(value)}


def finite(value: float) -> float | None:
    """A number as JSON has it: None for infinity and NaN."""
    return round(value, 6) if math.isfinite(value) else None
