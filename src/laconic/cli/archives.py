"""Archives on disk: one file to a folder of PNG files."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from laconic.cli.common import Tick, image_bytes
from laconic.errors import CorruptFileError, InputError

SUFFIX = ".png"


def is_archive(data: bytes) -> bool:
    """Whether a file, which may be truncated, is an archive of lossless pictures."""
    from laconic.codecs.lossless_header import CODEC, LosslessHeader
    from laconic.container import unpack

    container = unpack(data, partial=True)
    return container.codec == CODEC and LosslessHeader.read(container.header).pictures is not None


def unpack_archive(
    source: Path, data: bytes, folder: Path, tick: Tick, options: dict[str, Any]
) -> dict[str, Any]:
    """Write the pictures of an archive as PNG files below a folder.

    Of a truncated archive those before the cut are written, and the result says so under "error".

    Raises:
        InputError: the folder cannot be made, or a picture would come to lie outside of it.
        FileError: no picture can be read.
    """
    import laconic
    from laconic.codecs.lossless_file import LosslessFile
    from laconic.container import write_atomically

    start, done = time.perf_counter(), 0
    looks_like_file = folder.suffix.lower() in Image.registered_extensions()
    if folder.is_file() or (looks_like_file and not folder.is_dir()):
        raise InputError(f"{source} is an archive; name a folder with -o, not {folder}")
    names = LosslessFile.open(data, partial=True).names
    targets = dict(zip(names, png_names(names), strict=True))
    error = ""
    try:
        for name, image in laconic.unarchive(data, partial=True, **options, progress=tick):
            target = _place(folder, targets[name])
            write_atomically(target, image_bytes(image, "PNG", target), survives_power_loss=False)
            done += 1
    except CorruptFileError as cut:
        if not done:
            raise
        error = str(cut)
    return {
        "input": str(source),
        "output": str(folder),
        "pictures": done,
        "of": len(names),
        "seconds": time.perf_counter() - start,
    } | ({"error": error} if error else {})


def png_names(names: Sequence[str]) -> list[str]:
    """Names that end in .png: the ending is replaced, or added where two would become the same.

    >>> png_names(["a.tif", "b/c.ppm", "b/c.png"])
    ['a.png', 'b/c.ppm.png', 'b/c.png']
    """
    replaced = [str(PurePosixPath(name).with_suffix(SUFFIX)) for name in names]
    takers = Counter(replaced)
    return [
        name + SUFFIX if takers[short] > 1 and short != name else short
        for name, short in zip(names, replaced, strict=True)
    ]


def _place(folder: Path, name: str) -> Path:
    """Where a picture goes; its folders are made."""
    target = folder / name
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{target} would lie outside of {folder}, through a link; remove that")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{target.parent} cannot be made a folder: {error.strerror}") from error
    return target
