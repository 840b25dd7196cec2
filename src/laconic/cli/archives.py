"""Archives on disk: one file to a folder of PNG files."""

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from PIL import Image

from laconic.cli.outputs import STDIO, Writer, make_folder, make_unique, say_renamed
from laconic.errors import CorruptFileError, InputError
from laconic.paths import StoredPath, exists, follow_links

if TYPE_CHECKING:
    from laconic.codecs.base import Codec, Decoding

SUFFIX = ".png"


def unpack_archive(
    source: Path, file: "Codec", folder: Path, writer: Writer, how: "Decoding"
) -> dict[str, Any]:
    """Write the pictures of an archive as PNG files below a folder.

    For a truncated archive, the pictures before the cut are written, and the result has the key
    "error". Pictures with changed names are under "renamed", the new names by the old ones.

    Raises:
        InputError: the folder cannot be made, a picture would be written outside of it, or files
            exist; then nothing is written.
        FileError: no picture can be read.
    """
    from laconic.codecs.lossless.file import LosslessFile
    from laconic.data.writing import image_bytes

    start, done = time.perf_counter(), 0
    looks_like_file = folder.suffix.lower() in Image.registered_extensions()
    if folder == STDIO or folder.is_file() or (looks_like_file and not folder.is_dir()):
        raise InputError(f"{source} is an archive; name a folder with -o, not {folder}")
    assert isinstance(file, LosslessFile)
    names = file.names
    targets = dict(zip(names, png_names(names), strict=True))
    _check_all(folder, targets.values(), writer)
    renamed = {
        name: target for name, target in targets.items() if PurePosixPath(target) != _short(name)
    }
    say_renamed(renamed.items())
    error, written = "", set[object]()
    try:
        for name, image in file.decode(how):
            target = folder / targets[name]
            make_folder(target.parent)
            _check_new(target, written)
            writer.write(target, image_bytes(image, "PNG", target), survives_power_loss=False)
            written.add(_identity(target))
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
        "renamed": renamed,
        "seconds": time.perf_counter() - start,
    } | ({"error": error} if error else {})


def png_names(names: Sequence[str]) -> list[str]:
    """Names that end in .png, all different, and none equal to the folder of another.

    The ending is replaced, or .png is added if two names would be the same.

    >>> png_names(["a.tif", "b/c.ppm", "b/c.png"])
    ['a.png', 'b/c.ppm.png', 'b/c.png']
    >>> png_names(["a.tif", "a.png", "a.tif.png"])
    ['a.tif-2.png', 'a.png', 'a.tif.png']
    """
    unique = make_unique([PurePosixPath(name) for name in names], [*map(_short, names)], SUFFIX)
    return [str(name) for name in unique]


def _short(name: str) -> PurePosixPath:
    """A name with its ending replaced."""
    return PurePosixPath(name).with_suffix(SUFFIX)


def _check_all(folder: Path, names: Iterable[str], writer: Writer) -> None:
    """Refuse, before anything is written, files that exist and files outside of the folder."""
    root, faults = follow_links(folder), []
    for name in names:
        target = folder / name
        if not follow_links(target).is_relative_to(root):
            raise InputError(
                f"{target} would lie outside of {folder}, through a link; remove the link"
            )
        if fault := writer.fault(target):
            faults.append(fault)
    if len(faults) > 1:
        raise InputError(f"{faults[0]}; the same for {len(faults) - 1} more files of the archive")
    if faults:
        raise InputError(faults[0])


def _check_new(target: Path, written: set[object]) -> None:
    """Refuse to replace a picture of the same archive, through links or a file system's names."""
    if exists(target) and _identity(target) in written:
        raise InputError(f"{target} is another picture of this archive on this file system")


def _identity(path: Path) -> object:
    """What is equal for two names of one file."""
    if isinstance(path, StoredPath):
        return path
    found = os.stat(path)
    return found.st_dev, found.st_ino
