"""Options of several commands, options that take several values, and the list of coders."""

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


Quality = Annotated[
    float | None, typer.Option(min=1, max=100, help="1 smallest to 100 best.  [default: 50]")
]
Bpp = Annotated[float | None, typer.Option(help="Most bits per pixel of the file.")]
Effort = Annotated[
    int | None,
    typer.Option(min=0, max=9, help="0 fastest to 9 smallest.  [default: 0, with --lossless 5]"),
]
Strip = Annotated[bool, typer.Option("--strip", help="Leave out EXIF, XMP and dots per inch.")]
Model = Annotated[
    str | None,
    typer.Option(help="Embedded model, or a weights file.  [default: as --lossless needs]"),
]


def check_requests(
    lossless: bool, quality: float | None, bpp: float | None, *others: object
) -> None:
    """Refuse options of lossy pictures that exclude each other or go with `--lossless`.

    Args:
        lossless: whether every pixel is kept.
        quality: of `--quality`.
        bpp: of `--bpp`.
        others: of `--coder` and `--tune`.

    Raises:
        typer.BadParameter: they do; exit status 2.
    """
    if quality is not None and bpp is not None:
        raise typer.BadParameter("give --quality or --bpp, not both")
    if lossless and not all(one is None for one in (quality, bpp, *others)):
        raise typer.BadParameter(
            "--lossless keeps all: leave out --quality, --bpp, --coder and --tune"
        )
