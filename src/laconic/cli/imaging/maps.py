"""Maps of densities: MRC files to .lac files and back, for `laconic compress` and `decompress`."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from laconic.cli.common import naming, print_result, progress, warn_if_larger, warnings_for
from laconic.cli.outputs import STDIO, Destination, Writer, place_outputs
from laconic.errors import InputError

if TYPE_CHECKING:
    from laconic.codecs.base import Codec, Decoding

ENDINGS: Final = (".mrc", ".map", ".ccp4", ".mrc.gz", ".map.gz", ".mrc.bz2", ".map.bz2")
"""Of the names of maps."""


def is_map(path: Path) -> bool:
    """Whether a name is that of a map."""
    return path.name.lower().endswith(ENDINGS)


def compress_map(
    inputs: Sequence[Path],
    out: Destination | None,
    known_by: tuple[Path | None, Sequence[Path]],
    quality: float | None,
    others: dict[str, Any],
    force: bool,
    as_json: bool,
) -> None:
    """Compress one map.

    Args:
        inputs: the map alone.
        out: the value of -o.
        known_by: the variances' file, and the files of half maps.
        quality: 1 to 100; None: 50.
        others: options for pictures, by name, which must not be given.
        force: whether a file that exists is replaced.
        as_json: print the result as JSON.

    Raises:
        InputError: there are several inputs, or files cannot be read or written.
        typer.BadParameter: an option for pictures is given.
    """
    import laconic

    if len(inputs) > 1:
        raise InputError(f"{inputs[0]} is a map: compress it alone, with its own variance")
    if given := [name for name, value in others.items() if value not in (None, False)]:
        raise typer.BadParameter(f"{given[0]} is for pictures; a map takes --quality")
    (source,), (variance, halves) = inputs, known_by
    if len(halves) not in (0, 2):
        raise typer.BadParameter("give --half-map twice, once for each half")
    target = place_outputs(inputs, out, ".lac", as_json)[0]
    writer = Writer([source, *halves, *([variance] if variance else [])], force)
    writer.check(target)
    start = time.perf_counter()
    with naming(source), warnings_for(source):
        with progress("compressing 1 file") as tick:
            data = laconic.compress_map(
                source,
                variance=variance,
                half_maps=(halves[0], halves[1]) if halves else None,
                quality=50 if quality is None else quality,
                progress=tick,
            )
        writer.write(target, data)
        warn_if_larger(data, source.stat().st_size)
    info = laconic.open(data).info.to_dict()
    result = {
        "input": str(source),
        "output": str(target),
        "input_bytes": source.stat().st_size,
        "output_bytes": len(data),
        **{key: info[key] for key in ("size", "bits_per_voxel", "loss", "ideal_bits")},
        "seconds": time.perf_counter() - start,
    }
    text = f"{len(data):,} bytes, {info['bits_per_voxel']:.3f} bits per voxel"
    print_result(result, text, as_json)


def decompress_map(
    source: Path, file: "Codec", target: Path, writer: Writer, how: "Decoding"
) -> dict[str, Any]:
    """Decode a map to an MRC file; what `--json` says of it.

    Args:
        source: the .lac file.
        file: the same, opened.
        target: the MRC file.
        writer: writes it.
        how: it is decoded.

    Raises:
        InputError: the target is named like a file of another kind.
    """
    if target != STDIO and not is_map(target):
        raise InputError(
            f"{source} holds a map; name an MRC file with -o, such as {source.stem}.mrc"
        )
    start = time.perf_counter()
    writer.check(target)
    found = next(item for _, item in file.decode(how))
    writer.write(target, found.to_bytes())
    return {
        "input": str(source),
        "output": str(target),
        "size": len(found.density),
        "pixel_size": found.pixel_size,
        "seconds": time.perf_counter() - start,
    }
