"""`laconic info`: what is inside a .lac file."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from laconic.cli.common import naming, print_json

if TYPE_CHECKING:
    from laconic.codecs.info import FileInfo


def info(
    file: Annotated[Path, typer.Argument(metavar="FILE.lac", help="A .lac file.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Show sizes by section and level, model and coder, bits predicted and bits spent."""
    from laconic.codecs import manifest
    from laconic.codecs.info import describe
    from laconic.codecs.network import NetworkFile, summary
    from laconic.container import read_bytes, unpack

    with naming(file):
        data = read_bytes(file)
        if unpack(data).codec == manifest.CODEC:
            values = summary(NetworkFile.open(data), len(data))
            lines = _describe_network(file, values)
        else:
            found = describe(data)
            values, lines = found.to_dict(), _describe(file, found)
    if as_json:
        print_json(values)
        return
    for line in lines:
        typer.echo(line)


def _describe_network(file: Path, values: dict[str, Any]) -> list[str]:
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


def _describe(file: Path, found: "FileInfo") -> list[str]:
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
