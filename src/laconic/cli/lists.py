"""Options that take several values, and the list of coders."""

from collections.abc import Sequence
from typing import Annotated

import typer


def split_list(texts: Sequence[str]) -> list[str]:
    """The values of an option that is repeated, holds values between commas, or both."""
    parts = (part.strip() for text in texts for part in text.split(","))
    return [part for part in parts if part]


def to_numbers(option: str, texts: Sequence[str]) -> list[float]:
    """The numbers of such an option.

    Raises:
        typer.BadParameter: there is no number, or a value is not a number; exit status 2.
    """
    given = f"{option} {','.join(texts)}"
    try:
        numbers = [float(part) for part in split_list(texts)]
    except ValueError as error:
        raise typer.BadParameter(f"{given}: give numbers separated by commas") from error
    if not numbers:
        raise typer.BadParameter(f"{given}: give at least one number")
    return numbers


def list_coders(value: str | Sequence[str] | None) -> str | Sequence[str] | None:
    """Print the relative entropy coders and stop if the value is `help`; otherwise return it.

    The table of coders is imported only for `help`, so that `--help` stays quick.
    """
    given = [value] if isinstance(value, str) else list(value or ())
    if "help" not in split_list(given):
        return value
    from laconic.coding.relative_entropy import CODERS, DEFAULT_CODER

    rows = {
        name: (coder.__doc__ or "").splitlines()[0].partition(" Source:")[0]
        for name, coder in CODERS.items()
    }
    rows["is-gs"] = (
        "Importance sampling on all levels but the last, the greedy sampler on the last."
    )
    width = max(map(len, rows))
    for name, line in rows.items():
        default = " [default]" if name == DEFAULT_CODER else ""
        typer.echo(f"{name:<{width}}  {line}{default}")
    raise typer.Exit


Coder = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        callback=list_coders,
        is_eager=True,
        help="Relative entropy coder; `--coder help` lists all.",
    ),
]
"""The option `--coder` of commands that take one."""


def check_tune(value: str | None) -> str | None:
    """Refuse what is no name of a taste; exit status 2."""
    if value is not None:
        from laconic.codecs.image.header import TUNES

        if value not in TUNES:
            raise typer.BadParameter(f"{value!r}: choose one of {', '.join(TUNES)}")
    return value


Tune = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        callback=check_tune,
        help="psnr, balanced or ms-ssim, of models that have taste.  [default: balanced]",
    ),
]
"""The option `--tune`: what a picture is made for."""
