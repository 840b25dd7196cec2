"""`laconic compress`: pictures to .lac files."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from laconic.cli.common import Tick, each, place_outputs, print_json
from laconic.errors import InputError


def compress(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="Image files.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="File, or folder for several inputs.")
    ] = None,
    quality: Annotated[
        float | None, typer.Option(min=1, max=100, help="1 smallest to 100 best.  [default: 50]")
    ] = None,
    bpp: Annotated[
        float | None, typer.Option(help="Bits per pixel of the file, not exceeded.")
    ] = None,
    lossless: Annotated[bool, typer.Option("--lossless", help="Keep every bit (not yet).")] = False,
    coder: Annotated[
        str | None, typer.Option(help="rejection, importance, greedy or is-gs.")
    ] = None,
    model: Annotated[str, typer.Option(help="Embedded model, or a weights file.")] = "default",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the networks.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Compress images: IN.png becomes IN.lac beside it, unless -o says otherwise."""
    if quality is not None and bpp is not None:
        raise typer.BadParameter("give --quality or --bpp, not both")
    if lossless:
        raise InputError("--lossless is not there yet; leave it out for lossy compression")
    options: dict[str, Any] = {
        "quality": 50 if quality is None else quality,
        "bpp": bpp,
        "coder": coder,
        "model": model,
        "threads": threads,
    }

    def work(source: Path, target: Path, tick: Tick) -> dict[str, Any]:
        return _compress_one(source, target, tick, options)

    outputs = place_outputs(inputs, out, ".lac")
    results, good = each(inputs, outputs, work, "compressing")
    if as_json:
        print_json({"files": results})
    else:
        for result in results:
            typer.echo(
                f"{result['input']} -> {result['output']}  {result['output_bytes']:,} bytes, "
                f"{result['bpp']:.3f} bits per pixel, {result['seconds']:.1f} s"
            )
    if not good:
        raise typer.Exit(1)


def _compress_one(
    source: Path, target: Path, tick: Tick, options: dict[str, Any]
) -> dict[str, Any]:
    import laconic
    from laconic.container import write_atomically

    start = time.perf_counter()
    data = laconic.compress(source, **options, progress=tick)
    write_atomically(target, data)
    info = laconic.open(data).info
    return {
        "input": str(source),
        "output": str(target),
        "width": info.width,
        "height": info.height,
        "input_bytes": source.stat().st_size,
        "output_bytes": len(data),
        "bpp": info.bpp,
        "quality": info.quality,
        "ideal_bits": info.ideal_bits,
        "theory_bits": info.theory_bits,
        "seconds": time.perf_counter() - start,
    }
