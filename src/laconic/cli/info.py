"""`laconic info`: what is inside a .lac file."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from laconic.cli.common import Tick, as_bytes, each, naming, print_json, shown
from laconic.cli.outputs import to_path

if TYPE_CHECKING:
    from laconic.codecs.info import FileInfo
    from laconic.codecs.lossless.info import LosslessInfo


def info(
    files: Annotated[
        list[Path],
        typer.Argument(parser=to_path, metavar="FILE.lac...", help=".lac files; - is stdin."),
    ],
    as_list: Annotated[
        bool, typer.Option("--list", help="List the pictures of an archive: size, mode, name.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Show sizes by section and level, model and coder, bits predicted and bits spent.

    --json prints the object of a single file, and of several {"files": [...]}.
    """
    if len(files) == 1:
        with naming(files[0]):
            values, lines = _look(files[0], as_list)
        if as_json:
            print_json(values)
        else:
            typer.echo("\n".join(lines))
        return

    def work(source: Path, target: Path, tick: Tick) -> dict[str, Any]:
        values, lines = _look(source, as_list)
        if not as_json:
            typer.echo("\n".join(lines))
        return {"input": str(source)} | values

    results, good = each(files, files, work, "reading")
    if as_json:
        print_json({"files": results})
    if not good:
        raise typer.Exit(1)


def _look(file: Path, as_list: bool) -> tuple[dict[str, Any], list[str]]:
    """What `--json` says of a file, and what people read.

    Raises:
        LaconicError: it cannot be read, or is no archive whose pictures could be listed.
    """
    from laconic.codecs.info import FileInfo, describe_any
    from laconic.codecs.lossless.info import list_pictures
    from laconic.codecs.network import manifest
    from laconic.codecs.network.codec import NetworkFile, summary
    from laconic.container import unpack

    data = as_bytes(file)
    if as_list:
        pictures = [asdict(picture) for picture in list_pictures(data)]
        rows = [f"{p['width']:>7} x {p['height']:<7} {p['mode']:<5} {p['name']}" for p in pictures]
        return describe_any(data).to_dict() | {"contents": pictures}, rows
    name = shown(file)
    if unpack(data).codec == manifest.CODEC:
        values = summary(NetworkFile.open(data), len(data))
        return values, _describe_network(name, values)
    found = describe_any(data)
    if isinstance(found, FileInfo):
        return found.to_dict(), _describe(name, found)
    return found.to_dict(), _describe_lossless(name, found)


def _describe_network(file: str, values: dict[str, Any]) -> list[str]:
    """The lines that people read of a file of weights."""
    sizes = values["file_bits"] // 8, values["raw_bits"] // 8
    lines = [
        f"{file}: {len(values['tensors'])} tensors, {values['numbers']:,} numbers",
        f"file  {sizes[0]:>14,} bytes, {sizes[0] / max(sizes[1], 1):.1%} of {sizes[1]:,}, "
        f"{values['bits_per_number']:.3f} bits per number",
        "  bytes         kept       type   shape, name",
    ]
    for row in values["tensors"]:
        shape = "x".join(map(str, row["shape"])) or "scalar"
        lines.append(
            f"  {row['bytes']:<12,}  {row['method']:<9}  {row['dtype']:<5}  {shape}  {row['name']}"
        )
    return lines


def _describe(file: str, found: "FileInfo") -> list[str]:
    """The lines that people read."""
    nats = found.ideal_bits * math.log(2)
    overhead = found.file_bits / found.ideal_bits - 1 if found.ideal_bits else math.nan
    lines = [
        f"{file}: {found.width} x {found.height} {found.mode}, quality {found.quality:g}",
        f"codec {found.codec}, coder {found.coder}, model {found.model} ({found.fingerprint})",
        f"file    {found.file_bits:>12,} bits = {found.file_bits // 8:,} bytes "
        f"= {found.bpp:.4f} bits per pixel",
        f"ideal   {found.ideal_bits:>12,} bits = {nats:,.0f} nats (KL); the file is "
        f"{overhead:+.1%}",
        f"theory  {found.theory_bits:>12,} bits (the coder's own expectation)",
    ]
    if found.tiles > 1:
        lines.append(f"{found.tiles} tiles")
    lines.append("section             bits")
    lines += [f"  {name:<12}{bits:>10,}" for name, bits in found.sections.items()]
    lines.append("level  coder            ideal      theory     written  parts")
    for number, level in enumerate(found.levels):
        parts = ", ".join(f"{name} {bits:,}" for name, bits in level.parts.items())
        lines.append(
            f"  {number:<3}  {level.coder:<12}{level.ideal_bits:>10,}{level.theory_bits:>12,}"
            f"{level.bits:>12,}  {parts}"
        )
    return lines


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
    lines.append("section               bits")
    lines += [f"  {name:<12}{bits:>12,}" for name, bits in found.sections.items()]
    lines.append("pictures  width x height  mode        bits  chains  coded by")
    for kind in found.kinds:
        size = f"{kind.width} x {kind.height}"
        lines.append(
            f"  {kind.pictures:>6,}  {size:>14}  {kind.mode:<4}{kind.bits:>12,}  {kind.chains:>6,}"
            f"  {kind.method}"
        )
    return lines
