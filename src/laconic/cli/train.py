"""`laconic train`: run the recipe of a configuration file."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from laconic.cli.common import extras
from laconic.cli.data import DataRoot
from laconic.errors import InputError


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="What to train.")],
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint.")] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Start a new run in the folder of an earlier one.")
    ] = False,
    data: DataRoot = None,
) -> None:
    """Train a model; --resume continues an interrupted run.

    A folder with a checkpoint is refused, unless --resume or --force is given.
    """
    overrides = settings or []
    for item in overrides:
        if "=" not in item.strip("="):
            raise typer.BadParameter(f"--set takes key=value, not {item!r}")
    if resume and force:
        raise typer.BadParameter("--resume continues, --force starts a new run: give one of them")
    if not config.is_file():
        raise InputError(f"{config} is not a file; see experiments/embedded for an example")
    with extras("training needs", "train"):
        from laconic.lab import runs
        from laconic.lab.recipes import read_recipe
        from laconic.training.config import read_config

    recipe = read_recipe(read_config(config, overrides))
    result = runs.train(recipe, resume, force, show)
    if result is not None:
        typer.echo(f"{recipe.place}: {summary(result)}", err=True)


def show(step: int, row: dict[str, float]) -> None:
    """Print one row of the log on stderr."""
    if "psnr_db" in row:
        shown = f"{row['bits_per_pixel']:.3f} bits/pixel  {row['psnr_db']:.2f} dB"
    elif "rate_nats" in row:
        shown = f"rate {row['rate_nats']:.2f}  distortion {row['distortion_nats']:.2f} nats/image"
    elif "error_percent" in row:
        shown = f"error {row['error_percent']:.2f} %"
    else:
        shown = f"-log p(y | x) {row['nll']:.3f} nats"
    per = "example" if "nll" in row else "image" if "mse" in row else "pixel"
    print(
        f"step {step}  loss {row['loss']:.4f} nats/{per}  {shown}  "
        f"{row['steps_per_second']:.1f} steps/s",
        file=sys.stderr,
        flush=True,
    )


def summary(result: Mapping[str, Any]) -> str:
    """The main figures of a result, on one line."""
    measures = result.get("measures", {})
    figures = [
        f"{label} {measures[key]['value']:.2f}"
        for key, label in (
            ("rate_nats", "R"),
            ("distortion_nats", "D"),
            ("negative_elbo_nats", "-ELBO"),
        )
        if key in measures
    ]
    if figures:
        return f"{'  '.join(figures)} nats"
    if "distortion" in result:
        errors = [one["mse"] for one in result["distortion"].values()]
        return f"MSE {', '.join(f'{error:.5f}' for error in errors)}"
    found = [f"error {result['error_percent']:.2f} %"] if "error_percent" in result else []
    if "rmse" in result:
        found += [f"RMSE {result['rmse']:.3f}", f"-log p(y | x) {result['nll_nats']:.3f} nats"]
    if "file_bytes" in result:
        found += [f"{result['file_bytes']:,} bytes", f"{result['file_ratio']:.0f} times smaller"]
    return ", ".join(found)
