"""`laconic train`: a model from a configuration file."""

import sys
from pathlib import Path
from typing import Annotated

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
        from laconic.lab.recipes.latent import train_from_config

    train_from_config(config, overrides, resume, show, force)


def show(step: int, row: dict[str, float]) -> None:
    """One row of the log on stderr."""
    if "psnr_db" in row:
        figures = f"{row['bits_per_pixel']:.3f} bits/pixel  {row['psnr_db']:.2f} dB"
    else:
        figures = f"rate {row['rate_nats']:.2f}  distortion {row['distortion_nats']:.2f} nats/image"
    print(
        f"step {step}  loss {row['loss']:.4f} nats/pixel  {figures}  "
        f"{row['steps_per_second']:.1f} steps/s",
        file=sys.stderr,
        flush=True,
    )
