"""`laconic decompress`: .lac files to pictures, archives to folders of them."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from laconic.cli.common import Tick, each, image_bytes, place_outputs, print_json
from laconic.errors import InputError


def decompress(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN.lac...", help=".lac files.")],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="File, or folder for several inputs or an archive."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Weights file, where the file names no embedded model.")
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="Precision of lossy files: float32, bfloat16 or float64.")
    ] = "float32",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the networks.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Decompress: IN.lac becomes IN.png beside it; with -o any format that Pillow writes.

    An archive becomes a folder of PNG files: the one that -o names, or one beside it.
    """
    options: dict[str, Any] = {"model": model, "threads": threads}

    from laconic.cli.archives import is_archive, unpack_archive
    from laconic.container import read_bytes

    def work(source: Path, target: Path, tick: Tick) -> dict[str, Any]:
        data = read_bytes(source)
        if is_archive(data):
            folder = out if out and len(inputs) == 1 else target.with_suffix("")
            return unpack_archive(source, data, folder, tick, options)
        return _decompress_one(source, data, target, tick, options | {"dtype": dtype})

    outputs = place_outputs(inputs, out, ".png")
    results, good = each(inputs, outputs, work, "decompressing")
    if as_json:
        print_json({"files": results})
    else:
        for result in results:
            typer.echo(f"{result['input']} -> {result['output']}  {_told(result)}")
    if not good:
        raise typer.Exit(1)


def _told(result: dict[str, Any]) -> str:
    """What people read of a result."""
    seconds = f"{result['seconds']:.1f} s"
    if "of" not in result:
        return f"{result['width']} x {result['height']}, {seconds}"
    return f"{result['pictures']:,} of {result['of']:,} pictures, {seconds}"


def _decompress_one(
    source: Path, data: bytes, target: Path, tick: Tick, options: dict[str, Any]
) -> dict[str, Any]:
    from PIL import Image

    import laconic
    from laconic.container import write_atomically

    start = time.perf_counter()
    format_name = Image.registered_extensions().get(target.suffix.lower())
    if format_name not in Image.SAVE:
        raise InputError(f"{target}: Pillow writes no {target.suffix or 'files without ending'}")
    image = laconic.decompress(data, **options, progress=tick)
    write_atomically(target, image_bytes(image, format_name, target))
    return {
        "input": str(source),
        "output": str(target),
        "width": image.width,
        "height": image.height,
        "mode": image.mode,
        "seconds": time.perf_counter() - start,
    }
