"""`laconic uncertainty`: predictions of trained classifiers, and a report of them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from laconic.cli.common import extras, print_json, progress
from laconic.cli.data import DataRoot
from laconic.cli.outputs import Force, Writer, to_path
from laconic.cli.train import show
from laconic.errors import InputError

app = typer.Typer(
    help="Predictive uncertainty: predict with trained runs, and write one page about them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

NEEDS = ("uncertainty needs", "train,eval")
"""What says which extras are missing."""


@app.command("predict")
def predict(
    config: Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="A classifier's recipe.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Draws of every prediction.")] = 100,
    count: Annotated[int, typer.Option(min=1, help="Most pictures of every set.")] = 10_000,
    data: DataRoot = None,
) -> None:
    """Write a run's predictions for its test set and for other sets; train first if need be."""
    if not config.is_file():
        raise InputError(f"{config} is not a file; see experiments/uncertainty for examples")
    with extras(*NEEDS):
        from laconic.container.storage import write_atomically
        from laconic.lab import runs
        from laconic.lab.predictions import collect, pack, predictions_path
        from laconic.lab.recipes import read_recipe
        from laconic.training.config import read_config

    recipe = read_recipe(read_config(config, settings or []))
    trained, name = getattr(recipe, "trained", None), getattr(recipe, "data", None)
    if trained is None or not isinstance(name, str):
        raise InputError(f"{config}: a recipe of kind '{recipe.kind}' trains no classifier")
    result = runs.complete(recipe, say=show)
    tensors = collect(trained(), name, getattr(recipe, "hold_out", 0), samples, count)
    facts: dict[str, Any] = {
        key: result[key] for key in ("method", "network", "seed") if key in result
    }
    path = predictions_path(recipe.place)
    title = getattr(recipe, "name", "") or recipe.place.name
    write_atomically(path, pack(tensors, title, {**facts, "data": name, "samples": samples}))
    typer.echo(str(path))


@app.command("report")
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.")],
    html: Annotated[
        Path, typer.Option("--html", parser=to_path, metavar="PAGE.html", help="The page.")
    ],
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Write one self-contained page about the predictions of finished runs."""
    with extras(*NEEDS):
        from dataclasses import asdict

        from laconic.evaluation.uncertainty.report import write_page

    Writer(force=force).check(html)
    with progress("runs") as tick:
        found = write_page(runs, html, tick)
    if as_json:
        rows = [{"run": run.title, **run.facts, **asdict(own)} for run, own in found]
        print_json({"page": str(html), "runs": rows})
    else:
        typer.echo(str(html))
