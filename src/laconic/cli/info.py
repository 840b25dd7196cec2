"""`laconic info`: what is inside a .lac file."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from laconic.cli.common import naming, print_json

if TYPE_CHECKING:
    from laconic.codecs.info import FileInfo
    from laconic.codecs.lossless_info import LosslessInfo


def info(
    file: Annotated[Path, typer.Argument(metavar="FILE.lac", help="A .lac file.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Show sizes by section and level, model and coder, bits predicted and bits spent."""
    from laconic.codecs import manifest
    from laconic.codecs.info import FileInfo, describe_any
    from laconic.codecs.network import NetworkFile, summary
    from laconic.container import read_bytes, unpack

    with naming(file):
        data = read_bytes(file)
        if unpack(data).codec == manifest.CODEC:
            values = summary(NetworkFile.open(data), len(data))
            lines = _describe_network(file, values)
        else:
            found = describe_any(data)
            values = found.to_dict()
            if isinstance(found, FileInfo):
                lines = _describe(file, found)
            else:
                lines = _describe_lossless(file, found)
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


def _describe_lossless(file: Path, found: "LosslessInfo") -> list[str]:
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
