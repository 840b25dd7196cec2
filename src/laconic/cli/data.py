"""The option `--data` of the commands that read data sets."""

import os
from pathlib import Path
from typing import Annotated

import typer

from laconic.errors import InputError


def use_root(ctx: typer.Context, folder: Path | None) -> Path | None:
    """Make a folder the data root while the command and its workers run.

    Raises:
        InputError: it is no folder.
    """
    if folder is None or ctx.resilient_parsing:
        return folder
    from laconic.data.datasets import DATA_VARIABLE

    if not folder.is_dir():
        raise InputError(f"--data: there is no folder {folder}")
    before = os.environ.get(DATA_VARIABLE)
    os.environ[DATA_VARIABLE] = str(folder)

    @ctx.call_on_close
    def put_back() -> None:
        if before is None:
            os.environ.pop(DATA_VARIABLE, None)
        else:
            os.environ[DATA_VARIABLE] = before

    return folder


DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="FOLDER",
        callback=use_root,
        help="Folder of all data sets. Without it: LACONIC_DATA, else a folder of this user.",
    ),
]
"""The option `--data`."""
