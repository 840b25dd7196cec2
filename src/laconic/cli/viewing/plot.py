"""`laconic plot`: where the bits of a file went, as a heat map."""

from pathlib import Path
from typing import Annotated, Any

import typer

from laconic.cli.common import as_bytes, extras, naming, print_result, progress, shown
from laconic.cli.outputs import STDIO, Force, Out, Writer, to_path
from laconic.errors import InputError


def plot(
    file: Annotated[
        Path,
        typer.Argument(parser=to_path, metavar="FILE.lac", help="A picture's file; - is stdin."),
    ],
    out: Out = None,
    force: Force = False,
    model: Annotated[
        str | None, typer.Option(help="Weights file, where the file names no embedded model.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the networks.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Draw where the bits went: a heat map of bits per pixel, of all levels and of each.

    FILE.lac becomes FILE-bits.png in the same folder; -o NAME.svg writes SVG. Of a lossy file the
    map is an estimate from the file alone: the sum over each level is the KL that the file records
    for it. A lossless file has a level for each colour; where it is coded without the model, its
    tiles' bytes are shown.
    """
    with extras("plots need", "eval"):
        from laconic.evaluation.images.bits_figure import draw_bits
        from laconic.evaluation.report.figures import figure_bytes
    from laconic.api import bits_map
    from laconic.codecs.base import open_file

    target = _place(file) if out is None else out.path
    writer = Writer([file], force)
    writer.check(target)
    ending = target.suffix.lower() if target.suffix else ".png"
    if ending not in (".png", ".svg"):
        raise InputError(f"{target}: a plot is a .png or .svg file; name one of these")
    with naming(file):
        data = as_bytes(file)
        info = open_file(data).describe()
        with progress("reading") as tick:
            levels = bits_map(data, model=model, threads=threads, progress=tick)
    assert info.height is not None
    assert info.width is not None
    title = f"{shown(file)}: {len(data):,} bytes, {info.bpp:.3f} bits per pixel"
    writer.write(target, figure_bytes(draw_bits(levels, info.height, info.width, title), ending))
    result: dict[str, Any] = {
        "input": str(file),
        "output": str(target),
        "levels": [{"bits": float(level.bits.sum()), "cell": list(level.cell)} for level in levels],
    }
    print_result(result, f"{len(levels)} levels", as_json)


def _place(file: Path) -> Path:
    """The output's name where none is given."""
    return file if file == STDIO else file.with_name(f"{file.stem}-bits.png")
