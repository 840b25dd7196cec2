"""The command line: one file per command, heavy imports inside the functions.

Exit status: 0 done; 1 the input's fault, with one line on stderr; 2 wrong usage; 130 interrupted.
"""

import contextlib
import importlib.util
import os
import signal
import sys

import typer

from laconic.cli import (
    bench,
    compress,
    corpus,
    data,
    decompress,
    demo,
    info,
    models,
    rd,
    shrink,
    train,
    uncertainty,
)
from laconic.cli.channels import sweeps, transmit
from laconic.cli.common import INTERRUPTED, Group, refusal, report, say_interrupted
from laconic.cli.imaging import fsc, reconstruct, refine, simulate
from laconic.cli.viewing import plot, studio
from laconic.limits import allow_large_pictures
from laconic.waiting import run_alone, wait_asleep

app = typer.Typer(
    cls=Group,
    help="Images as small as the theory says: compress, decompress, measure, train.",
    no_args_is_help=True,
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
app.command("plot")(plot.plot)
app.command("models")(models.models)
if importlib.util.find_spec("laconic.cli.evaluate"):
    from laconic.cli import evaluate

    app.command("evaluate")(evaluate.evaluate)
app.command("shrink")(shrink.shrink)
app.command("expand")(shrink.expand)
app.command("train")(train.train)
app.add_typer(rd.app, name="rd")
app.add_typer(uncertainty.app, name="uncertainty")
app.add_typer(sweeps.app, name="channels")
app.command("transmit")(transmit.transmit)
app.command("simulate")(simulate.simulate)
app.command("reconstruct")(reconstruct.reconstruct)
app.command("refine")(refine.refine)
app.command("fsc")(fsc.fsc)
app.command("bench")(bench.bench)
app.add_typer(corpus.app, name="corpus")
app.add_typer(data.app, name="data")
app.command("demo")(demo.demo)
app.command("studio")(studio.studio)


def main() -> None:
    """Run the command line and exit with its status.

    SIGTERM and a closed terminal end it like Ctrl-C, so that no incomplete files remain. Threads of
    torch, which is loaded later, sleep while they wait.
    """
    wait_asleep()
    run_alone()
    allow_large_pictures()
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    try:
        app()
    except (KeyboardInterrupt, typer.Abort):
        say_interrupted()
        sys.exit(INTERRUPTED)
    except OSError as error:  # The help text, on a full device.
        report(refusal(error))
        sys.exit(1)
    finally:
        _drop_unwritten()


def _drop_unwritten() -> None:
    """Drop the text that stdout refused; Python would try to write it again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
