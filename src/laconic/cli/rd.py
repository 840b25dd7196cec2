"""`laconic rd`: the rate-distortion laboratory, sweeps of models, pictures, and their plane."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from laconic.cli.common import extras, print_json, progress, warnings_for
from laconic.cli.data import DataRoot
from laconic.cli.lists import to_numbers
from laconic.cli.outputs import Force, Writer, to_folder
from laconic.cli.train import summary
from laconic.errors import InputError

if TYPE_CHECKING:
    from laconic.lab.sweep import Run, Sweep

app = typer.Typer(
    help="Rate-distortion laboratory: train sweeps of models, measure them, draw the plane.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

LABORATORY = ("the laboratory needs", "train,eval,flows")
"""What says which extras are missing."""


@app.command("run")
def run(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="The sweep.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, list the runs, train nothing.")
    ] = False,
    data: DataRoot = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Train and measure every model of a sweep; a second start continues where it stopped."""
    for item in settings or []:
        if "=" not in item.strip("="):
            raise typer.BadParameter(f"--set takes key=value, not {item!r}")
    if not config.is_file():
        raise InputError(f"{config} is not a file; see experiments/rd for examples")
    with extras(*LABORATORY):
        from laconic.lab.sweep import read_sweep
        from laconic.lab.workers import check, run_sweep
        from laconic.training.config import read_config

    sweep = read_sweep(read_config(config, settings or []))
    if dry_run:
        left = {run.name for run in check(sweep)}
        _list(sweep, left, as_json)
        return
    with progress(f"{len(sweep.runs)} runs") as tick:
        outcome = run_sweep(
            sweep,
            lambda run, why: _report(run, why, as_json),
            lambda done, runs: tick(round(1000 * done), 1000 * runs),
        )
    summary = {
        "folder": str(sweep.folder),
        "runs": len(sweep.runs),
        "done": outcome.done,
        "skipped": outcome.skipped,
        "failed": outcome.failed,
    }
    if as_json:
        print_json(summary)
    else:
        typer.echo(
            f"{sweep.folder}: {len(outcome.done)} done, {len(outcome.skipped)} already done, "
            f"{len(outcome.failed)} failed"
        )
    if outcome.failed:
        raise typer.Exit(1)


@app.command("measure")
def measure(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Name of a model, or released weights.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Pictures.")],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="RUNS", help="Folder of the points: runs/rd/FOLDER."),
    ] = None,
    betas: Annotated[
        list[str] | None,
        typer.Option(help="Operating points, repeated or separated by commas."),
    ] = None,
    points: Annotated[
        int, typer.Option(min=1, help="Number of them over the model's range, without --betas.")
    ] = 8,
    patch: Annotated[int, typer.Option(min=1, help="Side of the centre crops, in pixels.")] = 128,
    images: Annotated[int, typer.Option(min=2, help="Number of pictures, one crop each.")] = 24,
    seed: Annotated[int, typer.Option(help="Seed of pictures and of every draw.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Measure a released model of pictures at one or more operating points; trains nothing."""
    asked = to_numbers("--betas", betas) if betas else []
    with extras(*LABORATORY):
        from laconic.lab import pictures
        from laconic.pretrained import load

    weights, config = load(model), pictures.CropConfig(patch, images, seed)
    pictures.check_model(weights.model, config)
    chosen = pictures.choose_betas(weights.model, asked, points)
    with warnings_for(folder):
        crops = pictures.read_crops(folder, config)
    where = Path("runs/rd") / crops.source if out is None else out
    found: list[dict[str, Any]] = []

    def report(result: dict[str, Any]) -> None:
        found.append({key: result[key] for key in ("name", "objective", "data", "measures")})
        typer.echo(f"{result['name']}  {summary(result)}", err=as_json)

    with progress(f"{len(chosen)} operating points") as tick:
        skipped = pictures.measure_pictures(weights, crops, chosen, config, where, report, tick)
    if as_json:
        print_json({"folder": str(where), "done": found, "skipped": skipped})
    else:
        typer.echo(f"{where}: {len(found)} measured, {len(skipped)} already measured")


@app.command("plot")
def plot(
    runs: Annotated[list[Path], typer.Argument(metavar="RUNS...", help="Folders of runs.")],
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            parser=to_folder,
            metavar="FOLDER",
            help="Folder of the report and its figures.",
        ),
    ] = Path("rd"),
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Draw the rate-distortion plane of finished runs, and write a report."""
    with extras(*LABORATORY):
        from laconic.evaluation.plane.report import write_report

        with progress("figures") as tick:
            written = write_report(runs, out, progress=tick, check=Writer(force=force).check)
    if as_json:
        print_json({"files": [str(path) for path in written]})
    else:
        for path in written:
            typer.echo(str(path))


@app.command("work", hidden=True)
def work() -> None:
    """A worker of `rd run`: one run, which the parent writes on stdin."""
    from laconic.lab.workers import work

    work(sys.stdin, sys.stdout)


def _report(run: "Run", why: str, as_json: bool) -> None:
    """Print one line for a finished run."""
    if why:
        typer.echo(f"laconic: error: {run.name}: {why.removeprefix('laconic: error: ')}", err=True)
        return
    from laconic.lab.recipes import read_recipe
    from laconic.lab.runs import read_result

    result = read_result(read_recipe(run.recipe)) or {}
    typer.echo(f"{run.name}  {summary(result)}", err=as_json)


def _list(sweep: "Sweep", left: set[str], as_json: bool) -> None:
    """The list of a sweep's runs."""
    runs: list[dict[str, Any]] = [
        {"name": run.name, "finished": run.name not in left} for run in sweep.runs
    ]
    if as_json:
        print_json({"folder": str(sweep.folder), "runs": runs, "left": len(left)})
        return
    for run in runs:
        typer.echo(f"{run['name']}{'  finished' * run['finished']}")
