"""Functions of all commands: errors in one line, a result per file, progress on stderr."""

import contextlib
import json
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from laconic.cli.outputs import STDIO
from laconic.container.storage import StoredFile, is_special, read_bytes
from laconic.errors import InputError, LaconicError, MissingPackageError

INTERRUPTED = 130
AT_ONCE_BYTES = 1 << 26
"""Files up to this size are read and checked at once; of larger ones a section is in memory."""
PACE_SECONDS = 30.0
"""Between two lines of progress where stderr is no terminal."""
MaxPixels = Annotated[
    int | None,
    typer.Option(min=1, help="Refuse pictures that have more.  [default: 2^28, of the format]"),
]
Tick = Callable[[int, int], None]


class Group(TyperGroup):
    """Prints every `LaconicError` and every error of the system as one line on stderr."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except LaconicError as error:
            report(error)
            raise typer.Exit(1) from error
        except BrokenPipeError as error:  # The reader of stdout has seen enough.
            raise typer.Exit(INTERRUPTED) from error
        except KeyboardInterrupt as error:
            say_interrupted()
            raise typer.Exit(INTERRUPTED) from error
        except OSError as error:  # A folder that is read-only, a full disk.
            report(refusal(error))
            raise typer.Exit(1) from error


def refusal(error: OSError) -> InputError:
    """An error of the system, in one line."""
    if error.filename is None:  # A stream: stdout, mostly.
        return InputError(f"cannot write: {error.strerror or error}")
    return InputError(f"{error.filename}: {error.strerror}; give another place")


def report(error: Exception) -> None:
    """One line on stderr."""
    typer.echo(f"laconic: error: {' '.join(str(error).split())}", err=True)


def say_interrupted() -> None:
    """One line on stderr for Ctrl-C, SIGTERM and a closed terminal, which may be gone already."""
    with contextlib.suppress(OSError):
        typer.echo("laconic: interrupted", err=True)


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def print_results(
    results: Sequence[dict[str, Any]], describe: Callable[[dict[str, Any]], str], as_json: bool
) -> None:
    """Print results of files: one JSON object, or one line for each written file."""
    if as_json:
        print_json({"files": results})
        return
    for result in results:
        if "output" in result:
            print_result(result, describe(result), as_json=False)


def print_result(result: dict[str, Any], text: str, as_json: bool) -> None:
    """Print one result: its JSON object, or a line (on stderr if stdout takes the file)."""
    if as_json:
        print_json(result)
    else:
        to_stdout = result["output"] == str(STDIO)
        typer.echo(f"{result['input']} -> {result['output']}  {text}", err=to_stdout)


def as_bytes(path: Path) -> bytes:
    """All bytes of a file, or of stdin.

    Raises:
        InputError: it cannot be read.
    """
    return typer.get_binary_stream("stdin").read() if path == STDIO else read_bytes(path)


def as_stored(path: Path, lazy: bool) -> bytes | StoredFile:
    """The same, but the bytes of a regular file are read when they are needed.

    Args:
        path: of the file, or `-`.
        lazy: also of a file that is small enough to be read and checked at once.
    """
    if path == STDIO or is_special(path):
        return as_bytes(path)
    stored = StoredFile(path)
    return stored if lazy or len(stored) > AT_ONCE_BYTES else as_bytes(path)


@contextlib.contextmanager
def as_file(path: Path) -> Iterator[Path]:
    """A regular file for a path: the file itself, or a temporary copy of stdin or a pipe."""
    if path != STDIO and not is_special(path):
        yield path
        return
    data = as_bytes(path)
    with tempfile.TemporaryDirectory(prefix="laconic-") as folder:
        copy = Path(folder, "stdin")
        copy.write_bytes(data)
        try:
            yield copy
        except LaconicError as error:
            raise type(error)(str(error).replace(str(copy), shown(path))) from error


def warn_if_larger(data: bytes, input_bytes: int) -> None:
    """Warn if a result has more bytes than its input."""
    if len(data) > input_bytes:
        warnings.warn(
            f"the result is larger than the input: {len(data):,} bytes of {input_bytes:,}",
            UserWarning,
            stacklevel=2,
        )


def each(
    inputs: Sequence[Path],
    outputs: Sequence[Path],
    work: Callable[[Path, Path, Tick], dict[str, Any]],
    verb: str,
) -> tuple[list[dict[str, Any]], bool]:
    """Process every file and print errors; returns the results, and whether all succeeded.

    Failed work gives a result with "input" and "error"; partly done work returns a result with the
    reason under "error".
    """
    results, good = [], True
    with progress(f"{verb} {len(inputs)} file{'s' * (len(inputs) != 1)}") as tick:
        for index, (source, target) in enumerate(zip(inputs, outputs, strict=True)):

            def part(done: int, total: int, index: int = index) -> None:
                tick(index * total + done, len(inputs) * total)

            try:
                with warnings_for(source), naming(source):
                    result = work(source, target, part)
            except LaconicError as error:
                result = {"input": str(source), "error": str(error)}
            except BrokenPipeError:
                raise
            except Exception as error:  # Our own fault does not stop the other files.
                traceback.print_exc()
                text = f"{shown(source)}: a fault in laconic, please report it: {error!r}"
                result = {"input": str(source), "error": text}
            results.append(result)
            if "error" in result:
                name, fault = shown(source), InputError(result["error"])
                report(fault if fault.names(name) else InputError(f"{name}: {fault}"))
                good = False
    return results, good


@contextlib.contextmanager
def naming(source: Path) -> Iterator[None]:
    """Put the file's name before the message of an error that does not mention it.

    Errors of the system, and a lack of memory, become an `InputError`.
    """
    name = shown(source)
    try:
        yield
    except LaconicError as error:
        if error.names(name):
            raise
        raise type(error)(f"{name}: {error}") from error
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputError(f"{name}: {refusal(error)}") from error
    except MemoryError as error:
        raise InputError(f"{name}: not enough memory") from error


@contextlib.contextmanager
def warnings_for(source: Path) -> Iterator[None]:
    """Print warnings as single lines that name the file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default", UserWarning)
        try:
            yield
        finally:
            for warning in caught:
                warn(f"{shown(source)}: {warning.message}")


def warn(message: str) -> None:
    """One line on stderr."""
    typer.echo(f"laconic: warning: {' '.join(message.split())}", err=True)


def shown(source: Path) -> str:
    """A file's name in messages."""
    return "stdin" if source == STDIO else str(source)


@contextlib.contextmanager
def extras(purpose: str, names: str) -> Iterator[None]:
    """Say in one line which extras a command needs, where an import finds a package missing.

    Args:
        purpose: what needs them, as the beginning of a sentence, e.g. "training needs".
        names: the extras of Laconic's distribution, with commas.

    Raises:
        MissingPackageError: a package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingPackageError(purpose, error.name or "a package", names) from error


@contextlib.contextmanager
def progress(title: str, rate: str = "") -> Iterator[Tick]:
    """A progress bar with the remaining time on stderr, if that is a terminal.

    Yields a function of (done, total).

    Args:
        title: before the bar.
        rate: what is counted, e.g. "pictures", where the bar shows how many a second.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich import progress as bar
    from rich.console import Console

    speed = f"{{task.fields[speed]:.2f}} {rate}/s" if rate else ""
    columns = (
        bar.SpinnerColumn(),
        bar.TextColumn("{task.description}"),
        bar.BarColumn(),
        bar.TaskProgressColumn(),
        bar.TextColumn(speed),
        bar.TimeElapsedColumn(),
        bar.TextColumn("left"),
        bar.TimeRemainingColumn(),
    )
    with bar.Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(title, total=None, speed=0.0)

        def tick(done: int, total: int) -> None:
            speed = bars.tasks[task].speed or 0.0
            bars.update(task, completed=done, total=total, speed=speed)

        yield tick


@contextlib.contextmanager
def show_pace(what: str, before: int) -> Iterator[Callable[[int, int, int], None]]:
    """Progress of hours: the bar, or a line every half minute where stderr is no terminal.

    Yields a function of (done, total, failed).

    Args:
        what: what is counted.
        before: how many were done before, which the rate leaves out.
    """
    start = said = time.monotonic()
    with progress(what, what) as tick:

        def pace(done: int, total: int, failed: int) -> None:
            nonlocal said
            tick(done, total)
            now = time.monotonic()
            if now - said >= PACE_SECONDS and not sys.stderr.isatty():
                said, rate = now, (done - before) / (now - start)
                left = timedelta(seconds=round((total - done) / rate)) if rate else "unknown time"
                line = f"{done:,} of {total:,} {what}, {failed:,} failed, {rate:.2f}/s, {left} left"
                typer.echo(f"laconic: {line}", err=True)

        yield pace
