"""The command line: one file per command, heavy imports inside the functions.

Exit status: 0 done; 1 the input's fault, said in one line on stderr; 2 wrong usage; 130
interrupted.
"""

import importlib.util
import sys

import typer

from laconic.cli import bench, compress, decompress, demo, info, rd, shrink, train
from laconic.cli.common import INTERRUPTED, Group

app = typer.Typer(
    cls=Group,
    help="Images as small as the theory says: compress, decompress, measure, train.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def options(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    """Images as small as the theory says: compress, decompress, measure, train."""
    if version:
        from laconic import __version__

        typer.echo(f"laconic {__version__}")
        raise typer.Exit


app.command("compress")(compress.compress)
app.command("decompress")(decompress.decompress)
app.command("info")(info.info)
if importlib.util.find_spec("laconic.cli.evaluate"):
    from laconic.cli import evaluate

    app.command("evaluate")(evaluate.evaluate)
app.command("shrink")(shrink.shrink)
app.command("expand")(shrink.expand)
app.command("train")(train.train)
app.add_typer(rd.app, name="rd")
app.command("bench")(bench.bench)
app.command("demo")(demo.demo)


def main() -> None:
    """Run the command line and exit with its status."""
    try:
        app()
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED)
