"""`laconic decompress`: .lac files to pictures and maps, archives to folders of pictures."""

import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from laconic.cli.common import MaxPixels, Tick, as_stored, each, print_results
from laconic.cli.imaging.maps import decompress_map
from laconic.cli.outputs import STDIO, Force, Out, Writer, format_of, place_outputs, to_path
from laconic.cores import limited
from laconic.errors import InputError, MissingPackageError

if TYPE_CHECKING:
    from laconic.codecs.base import Codec, Decoding


def decompress(
    inputs: Annotated[
        list[Path],
        typer.Argument(parser=to_path, metavar="IN.lac...", help=".lac files; - is stdin."),
    ],
    out: Out = None,
    force: Force = False,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial", help="Show what is left of a truncated or damaged lossy picture."
        ),
    ] = False,
    crop: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,W,H",
            help="Decode this part of a picture alone: W x H pixels from column X, row Y on.",
        ),
    ] = None,
    max_pixels: MaxPixels = None,
    model: Annotated[
        str | None, typer.Option(help="Weights file, where the file names no embedded model.")
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="Precision of lossy files: float32, bfloat16 or float64.")
    ] = "float32",
    quality: Annotated[
        int | None,
        typer.Option(
            min=1, max=100, help="1 to 100, of formats such as .jpg.  [default: exact; .jpg: 95]"
        ),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the networks.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Decompress: IN.lac becomes IN.png in the same folder; -o takes every format of Pillow.

    Formats that can keep all samples do so, unless --quality is given. The samples of a lossless
    file are changed only with --quality.

    An archive becomes a folder of PNG files: the folder of -o, or one next to the archive. Existing
    files are replaced only with --force. - is stdout, where a picture is written as PNG. A map
    becomes an MRC file.
    """
    _need_torch()
    from laconic.codecs.base import Content, Crop, open_file
    from laconic.pretrained import decoding

    inputs = list(dict.fromkeys(inputs))
    part = None if crop is None else Crop.of(_four_numbers(crop))
    writer = Writer(inputs, force)

    def work(source: Path, target: Path, tick: Tick) -> dict[str, Any]:
        lazy = part is not None and not partial
        file = open_file(as_stored(source, lazy), partial=not lazy, rescue=partial, lazy=lazy)
        if part is not None:
            file.expect(Content.PICTURE)
        how = decoding(model, threads, tick, dtype, part, max_pixels)
        if file.content is Content.MAP:
            named = out is not None and not out.is_folder and len(inputs) == 1
            place = target if named or target == STDIO else target.with_suffix(".mrc")
            return decompress_map(source, file, place, writer, how)
        if file.content is not Content.ARCHIVE:
            return _decompress_one(source, file, target, quality, writer, how)
        if quality is not None:
            raise InputError(f"{source} is an archive of PNG files; leave out --quality")
        from laconic.cli.archives import unpack_archive

        folder = out.path if out and len(inputs) == 1 else target.with_suffix("")
        return unpack_archive(source, file, folder, writer, how)

    outputs = place_outputs(inputs, out, ".png", as_json)
    with limited(threads):
        results, good = each(inputs, outputs, work, "decompressing")
    print_results(results, _describe, as_json)
    if not good:
        raise typer.Exit(1)


def _describe(result: dict[str, Any]) -> str:
    """The text line of a result."""
    seconds = f"{result['seconds']:.1f} s"
    if "pixel_size" in result:
        return f"{result['size']} voxels along each edge, {seconds}"
    if "of" not in result:
        return f"{result['width']} x {result['height']}, {seconds}"
    return f"{result['pictures']:,} of {result['of']:,} pictures, {seconds}"


def _four_numbers(text: str) -> list[int]:
    """The numbers of --crop.

    Raises:
        typer.BadParameter: they are not four whole numbers.
    """
    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() for part in parts):
        raise typer.BadParameter(f"--crop takes x,y,width,height in pixels, not {text!r}")
    return [int(part) for part in parts]


def _need_torch() -> None:
    """Name the decoder that needs no torch where torch is not installed.

    Raises:
        MissingPackageError: torch is not installed.
    """
    if find_spec("torch") is None:  # Not imported: that takes a second, and few files need less.
        instead = "or decode without it: pip install laconic-decoder, laconic-decode IN.lac -o OUT"
        raise MissingPackageError("decompress needs", "torch", "", instead)


def _decompress_one(
    source: Path,
    file: "Codec",
    target: Path,
    quality: int | None,
    writer: Writer,
    how: "Decoding",
) -> dict[str, Any]:
    from laconic.codecs.base import Content
    from laconic.data.writing import check_request, image_bytes

    file.expect(Content.PICTURE)
    start = time.perf_counter()
    format_name = format_of(target)
    check_request(format_name, target, quality, file.is_exact)
    writer.check(target)
    image = next(image for _, image in file.decode(how))
    writer.write(target, image_bytes(image, format_name, target, quality, file.is_exact))
    return {
        "input": str(source),
        "output": str(target),
        "width": image.width,
        "height": image.height,
        "mode": image.mode,
        "seconds": time.perf_counter() - start,
    }
