"""`laconic info`: what is inside a .lac file."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from laconic.cli.common import MaxPixels, Tick, as_bytes, each, naming, print_json, shown
from laconic.cli.outputs import to_path
from laconic.cli.tables import table_lines

if TYPE_CHECKING:
    from laconic.codecs.base import FileInfo
    from laconic.codecs.image.file import ImageInfo, LevelInfo
    from laconic.codecs.lossless.info import LosslessInfo
    from laconic.codecs.network.file import NetworkInfo
    from laconic.codecs.volume.file import MapInfo


def info(
    files: Annotated[
        list[Path],
        typer.Argument(parser=to_path, metavar="FILE.lac...", help=".lac files; - is stdin."),
    ],
    as_list: Annotated[
        bool, typer.Option("--list", help="List the pictures of an archive: size, mode, name.")
    ] = False,
    max_pixels: MaxPixels = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Show sizes by section and level, model and coder, bits predicted and bits spent.

    --json prints the object of a single file, and of several {"files": [...]}.
    """
    if len(files) == 1:
        with naming(files[0]):
            values, lines = _look(files[0], as_list, max_pixels)
        if as_json:
            print_json(values)
        else:
            typer.echo("\n".join(lines))
        return

    def work(source: Path, target: Path, tick: Tick) -> dict[str, Any]:
        values, lines = _look(source, as_list, max_pixels)
        if not as_json:
            typer.echo("\n".join(lines))
        return {"input": str(source)} | values

    results, good = each(files, files, work, "reading")
    if as_json:
        print_json({"files": results})
    if not good:
        raise typer.Exit(1)


def _look(file: Path, as_list: bool, max_pixels: int | None) -> tuple[dict[str, Any], list[str]]:
    """What `--json` says of a file, and what people read.

    Raises:
        LaconicError: it cannot be read, has a picture of more pixels than allowed, or is no archive
            whose pictures could be listed.
    """
    from laconic.codecs.base import Content, check_pixels, open_file

    opened = open_file(as_bytes(file))
    found = opened.describe()
    if max_pixels is not None:
        for width, height in opened.picture_sizes():
            check_pixels(width, height, max_pixels)
    values = found.to_dict()
    if as_list:
        from laconic.codecs.lossless.file import LosslessFile

        opened.expect(Content.ARCHIVE)
        assert isinstance(opened, LosslessFile)
        pictures = [asdict(picture) for picture in opened.list_pictures()]
        rows = [f"{p['width']:>7} x {p['height']:<7} {p['mode']:<7} {p['name']}" for p in pictures]
        return values | {"contents": pictures}, rows
    return values, LINES.get(opened.id, _describe_any)(shown(file), found)


def _describe_any(file: str, found: "FileInfo") -> list[str]:
    """The lines that people read of every kind of file."""
    line = f"{file}: {found.file_bits // 8:,} bytes, codec {found.codec}"
    return [line, *_list_sections(found.sections)]


def _describe_network(file: str, found: "NetworkInfo") -> list[str]:
    """The lines that people read of a file of weights."""
    sizes = found.file_bits // 8, found.raw_bits // 8
    lines = [
        f"{file}: {len(found.tensors)} tensors, {found.numbers:,} numbers",
        f"file  {sizes[0]:>14,} bytes, {sizes[0] / max(sizes[1], 1):.1%} of {sizes[1]:,}, "
        f"{found.bits_per_number:.3f} bits per number",
        "",
    ]
    rows = [
        (
            f"{row.bytes:,}",
            row.method,
            row.dtype,
            "x".join(map(str, row.shape)) or "scalar",
            row.name,
        )
        for row in found.tensors
    ]
    return lines + table_lines(("bytes", "kept", "type", "shape", "name"), rows)


def _describe_image(file: str, found: "ImageInfo") -> list[str]:
    """The lines that people read of a lossy picture."""
    nats = found.ideal_bits * math.log(2)
    overhead = found.file_bits / found.ideal_bits - 1 if found.ideal_bits else math.nan
    lines = [
        f"{file}: {found.width} x {found.height} {found.mode}, quality {found.quality:g}",
        f"codec {found.codec}, coder {found.coder}, model {found.model} ({found.fingerprint})"
        + (f", tuned for {found.tune}" if found.tune else ""),
        f"file    {found.file_bits:>12,} bits = {found.file_bits // 8:,} bytes "
        f"= {found.bpp:.4f} bits per pixel",
        f"ideal   {found.ideal_bits:>12,} bits = {nats:,.0f} nats (KL); the file is "
        f"{overhead:+.1%}",
        f"theory  {found.theory_bits:>12,} bits (the coder's own expectation)",
    ]
    if found.tiles > 1:
        lines.append(f"{found.tiles} tiles")
    rows = [
        (
            str(number),
            level.coder,
            f"{level.bits:,}",
            f"{level.prefix_bytes:,}",
            *_level_costs(level),
        )
        for number, level in enumerate(found.levels)
    ]
    heads = ["level", "coder", "written bits", "shown with bytes"]
    if any(level.parts for level in found.levels):
        heads += ["ideal bits", "theory bits", "parts, bits"]
    return lines + _list_sections(found.sections) + table_lines(heads, rows)


def _level_costs(level: "LevelInfo") -> list[str]:
    """What a level cost, where the file says so."""
    if not level.parts:
        return []
    parts = ", ".join(f"{name} {bits:,}" for name, bits in level.parts.items())
    return [f"{level.ideal_bits:,}", f"{level.theory_bits:,}", parts]


def _list_sections(sections: Mapping[str, int]) -> list[str]:
    """The table of a file's sections, a blank line before and after it."""
    rows = [(name, f"{bits:,}") for name, bits in sections.items()]
    return ["", *table_lines(("section", "bits"), rows), ""]


def _describe_lossless(file: str, found: "LosslessInfo") -> list[str]:
    """The lines that people read of lossless pictures."""
    what = f"{found.width} x {found.height} {found.mode}"
    if found.archive:
        what = f"archive of {found.pictures:,} pictures"
    lines = [f"{file}: {what}, lossless"]
    model = "no model" if found.model is None else f"model {found.model} ({found.fingerprint})"
    lines += [
        f"codec {found.codec}, {model}",
        f"file    {found.file_bits:>14,} bits = {found.file_bits // 8:,} bytes "
        f"= {found.bits_per_sample:.4f} bits per sample",
    ]
    if found.note is not None:
        lines.append(found.note)
    if found.model is not None:
        lines += [
            f"ideal   {found.ideal_bits:>14,} bits (negative evidence lower bound)",
            f"theory  {found.theory_bits:>14,} bits (the coder's integers, without initial bits)",
            f"starts  {found.start_bits:>14,} bits (latents coded without borrowed bits)",
            f"chains  {found.chain_bits:>14,} bits",
        ]
    if found.direct_bits:
        lines.append(f"direct  {found.direct_bits:>14,} bits (pictures coded without the model)")
    rows = [
        (
            f"{kind.pictures:,}",
            f"{kind.width} x {kind.height}",
            kind.mode,
            f"{kind.bits:,}",
            f"{kind.chains:,}",
            kind.method,
        )
        for kind in found.kinds
    ]
    heads = ("pictures", "width x height", "mode", "bits", "chains", "coded by")
    return lines + _list_sections(found.sections) + table_lines(heads, rows)


def _describe_map(file: str, found: "MapInfo") -> list[str]:
    """The lines that people read of a map."""
    pixel = f" of {found.pixel_size:g} angstroms" if found.pixel_size else ""
    plain = found.size**3 * found.bytes_per_number
    return [
        f"{file}: a map of {found.size} x {found.size} x {found.size} voxels{pixel}",
        f"file    {found.file_bits // 8:>12,} bytes, {found.file_bits / 8 / plain:.1%} of "
        f"{plain:,} ({found.numbers}), {found.bits_per_voxel:.3f} bits per voxel",
        f"ideal   {(found.ideal_bits or 0) // 8:>12,} bytes (KL of a draw with the same noise)",
        f"noise takes the correlation with the truth down by at most {found.loss:g} in each shell",
        *_list_sections(found.sections),
    ]


LINES: Final[dict[str, Callable[[str, Any], list[str]]]] = {
    "image": _describe_image,
    "lossless": _describe_lossless,
    "network": _describe_network,
    "map": _describe_map,
}
"""What people read of a file, by codec."""
