"""`laconic compress`: pictures and maps to .lac files, folders to archives."""

import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from laconic.cli.common import Tick, as_file, each, print_results, warn_if_larger, warnings_for
from laconic.cli.imaging.maps import compress_map, is_map
from laconic.cli.lists import Bpp, Coder, Effort, Model, Quality, Strip, Tune, check_requests
from laconic.cli.outputs import Destination, Force, Out, Writer, place_outputs, to_path
from laconic.corpus.engines import Local, core_count
from laconic.errors import InputError
from laconic.paths import is_folder

if TYPE_CHECKING:
    from laconic.codecs.base import Codec


def compress(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            parser=to_path,
            metavar="IN...",
            help="Image files, folders of them, or a map (MRC); - is stdin.",
        ),
    ],
    out: Out = None,
    force: Force = False,
    quality: Quality = None,
    bpp: Bpp = None,
    tune: Tune = None,
    lossless: Annotated[
        bool, typer.Option("--lossless", help="Keep every pixel; a folder becomes one archive.")
    ] = False,
    frame: Annotated[
        int | None, typer.Option(min=1, help="Number of the frame or page to take, from 1.")
    ] = None,
    effort: Effort = None,
    strip: Strip = False,
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="Leave unreadable pictures out of archives; status 1."),
    ] = False,
    variance: Annotated[
        Path | None,
        typer.Option(metavar="VAR.mrc", help="Of a map: what `reconstruct --variance` wrote."),
    ] = None,
    half_map: Annotated[
        list[Path] | None,
        typer.Option("--half-map", metavar="HALF.mrc", help="Of a map, instead; give it twice."),
    ] = None,
    coder: Coder = None,
    model: Model = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the networks.")] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Processes for many files.  [default: of folders one a core]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Compress images: IN.png becomes IN.lac in the same folder, unless -o names another place.

    -o names a file, or a folder: an existing one, or a new one with a slash at its end. - is
    stdout. Existing files are replaced only with --force. A folder stands for the pictures in it,
    which are compressed by several processes at once; with --lossless it becomes one archive.

    A map is kept as finely as it is known, which --variance or two half maps say.
    """
    if variance or half_map or any(map(is_map, inputs)):
        pictures = {"--bpp": bpp, "--tune": tune, "--lossless": lossless, "--frame": frame}
        pictures |= {"--effort": effort, "--strip": strip, "--coder": coder, "--model": model}
        known_by = (variance, half_map or [])
        compress_map(inputs, out, known_by, quality, pictures, force, as_json)
        return
    check_requests(lossless, quality, bpp, coder, tune)
    folders = [path for path in inputs if is_folder(path)]
    if folders and frame is not None:
        raise InputError(f"{folders[0]} is a folder; --frame is for single files only")
    if jobs is None:
        jobs = core_count() if folders and not lossless else 1
    if not lossless:
        inputs = _list_pictures(inputs, out)
    inputs = list(dict.fromkeys(inputs))
    common: dict[str, Any] = {"model": model, "threads": threads, "effort": effort, "strip": strip}
    options: dict[str, Any] = {"quality": quality, "bpp": bpp, "coder": coder, "tune": tune}
    options |= {"lossless": lossless, "frame": frame}
    outputs = place_outputs(inputs, out, ".lac", as_json)
    make = partial(_compress_one, Writer(inputs, force), options, skip_bad)
    results, good = _compress_all(make, inputs, outputs, common, min(jobs, len(inputs)))
    print_results(results, _describe, as_json)
    if not good:
        raise typer.Exit(1)


def _list_pictures(inputs: Sequence[Path], out: Destination | None) -> list[Path]:
    """The files, and the pictures in the folders.

    Raises:
        InputError: a folder holds no picture, or its files would all have one name.
    """
    found: list[Path] = []
    for path in inputs:
        if not is_folder(path):
            found.append(path)
            continue
        if out is not None and not out.is_folder and out.path.suffix.lower() == ".lac":
            raise InputError(
                f"{path} is a folder: its pictures become files of their own; name a folder "
                "with -o, or make one archive with --lossless"
            )
        from laconic.data.folders import list_images

        found += list_images(path)
    return found


Make = Callable[[dict[str, Any], Path, Path], dict[str, Any]]
"""Options that all files share, source and target -> what `--json` says of the result."""


def _compress_all(
    make: Make, inputs: Sequence[Path], outputs: Sequence[Path], common: dict[str, Any], jobs: int
) -> tuple[list[dict[str, Any]], bool]:
    """Compress all files, by several processes where `jobs` is above 1; see `each`."""
    if jobs == 1:
        return each(
            inputs,
            outputs,
            lambda source, target, tick: make(common | {"progress": tick}, source, target),
            "compressing",
        )
    common = common | {"threads": common["threads"] or 1}
    plan = [(common, source, target) for source, target in zip(inputs, outputs, strict=True)]
    with Local(jobs).in_order(make, plan) as waiting:
        places = dict(zip(inputs, waiting, strict=True))

        def wait(source: Path, target: Path, tick: Tick) -> dict[str, Any]:
            result = places[source]()
            tick(1, 1)
            return result

        return each(inputs, outputs, wait, "compressing")


def _compress_one(
    writer: Writer,
    options: dict[str, Any],
    skip_bad: bool,
    common: dict[str, Any],
    source: Path,
    target: Path,
) -> dict[str, Any]:
    """Compress one file, or a folder into an archive; what `--json` says of it."""
    import laconic
    from laconic.codecs.base import open_file

    writer.check(target)
    start = time.perf_counter()
    with warnings_for(source):
        if is_folder(source):
            data, file, more = _archive(source, skip_bad, common)
        else:
            with as_file(source) as path:
                data = laconic.compress(path, **common, **options)
                file, more = open_file(data), {"input_bytes": path.stat().st_size}
        writer.write(target, data)
        warn_if_larger(data, more["input_bytes"])
    return _result(source, target, file, start) | more


def _archive(
    source: Path, skip_bad: bool, options: dict[str, Any]
) -> "tuple[bytes, Codec, dict[str, Any]]":
    """An archive of a folder, the same opened, and what `--json` says of its inputs."""
    import laconic
    from laconic.codecs.lossless.codec import SkippedWarning
    from laconic.codecs.lossless.file import LosslessFile

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = laconic.archive(source, skip_bad=skip_bad, **options)
    skipped = []
    for warning in caught:
        warnings.warn(warning.message, stacklevel=2)
        if isinstance(warning.message, SkippedWarning):
            skipped.append(str(warning.message))
    file = LosslessFile.read(data)
    size = sum((source / name).stat().st_size for name in file.names)
    said = (
        {"skipped": skipped, "error": f"{len(skipped)} pictures were left out"} if skipped else {}
    )
    return data, file, {"input_bytes": size, **said}


def _describe(result: dict[str, Any]) -> str:
    """The text line of a result."""
    many = f"{result['pictures']:,} pictures, " if result["width"] is None else ""
    note = f"; {result['note']}" if result["note"] else ""
    return (
        f"{many}{result['output_bytes']:,} bytes, {result['bpp']:.3f} bits per pixel, "
        f"{result['seconds']:.1f} s{note}"
    )


def _result(source: Path, target: Path, file: "Codec", start: float) -> dict[str, Any]:
    """What `--json` says of a file; null where a number has no meaning."""
    values = file.describe().to_dict()
    keys = ("width", "height", "pictures", "bpp", "quality", "ideal_bits", "theory_bits", "note")
    return {
        "input": str(source),
        "output": str(target),
        "output_bytes": values["file_bits"] // 8,
        **{key: values.get(key) for key in keys},
        "seconds": time.perf_counter() - start,
    }
