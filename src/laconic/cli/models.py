"""`laconic models`: the embedded models, and their cards."""

from typing import Annotated

import typer

from laconic.cli.common import print_json
from laconic.cli.tables import table_lines
from laconic.errors import InputError


def models(
    name: Annotated[
        str | None, typer.Argument(help="A model; prints its card instead of the list.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """List the embedded models: size, class, training iterations, fingerprint.

    A .lac file names the model and the fingerprint that it needs; `laconic info` shows them. Give
    the file of any other model with --model.
    """
    from laconic.pretrained.registry import list_models

    known = list(list_models())
    if name is not None:
        cards = [model.card for model in known if model.name == name and model.present]
        if not cards:
            raise InputError(
                f"there is no embedded model {name!r}, choose from "
                f"{', '.join(sorted({model.name for model in known}))}"
            )
        typer.echo(cards[0].rstrip())
        return
    if as_json:
        print_json({"models": [model.to_dict() for model in known]})
        return
    rows = [
        (
            model.name,
            "" if model.present else "earlier",
            f"{model.size_bytes:,}",
            model.kind,
            f"{model.steps:,}",
            model.fingerprint,
        )
        for model in known
    ]
    heads = ("name", "", "bytes", "class", "iterations", "fingerprint")
    typer.echo("\n".join(table_lines(heads, rows)))
