"""`laconic-decode IN.lac -o OUT`: a picture, a folder of pictures, a network, or a map."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from . import __version__
from .container import ELSEWHERE, MAX_PIXELS, Lac, LacError, need, open_lac

Write = Callable[[IO[bytes]], object]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its status: 0, or 1 if the file cannot be decoded."""
    options = make_parser().parse_args(arguments)
    try:
        decode(options)
    except (LacError, OSError, MemoryError) as error:
        print(f"laconic-decode: {str(error) or 'too little memory'}", file=sys.stderr)
        return 1
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="laconic-decode", description="Decode a .lac file without torch."
    )
    parser.add_argument("file", type=Path, metavar="IN.lac")
    parser.add_argument(
        "-o",
        dest="out",
        type=Path,
        metavar="OUT",
        help="a picture in any format of Pillow, .safetensors for a network, .mrc for a map, or a "
        "folder for an archive; by default next to the input",
    )
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    parser.add_argument(
        "--models",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="a folder with weights; may be given several times",
    )
    parser.add_argument(
        "--max-pixels",
        type=int,
        default=MAX_PIXELS,
        metavar="N",
        help="refuse larger pictures (default: 2^28)",
    )
    parser.add_argument("--version", action="version", version=__version__)
    return parser


def decode(options: argparse.Namespace) -> None:
    """Decode the file and write what is in it."""
    lac = open_lac(options.file.read_bytes())
    writer = Writer(options.file, options.force)
    out: Path | None = options.out
    if lac.codec == "network":
        from .network import decode_network

        data = decode_network(lac).safetensors()
        target = out or options.file.with_suffix(".safetensors")
        need(target.suffix == ".safetensors", f"{target}: a network becomes a .safetensors file")
        writer.write(target, lambda file: file.write(data))
    elif lac.codec == "map":
        from .maps import decode_map

        density = decode_map(lac).mrc()
        target = out or options.file.with_suffix(".mrc")
        need(target.suffix == ".mrc", f"{target}: a map becomes an .mrc file")
        writer.write(target, lambda file: file.write(density))
    elif lac.codec in ("image", "lossless"):
        from .models import default_folders, model_finder

        models = model_finder([*options.models, *default_folders()])
        write_pictures(lac, models, options.max_pixels, out, writer)
    else:
        raise LacError(f"a file of the codec {lac.codec!r}: {ELSEWHERE}")


def write_pictures(
    lac: Lac, models: Callable[[str, bytes], Any], most: int, out: Path | None, writer: Writer
) -> None:
    """Write one picture, or the pictures of an archive into a folder."""
    if lac.codec == "image":
        from .image import decode_image

        writer.picture(out or writer.source.with_suffix(".png"), decode_image(lac, models, most))
        return
    from .lossless import decode_lossless

    for picture in decode_lossless(lac, models, most):
        if not picture.name:
            writer.picture(out or writer.source.with_suffix(".png"), picture.image)
            continue
        target = (out or writer.source.with_suffix("")) / picture.name
        writer.picture(target.with_suffix(".png"), picture.image)


class Writer:
    """Writes files whole or not at all, and never over the input."""

    def __init__(self, source: Path, force: bool) -> None:
        self.source, self.force = source, force

    def write(self, target: Path, write: Write) -> None:
        """Write a file under another name, then rename it."""
        if target.exists():
            same = target.samefile(self.source)
            need(self.force and not same, f"{target} exists; choose another name or use --force")
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
            os.chmod(name, 0o666 & ~current_umask())
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise

    def picture(self, target: Path, image: Any) -> None:
        """Write a picture in the format of the name's ending."""
        from PIL import Image

        Image.init()
        kind = Image.EXTENSION.get(target.suffix.lower(), "")
        need(kind in Image.SAVE, f"{target}: Pillow writes no format of this name; try .png")
        known: dict[str, Any] = {key: image.info[key] for key in image.info if key != "xmp"}
        if kind == "PNG" and "xmp" in image.info:
            from PIL.PngImagePlugin import PngInfo

            known["pnginfo"] = PngInfo()
            text = image.info["xmp"].decode("utf-8", "replace")
            known["pnginfo"].add_itxt("XML:com.adobe.xmp", text)
        try:
            self.write(target, lambda file: image.save(file, kind, **known))
        except (ValueError, KeyError) as error:
            raise LacError(f"{target}: this picture cannot be written so: {error}") from error


def current_umask() -> int:
    """Permissions that new files must not have."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
