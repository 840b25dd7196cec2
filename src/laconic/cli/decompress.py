"""`laconic decompress`: .lac files to pictures."""

import io
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from laconic.cli.common import Tick, each, place_outputs, print_json
from laconic.errors import InputError


def decompress(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN.lac...", help=".lac files.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="File, or folder for several inputs.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Weights file, where the file names no embedded model.")
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="Precision: float32, bfloat16 or float64.")
    ] = "float32",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the networks.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Decompress: IN.lac becomes IN.png beside it; with -o any format that Pillow writes."""
    options: dict[str, Any] = {"model": model, "dtype": dtype, "threads": threads}

    def work(source: Path, target: Path, tick: Tick) -> dict[str, Any]:
        return _decompress_one(source, target, tick, options)

    outputs = place_outputs(inputs, out, ".png")
    results, good = each(inputs, outputs, work, "decompressing")
    if as_json:
        print_json({"files": results})
    else:
        for result in results:
            typer.echo(
                f"{result['input']} -> {result['output']}  {result['width']} x "
                f"{result['height']}, {result['seconds']:.1f} s"
            )
    if not good:
        raise typer.Exit(1)


def _decompress_one(
    source: Path, target: Path, tick: Tick, options: dict[str, Any]
) -> dict[str, Any]:
    from PIL import Image

    import laconic
    from laconic.container import write_atomically

    start = time.perf_counter()
    format_name = Image.registered_extensions().get(target.suffix.lower())
    if format_name not in Image.SAVE:
        raise InputError(f"{target}: Pillow writes no {target.suffix or 'files without ending'}")
    image = laconic.decompress(source, **options, progress=tick)
    buffer = io.BytesIO()
    try:
        image.save(buffer, format=format_name, icc_profile=image.info.get("icc_profile"))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{target}: {format_name} cannot hold this picture: {error}") from error
    write_atomically(target, buffer.getvalue())
    return {
        "input": str(source),
        "output": str(target),
        "width": image.width,
        "height": image.height,
        "mode": image.mode,
        "seconds": time.perf_counter() - start,
    }
