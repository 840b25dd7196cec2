"""`laconic studio`: pictures compressed on a local page."""

from pathlib import Path
from typing import Annotated

import typer

from laconic.cli.common import extras
from laconic.errors import InputError
from laconic.studio.server import PORT, serve
from laconic.studio.settings import Settings, is_loopback

MOST_WORKERS = 2


def studio(
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[IMAGE...]", help="Pictures, .lac files or folders to offer."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Where to listen. Other hosts than loopback need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = PORT,
    model: Annotated[
        str | None, typer.Option(help="Embedded model, or a weights file.  [default: default]")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Processes that work at once.  [default: at most 2]"),
    ] = None,
    in_browser: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
) -> None:
    """Compress pictures on a local page, and see at once what they become.

    The page is served on this machine alone, and nothing that you open leaves it. With --host the
    page can be opened from elsewhere, by those who have the address with the token.
    """
    from laconic.corpus.engines.local import core_count

    cores = core_count()
    workers = jobs or min(MOST_WORKERS, cores)
    settings = Settings(host=host, model=model, workers=workers, threads=max(1, cores // workers))
    given = list_given(inputs or [])

    def announce(address: str) -> None:
        typer.echo(f"Laconic Studio: {address}\nCtrl-C ends it.")
        if not is_loopback(host):
            typer.echo("Pictures are sent without encryption: use it in networks that you trust.")

    with extras("the studio needs", "studio"):
        serve(given, settings, port, announce, in_browser)


def list_given(inputs: list[Path]) -> list[Path]:
    """The files, and the pictures in the folders.

    Raises:
        InputError: a file is missing, or a folder has no pictures.
    """
    found: list[Path] = []
    for path in inputs:
        if path.is_dir():
            from laconic.data.folders import list_images

            found += list_images(path)
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"{path}: no such file")
    return found
