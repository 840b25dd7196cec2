"""`laconic channels`: sweeps of systems that communicate over noisy channels, and their tables."""

from pathlib import Path
from typing import Annotated

import typer

from laconic.cli import rd
from laconic.cli.common import extras, print_json
from laconic.cli.data import DataRoot
from laconic.cli.outputs import Force, Writer, to_folder

app = typer.Typer(
    help="Noisy channels: train sweeps of systems, measure them, write their tables.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

app.command("run")(rd.run)


@app.command("report")
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", parser=to_folder, metavar="FOLDER", help="Also write figures there."
        ),
    ] = None,
    force: Force = False,
    data: DataRoot = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Table of finished runs: distortion by system, channel and bandwidth."""
    with extras("reports need", "train,eval"):
        from laconic.evaluation.channels import report as channels

    found = channels.read_runs(runs)
    if as_json:
        print_json({"runs": found})
    else:
        typer.echo(channels.table(found))
    if out is not None:
        for path in channels.write_figures(found, out, Writer(force=force).check):
            typer.echo(str(path), err=as_json)
