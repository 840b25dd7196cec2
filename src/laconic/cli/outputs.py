"""Output files: their names, and the rule that existing files are replaced only on request.

A command names its outputs with `place_outputs`, or checks those that the user names, and writes
them through a `Writer`: an existing file is refused unless `--force` is given, and an input is
never replaced. `-` is stdin or stdout.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Annotated

import typer

from laconic import paths
from laconic.container.storage import is_special, write_atomically
from laconic.errors import InputError

STDIO = Path("-")
"""Means stdin as an input and stdout as an output."""
NAME_BYTES = 255
"""Most bytes of a file's name."""
NAMED_FILES = 5
"""Most renamed files that a line names; it counts the others."""


def to_path(text: str) -> Path:
    """A path or an address as the user wrote it; `./-` is a file, `-` is stdin or stdout.

    >>> to_path("-") == STDIO, to_path("./-") == STDIO
    (True, False)
    """
    if text in ("-", "/dev/stdin", "/dev/stdout"):
        return STDIO
    path = paths.to_path(text)
    return path.absolute() if path == STDIO else path


def to_folder(text: str) -> Path:
    """The path of a folder for several files."""
    if to_path(text) == STDIO:
        raise typer.BadParameter("there are several files; name a folder")
    return paths.to_path(text)


@dataclass(frozen=True)
class Destination:
    """The value of `-o`.

    Attributes:
        path: path of a file or a folder.
        slash: whether it ends with a slash, which marks a folder.
    """

    path: Path
    slash: bool = False

    @classmethod
    def parse(cls, text: str) -> "Destination":
        """Read the value of the option."""
        return cls(to_path(text), text.endswith(("/", os.sep)))

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.slash or (self.path != STDIO and paths.is_folder(self.path))


Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]
Out = Annotated[
    Destination | None,
    typer.Option("-o", "--out", parser=Destination.parse, metavar="PATH", show_default=False),
]


@dataclass(frozen=True)
class Writer:
    """Writes the outputs of one command.

    Attributes:
        inputs: files that the command reads; they are never replaced.
        force: whether other files that exist are replaced.
        option: the option that names the output, for messages.
        is_text: whether results may be printed on a terminal.
    """

    inputs: Sequence[Path] = ()
    force: bool = False
    option: str = "-o"
    is_text: bool = False

    def check(self, path: Path) -> None:
        """Refuse a path that cannot be written to, before the work begins.

        Raises:
            InputError: the path is an input, or exists without `force`, or is a terminal.
        """
        if fault := self.fault(path):
            raise InputError(fault)

    def fault(self, path: Path) -> str:
        """The reason why a path is refused, or ""."""
        if path == STDIO and sys.stdout.isatty() and not self.is_text:
            return f"stdout is a terminal; name a file with {self.option}, or use a pipe"
        if path == STDIO or is_special(path):
            return ""
        for source in self.inputs:
            if _is_input(path, source):
                return f"{path} is an input and would be replaced; name another with {self.option}"
        if paths.is_folder(path):
            return f"{path} is a folder; name a file with {self.option}"
        if paths.exists(path) and not self.force:
            return f"{path} exists; give another name with {self.option}, or --force to replace it"
        return ""

    def write(
        self, path: Path, data: bytes | Iterable[bytes], survives_power_loss: bool = True
    ) -> int:
        """Write a file completely or not at all, or write to stdout; returns the number of bytes.

        Raises:
            InputError: `check` refuses the path, or it cannot be written.
        """
        self.check(path)
        written = 0

        def counted() -> Iterable[bytes]:
            nonlocal written
            for piece in [data] if isinstance(data, bytes) else data:
                written += len(piece)
                yield piece

        if path == STDIO:
            stream = typer.get_binary_stream("stdout")
            for piece in counted():
                stream.write(piece)
            stream.flush()
        else:
            write_atomically(path, counted(), survives_power_loss, replace=self.force)
        return written


def place_outputs(
    inputs: Sequence[Path], out: Destination | None, suffix: str, as_json: bool = False
) -> list[Path]:
    """The output path of each input: next to it, in the folder `out`, or the file `out`.

    Equal names are made longer, with a warning on stderr.

    Raises:
        InputError: the folder cannot be made.
        typer.BadParameter: stdout would get several results, or a result and the JSON.
    """
    to_stdout = inputs[0] == STDIO if out is None else out.path == STDIO
    if len(inputs) > 1 and (to_stdout or STDIO in inputs):
        raise typer.BadParameter("- is a single file, stdin or stdout; give one input alone")
    if to_stdout and as_json:
        raise typer.BadParameter("--json writes to stdout; name a file for the result with -o")
    if to_stdout:
        return [STDIO]
    if out is not None and len(inputs) == 1 and not out.is_folder:
        return [out.path]
    names = [_called_after(path) for path in inputs]
    if out is not None:
        make_folder(out.path)
        names = [out.path / name.name for name in names]
    shorts = [
        name.with_name(name.name + suffix) if paths.is_folder(source) else name.with_suffix(suffix)
        for name, source in zip(names, inputs, strict=True)
    ]
    found = make_unique(names, shorts, suffix)
    say_renamed(
        (str(source), str(target))
        for source, target, short in zip(inputs, found, shorts, strict=True)
        if target != short
    )
    return [paths.to_path(path) for path in found]


def make_folder(path: Path) -> None:
    """Make a folder and its parents.

    Raises:
        InputError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path} cannot be made a folder: {error.strerror}") from error


def make_unique(
    names: Sequence[PurePath], shorts: Sequence[PurePath], suffix: str
) -> list[PurePath]:
    """The short form of each name; equal ones are made longer, so that all are different.

    Args:
        names: names of the sources, all different.
        shorts: the short forms; a source whose short form is its own name keeps it.
        suffix: added to a name, and to a name with a number, until the result is free.
    """
    counts = Counter(shorts)
    folders = {folder for name in names for folder in name.parents}
    found = {
        k: short
        for k, (name, short) in enumerate(zip(names, shorts, strict=True))
        if short == name or (counts[short] == 1 and short not in folders)
    }
    taken = folders | set(found.values())
    for k, name in enumerate(names):
        if k in found:
            continue
        long, number = _lengthened(name, suffix), 2
        while long in taken:
            long = _lengthened(name, f"-{number}{suffix}")
            number += 1
        found[k] = long
        taken.add(long)
    return [found[k] for k in range(len(names))]


def _lengthened(name: PurePath, tail: str) -> PurePath:
    """A name with an addition, cut to the length that file systems allow."""
    kept = os.fsencode(name.name)[: NAME_BYTES - len(tail)].decode(errors="ignore")
    return name.with_name(kept + tail)


def say_renamed(renamed: Iterable[tuple[str, str]]) -> None:
    """Print one line on stderr with the results whose names were made longer."""
    pairs = [f"{source} -> {target}" for source, target in renamed]
    if pairs:
        more = f" and {len(pairs) - NAMED_FILES} more" if len(pairs) > NAMED_FILES else ""
        shown = ", ".join(pairs[:NAMED_FILES]) + more
        typer.echo(
            f"laconic: warning: renamed, because two names would be the same: {shown}", err=True
        )


def _called_after(path: Path) -> Path:
    """The name from which the result's name is made; also for the folder `.` and for stdin.

    For an index of shards it is the name of the file that the shards are parts of.
    """
    if path == STDIO:
        return Path("stdin")
    if path.name.endswith(".safetensors.index.json"):
        return path.with_name(path.name.removesuffix(".index.json"))
    if not paths.is_folder(path):
        return path
    path = path.resolve()
    return path if path.name else path / "root"


def _is_input(path: Path, source: Path) -> bool:
    """Whether a path is an input, or a picture in an input folder, also through links."""
    if paths.is_folder(source) and path.is_file():
        from laconic.data.exact_images import SUFFIXES

        real = paths.follow_links(path)
        folder = paths.follow_links(source)
        return real.is_relative_to(folder) and real.suffix.lower() in SUFFIXES
    if isinstance(path, paths.StoredPath):
        return path == source
    try:
        return os.path.samefile(source, path)
    except OSError:
        return False


def format_of(target: Path) -> str:
    """Pillow's format of a picture's name, by its ending; PNG for pipes and devices.

    Raises:
        InputError: Pillow cannot write this format.
    """
    from laconic.data.writing import find_format

    if target.suffix.lower() == ".lac":
        raise InputError(f"{target}: not an image file; name one, such as .png")
    format_name = find_format(target.suffix)
    if not target.suffix and (target == STDIO or is_special(target)):
        format_name = "PNG"
    if format_name is None:
        if not target.suffix:
            raise InputError(f"{target}: the output name needs an ending, e.g. .png")
        raise InputError(f"{target}: Pillow cannot write {target.suffix}; name e.g. a .png file")
    return format_name
