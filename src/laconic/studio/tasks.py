"""What workers do: read, encode, decode by level, map bits, compare. Runs in worker processes.

Every task gets the setup, the request's fields and files, and `tick`, which it calls between its
steps: there cancelled work ends. What it returns are numbers and files; a name in the answer's
`files` says what each file is.
"""

import io
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from PIL import Image

import laconic
from laconic.codecs.base import Codec, Content, open_file
from laconic.container.file import MAGIC
from laconic.depth import to_eight_bits
from laconic.errors import InputError, MissingPackageError
from laconic.metrics.images import Image8
from laconic.orientation import turn_upright
from laconic.pretrained import decoding
from laconic.progress import Progress
from laconic.studio.colours import paint, peak_of
from laconic.studio.frames import Message

PNG_LEVEL: Final = 1
"""Effort of PNG files: what is shown once must be there at once."""


@dataclass(frozen=True)
class Setup:
    """What all requests to a worker share.

    Attributes:
        model: name of an embedded model or path of one; None: the default.
        threads: of each request.
        pixels: most pixels of a picture.
    """

    model: str | None = None
    threads: int = 1
    pixels: int = 1 << 25


Task = Callable[[Setup, Mapping[str, Any], Sequence[bytes], Progress], Message]


def describe(setup: Setup, _: Mapping[str, Any], __: Sequence[bytes], tick: Progress) -> Message:
    """What the page must know: the model and its controls, and the codecs to compare with."""
    from laconic import pretrained
    from laconic.codecs.image.header import DEFAULT_TUNE, TUNES
    from laconic.studio.settings import ANCHOR_NAMES

    loaded = pretrained.load(setup.model or pretrained.DEFAULT)
    tick(0, 1)
    facts = {
        "version": laconic.__version__,
        "model": loaded.name,
        "fingerprint": loaded.id.fingerprint.hex(),
        "levels": loaded.model.levels,
        "tunes": list(TUNES) if loaded.model.has_taste else [],
        "tune": DEFAULT_TUNE,
        "anchors": [name for name in ANCHOR_NAMES if _works(name)],
    }
    return Message(facts)


def read(
    setup: Setup, request: Mapping[str, Any], blobs: Sequence[bytes], tick: Progress
) -> Message:
    """Open a picture or a .lac file; the answer has it as PNG, upright and in 8 bits."""
    data = blobs[0]
    tick(0, 1)
    if data.startswith(MAGIC):
        file = open_file(data)
        facts, shown, _ = _decode(setup, file, tick)
        return Message(facts | {"kind": "lac", "notes": [], "files": ["shown"]}, (_png(shown),))
    with _notes() as notes:
        image = _display(data, setup.pixels)
    facts = {"kind": "picture", "width": image.width, "height": image.height, "bytes": len(data)}
    return Message(facts | {"notes": notes, "files": ["shown"]}, (_png(image),))


def encode(
    setup: Setup, request: Mapping[str, Any], blobs: Sequence[bytes], tick: Progress
) -> Message:
    """Compress a picture and decode the file; the answer has both, and how near they are."""
    data, lossless = blobs[0], bool(request.get("lossless"))
    pixels = _pixels(data, setup.pixels)
    names = ("quality", "bpp", "tune", "effort")
    options: dict[str, Any] = {name: request.get(name) for name in names}
    if not lossless:
        options["model"] = setup.model
    start = time.perf_counter()
    with _notes() as notes:
        file_bytes = laconic.compress(
            data, lossless=lossless, threads=setup.threads, progress=tick, **options
        )
        encode_seconds = time.perf_counter() - start
        tick(0, 1)
        file = open_file(file_bytes)
        facts, shown, decode_seconds = _decode(setup, file, tick)
    tick(0, 1)
    facts |= _similarity(pixels, np.array(shown.convert("RGB")))
    facts |= {"encode_seconds": encode_seconds, "decode_seconds": decode_seconds, "notes": notes}
    return Message(facts | {"files": ["file", "shown"]}, (file_bytes, _png(shown)))


def show_level(
    setup: Setup, request: Mapping[str, Any], blobs: Sequence[bytes], tick: Progress
) -> Message:
    """The picture from the top levels of a lossy file alone."""
    from laconic.codecs.image.decoder import Runtime
    from laconic.codecs.image.file import ImageFile

    file, count = ImageFile.read(blobs[0]), int(request["level"])
    how = decoding(setup.model, setup.threads, tick)
    runtime = Runtime.of(how.model(file.header.model), how.dtype, how.threads)
    if not 1 <= count <= runtime.model.levels:
        raise InputError(f"level is {count}, give a number from 1 to {runtime.model.levels}")
    tick(0, 1)
    shown = file.render(runtime, tick, count)
    facts = {"level": count, "bytes": file.describe().levels[count - 1].prefix_bytes}
    return Message(facts | {"files": ["shown"]}, (_png(shown),))


def compare(
    setup: Setup, request: Mapping[str, Any], blobs: Sequence[bytes], tick: Progress
) -> Message:
    """A picture by a classical codec, at the quality whose bytes are nearest to a number."""
    from laconic.evaluation.anchors.classical import find_anchors
    from laconic.evaluation.images.gallery import nearest_file

    pixels = _pixels(blobs[0], setup.pixels)
    (anchor,) = find_anchors([str(request["name"])])
    tick(0, 1)
    file = nearest_file(anchor, pixels, int(request["bytes"]), progress=tick)
    tick(0, 1)
    back = anchor.decode(file)
    shown = Image.fromarray(back)
    shown.info |= {"icc_profile": _display(blobs[0], setup.pixels).info.get("icc_profile")}
    facts = _size(len(file), pixels.shape[1], pixels.shape[0]) | _similarity(pixels, back)
    facts |= {"name": anchor.name, "label": anchor.label}
    return Message(facts | {"files": ["shown"]}, (_png(shown),))


def map_bits(
    setup: Setup, request: Mapping[str, Any], blobs: Sequence[bytes], tick: Progress
) -> Message:
    """Where the bits of a file went, of one level or of all: a map and its scale."""
    from laconic.codecs.image.bits import join_levels

    info = open_file(blobs[0]).describe()
    assert info.height is not None
    assert info.width is not None
    levels = laconic.bits_map(blobs[0], model=setup.model, threads=setup.threads, progress=tick)
    level = request.get("level")
    if level is not None and level > len(levels):
        raise InputError(f"level is {level}, give a number from 1 to {len(levels)}")
    chosen = join_levels(levels) if level is None else levels[level - 1]
    density = chosen.per_pixel(info.height, info.width)
    peak = peak_of(density)
    facts = {"peak": peak, "bits": [float(one.bits.sum()) for one in levels]}
    return Message(facts | {"files": ["shown"]}, (_png(paint(density, peak)),))


def _decode(setup: Setup, file: Codec, tick: Progress) -> tuple[dict[str, Any], Image.Image, float]:
    """What a file of one picture says about itself, its picture, and the seconds that it took."""
    file.expect(Content.PICTURE)
    info = file.describe().to_dict()
    _check_pixels(info["width"] * info["height"], setup.pixels)
    start = time.perf_counter()
    shown = next(image for _, image in file.decode(decoding(setup.model, setup.threads, tick)))
    seconds = time.perf_counter() - start
    keys = ("width", "height", "mode", "codec", "model", "quality", "tune", "note")
    facts = {key: info.get(key) for key in keys}
    facts |= _size(info["file_bits"] // 8, info["width"], info["height"])
    levels = info.get("levels") or ()
    facts["levels"] = [{"bits": level["bits"], "bytes": level["prefix_bytes"]} for level in levels]
    return facts, turn_upright(to_eight_bits(shown)), seconds


def _display(data: bytes, most: int) -> Image.Image:
    """A picture, upright and in 8 bits, as codecs see it."""
    from laconic.data.images import name_of, naming_errors, opened, read_image

    stream = io.BytesIO(data)
    try:
        with naming_errors(stream), opened(stream) as image:
            _check_pixels(image.width * image.height, most)
        return turn_upright(to_eight_bits(read_image(stream)))
    except InputError as error:
        raise InputError(str(error).replace(name_of(stream), "this file")) from error


@lru_cache(maxsize=1)
def _pixels(data: bytes, most: int) -> Image8:
    """The pixels of a picture, `(height, width, 3)`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.array(_display(data, most).convert("RGB"))


def _check_pixels(count: int, most: int) -> None:
    if count > most:
        raise InputError(
            f"the picture has {count:,} pixels, the studio takes {most:,}: compress it with "
            "`laconic compress`, or make it smaller"
        )


def _png(image: Image.Image) -> bytes:
    """A PNG file with the picture's colour profile, and no other metadata."""
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    buffer = io.BytesIO()
    profile = image.info.get("icc_profile")
    image.save(buffer, "PNG", compress_level=PNG_LEVEL, icc_profile=profile)
    return buffer.getvalue()


def _size(count: int, width: int, height: int) -> dict[str, Any]:
    return {"bytes": count, "bpp": 8 * count / (width * height)}


def _similarity(first: Image8, second: Image8) -> dict[str, Any]:
    """PSNR and MS-SSIM; None where they are infinite, or cannot be computed."""
    from laconic.metrics.images import ms_ssim, psnr

    decibels = psnr(first, second)
    try:
        structure = ms_ssim(first, second)
    except MissingPackageError:
        structure = math.nan
    return {
        "psnr": decibels if math.isfinite(decibels) else None,
        "ms_ssim": structure if math.isfinite(structure) else None,
        "exact": not math.isfinite(decibels),
    }


def _works(name: str) -> bool:
    """Whether this Pillow has a codec."""
    from laconic.errors import ConfigError
    from laconic.evaluation.anchors.classical import find_anchors

    try:
        find_anchors([name])
    except ConfigError:
        return False
    return True


@contextmanager
def _notes() -> Iterator[list[str]]:
    """Collect warnings as texts."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield notes
    for warning in caught:
        text = " ".join(str(warning.message).split())
        if text not in notes:
            notes.append(text)


TASKS: Final[Mapping[str, Task]] = {
    "describe": describe,
    "read": read,
    "encode": encode,
    "level": show_level,
    "bits": map_bits,
    "compare": compare,
}
"""Every task by its name in requests."""
