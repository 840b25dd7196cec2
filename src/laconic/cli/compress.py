"""`laconic compress`: pictures to .lac files, folders to archives."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from laconic.cli.common import Tick, each, place_outputs, print_json
from laconic.errors import InputError


def compress(
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="IN...", help="Image files; with --lossless also folders."),
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="File, or folder for several inputs.")
    ] = None,
    quality: Annotated[
        float | None, typer.Option(min=1, max=100, help="1 smallest to 100 best.  [default: 50]")
    ] = None,
    bpp: Annotated[
        float | None, typer.Option(help="Bits per pixel of the file, not exceeded.")
    ] = None,
    lossless: Annotated[
        bool, typer.Option("--lossless", help="Keep every pixel; a folder becomes one archive.")
    ] = False,
    frame: Annotated[
        int | None, typer.Option(min=1, help="Of several frames or pages, the one to take.")
    ] = None,
    coder: Annotated[
        str | None, typer.Option(help="rejection, importance, greedy or is-gs.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Embedded model, or a weights file.  [default: as --lossless asks]"),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the networks.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Compress images: IN.png becomes IN.lac beside it, unless -o says otherwise."""
    if quality is not None and bpp is not None:
        raise typer.BadParameter("give --quality or --bpp, not both")
    if lossless and not (quality is None and bpp is None and coder is None):
        raise typer.BadParameter("--lossless keeps all: leave out --quality, --bpp and --coder")
    folders = [path for path in inputs if path.is_dir()]
    if folders and not lossless:
        raise InputError(f"{folders[0]} is a folder; archives of folders need --lossless")
    if folders and frame is not None:
        raise InputError(f"{folders[0]} is a folder; --frame chooses a frame of single files")
    common: dict[str, Any] = {"model": model, "threads": threads}
    options = {"quality": quality, "bpp": bpp, "coder": coder, "lossless": lossless, "frame": frame}

    def work(source: Path, target: Path, tick: Tick) -> dict[str, Any]:
        if source.is_dir():
            return _archive_one(source, target, tick, common)
        return _compress_one(source, target, tick, common | options)

    outputs = place_outputs(inputs, out, ".lac")
    results, good = each(inputs, outputs, work, "compressing")
    if as_json:
        print_json({"files": results})
    else:
        for result in results:
            many = f"{result['pictures']:,} pictures, " if result["width"] is None else ""
            typer.echo(
                f"{result['input']} -> {result['output']}  {many}{result['output_bytes']:,} bytes, "
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
    return _result(source, target, data, start) | {"input_bytes": source.stat().st_size}


def _archive_one(source: Path, target: Path, tick: Tick, options: dict[str, Any]) -> dict[str, Any]:
    import laconic
    from laconic.container import write_atomically

    start = time.perf_counter()
    data = laconic.archive(source, **options, progress=tick)
    write_atomically(target, data)
    return _result(source, target, data, start)


def _result(source: Path, target: Path, data: bytes, start: float) -> dict[str, Any]:
    """What `--json` says of a file; null where a number means nothing."""
    import laconic

    values = laconic.open(data).info.to_dict()
    keys = ("width", "height", "pictures", "bpp", "quality", "ideal_bits", "theory_bits")
    return {
        "input": str(source),
        "output": str(target),
        "output_bytes": len(data),
        **{key: values.get(key) for key in keys},
        "seconds": time.perf_counter() - start,
    }
