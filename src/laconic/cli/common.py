"""What commands share: one-line errors, where outputs go, progress on stderr."""

import contextlib
import io
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer
from PIL import Image
from typer.core import TyperGroup

from laconic.errors import CorruptFileError, InputError, LaconicError

INTERRUPTED = 130
Tick = Callable[[int, int], None]


class Group(TyperGroup):
    """Turns every `LaconicError`, and a file that the system refuses, into one line on stderr."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except LaconicError as error:
            report(error)
            raise typer.Exit(1) from error
        except (BrokenPipeError, KeyboardInterrupt) as error:
            raise typer.Exit(INTERRUPTED) from error
        except OSError as error:  # A folder that is read-only, a full disk.
            if error.filename is None:
                raise
            report(InputError(f"{error.filename}: {error.strerror}; give another place"))
            raise typer.Exit(1) from error


def report(error: Exception) -> None:
    """One line on stderr."""
    typer.echo(f"laconic: error: {' '.join(str(error).split())}", err=True)


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def place_outputs(inputs: Sequence[Path], out: Path | None, suffix: str) -> list[Path]:
    """Where each input's result goes: beside it, into the folder `out`, or to the file `out`.

    Raises:
        InputError: two results would have the same name, or a result would replace its input.
    """
    if out is not None and len(inputs) == 1 and not out.is_dir() and not str(out).endswith("/"):
        outputs = [out]
    elif out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{out} cannot be made a folder: {error.strerror}") from error
        outputs = [out / _renamed(path, suffix).name for path in inputs]
    else:
        outputs = [_renamed(path, suffix) for path in inputs]
    seen: dict[Path, Path] = {}
    for source, target in zip(inputs, outputs, strict=True):
        if target.resolve() == source.resolve():
            raise InputError(f"{source} would be replaced by its own result; give another -o")
        if target in seen:
            raise InputError(f"{seen[target]} and {source} would both become {target}")
        seen[target] = source
    return outputs


def _renamed(path: Path, suffix: str) -> Path:
    """The path with another ending; a folder's whole name stays."""
    if path.is_dir():
        path = path.resolve()
        return path.with_name((path.name or "root") + suffix)
    return path.with_suffix(suffix)


def each(
    inputs: Sequence[Path],
    outputs: Sequence[Path],
    work: Callable[[Path, Path, Tick], dict[str, Any]],
    verb: str,
) -> tuple[list[dict[str, Any]], bool]:
    """Do every file, reporting errors as they come; return results and whether all went well.

    Work that is done in part returns a result that says why under "error".
    """
    results, good = [], True
    with progress(f"{verb} {len(inputs)} file{'s' * (len(inputs) != 1)}") as tick:
        for index, (source, target) in enumerate(zip(inputs, outputs, strict=True)):

            def part(done: int, total: int, index: int = index) -> None:
                tick(index * total + done, len(inputs) * total)

            try:
                with warnings_for(source), naming(source):
                    result = work(source, target, part)
                results.append(result)
                if "error" in result:
                    raise CorruptFileError(f"{source}: {result['error']}")
            except LaconicError as error:
                report(error)
                good = False
    return results, good


def image_bytes(image: Image.Image, format_name: str, target: Path) -> bytes:
    """A picture with its colour profile and orientation as a file of a format that Pillow writes.

    Raises:
        InputError: the format cannot hold it.
    """
    buffer = io.BytesIO()
    extras = {key: image.info[key] for key in ("icc_profile", "exif") if key in image.info}
    try:
        image.save(buffer, format=format_name, **extras)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{target}: {format_name} cannot hold this picture: {error}") from error
    return buffer.getvalue()


@contextlib.contextmanager
def naming(source: Path) -> Iterator[None]:
    """Put the file's name before the message of an error that does not mention it."""
    try:
        yield
    except LaconicError as error:
        if str(source) in str(error):
            raise
        raise type(error)(f"{source}: {error}") from error


@contextlib.contextmanager
def warnings_for(source: Path) -> Iterator[None]:
    """Print warnings as single lines that name the file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default", UserWarning)
        yield
    for warning in caught:
        typer.echo(f"laconic: warning: {source}: {warning.message}", err=True)


@contextlib.contextmanager
def progress(title: str) -> Iterator[Tick]:
    """A bar on stderr, where that is a terminal; gives a function of (done, total)."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
