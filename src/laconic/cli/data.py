"""`laconic data`: list and download data sets; the option `--data` of commands that read them."""

import os
from pathlib import Path
from typing import Annotated

import typer

from laconic.cli.common import print_json, progress
from laconic.cli.outputs import Force
from laconic.cli.tables import table_lines
from laconic.errors import InputError

app = typer.Typer(
    help="Data sets: list them, download those that are public.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def use_root(ctx: typer.Context, folder: Path | None) -> Path | None:
    """Make a folder the data root while the command and its workers run.

    Raises:
        InputError: it is not a folder.
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


@app.command("list")
def list_sets(
    data: DataRoot = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """List the data sets, and show which of them are in the data root."""
    from laconic.data.datasets import data_root, describe_sets

    root = data_root()
    sets = describe_sets(root)
    if as_json:
        print_json({"root": str(root), "sets": sets})
        return
    typer.echo(f"data root: {root}")
    rows = []
    for one in sets:
        size, count = one["download_bytes"], one["files_here"]
        here = "yes" if one["present"] else f"{count} of {one['files']} files" if count else "no"
        download = f"{size / 1e6:,.1f} MB" if size else "bring your own"
        rows.append((one["name"], here, download, one["what"]))
    typer.echo("\n".join(table_lines(("name", "here", "download", "what"), rows)))


@app.command("fetch")
def fetch_sets(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="See `laconic data list`.")],
    data: DataRoot = None,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Download data sets into the data root; an interrupted download continues where it stopped.

    Every file is checked against its SHA-256. Files that already exist are kept.
    """
    from laconic.data.datasets import data_root
    from laconic.data.download import fetch

    root = data_root()
    results = []
    for name in dict.fromkeys(names):
        with progress(f"downloading {name}") as tick:
            written = fetch(name, root, tick, force)
        results.append({"name": name, "folder": str(root / name), "downloaded": len(written)})
        if not as_json:
            what = f"{len(written)} files downloaded" if written else "complete already"
            typer.echo(f"{root / name}: {what}")
    if as_json:
        print_json({"root": str(root), "sets": results})
