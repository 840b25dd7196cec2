"""`laconic shrink` and `laconic expand`: the weights of a network to a .lac file and back."""

import time
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from laconic.cli.common import (
    as_bytes,
    as_file,
    naming,
    print_result,
    progress,
    warn_if_larger,
    warnings_for,
)
from laconic.cli.lists import split_list
from laconic.cli.outputs import Force, Out, Writer, place_outputs, to_path

ONLY_ONE = "give only one of --tolerance, --bits-per-weight, --lossless, --codebook"


def shrink(
    weights: Annotated[
        Path,
        typer.Argument(
            parser=to_path,
            metavar="WEIGHTS.safetensors",
            help="A safetensors file, an index of shards (model.safetensors.index.json), or a "
            "folder of them; - is stdin.",
        ),
    ],
    out: Out = None,
    force: Force = False,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(
            metavar="T|PATTERN=T",
            help="Largest relative error of a tensor; repeated or separated by commas for "
            "tensors by name, as in 'head.*=0.002'.  [default: 0.01]",
        ),
    ] = None,
    bits_per_weight: Annotated[
        float | None, typer.Option(help="Most bits per number of the file.")
    ] = None,
    lossless: Annotated[bool, typer.Option("--lossless", help="Keep every bit.")] = False,
    codebook: Annotated[
        int | None,
        typer.Option(
            metavar="VALUES",
            help="Values per large tensor, 1 to 255, found by k-means; every weight takes the "
            "nearest, zeros stay zeros.",
        ),
    ] = None,
    report: Annotated[
        bool,
        typer.Option(
            "--report", help="List the error of every tensor, and its worst row and column."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Shrink a network's weights: no data, no training; shapes, types and names are kept.

    NET.safetensors becomes NET.lac in the same folder, unless -o names another place; - is stdout.
    """
    tolerances = _tolerances(tolerance or [])
    requests = (bool(tolerances), bits_per_weight is not None, lossless, codebook is not None)
    if sum(requests) > 1:
        raise typer.BadParameter(ONLY_ONE)
    import laconic
    from laconic.data.weights.shards import find_shards

    start = time.perf_counter()
    files = find_shards(weights).files
    writer = Writer([weights, *files], force)
    (target,) = place_outputs([weights], out, ".lac", as_json)
    writer.check(target)
    with (
        warnings_for(weights), naming(weights), progress("shrinking") as tick,
        as_file(weights) as path,
    ):  # fmt: skip
        size = sum(file.stat().st_size for file in (files if path == weights else [path]))
        data = laconic.shrink(
            path,
            tolerance=tolerances or None,
            bits_per_weight=bits_per_weight,
            lossless=lossless,
            codebook=codebook,
            progress=tick,
        )
        errors = _measure(path, data) if report else []
    writer.write(target, data)
    with warnings_for(weights):
        warn_if_larger(data, size)
    result: dict[str, Any] = {
        "input": str(weights),
        "output": str(target),
        "input_files": len(files),
        "input_bytes": size,
        "output_bytes": len(data),
        "seconds": time.perf_counter() - start,
    }
    if report:
        result["tensors"] = errors
    print_result(result, _describe(result), as_json)


def _describe(result: dict[str, Any]) -> str:
    """The text of a result, after the names of its files."""
    written, read = result["output_bytes"], result["input_bytes"]
    text = f"{written:,} bytes, {written / read:.1%} of {read:,}, {result['seconds']:.1f} s"
    if result["input_files"] > 1:
        text += f"; laconic expand makes one safetensors file of the {result['input_files']}"
    return "\n".join([text, *_lines(result["tensors"])]) if "tensors" in result else text


def _measure(path: Path, data: bytes) -> list[dict[str, Any]]:
    """The error of every tensor, for `--json`."""
    from dataclasses import asdict

    from laconic.codecs.network.file import NetworkFile
    from laconic.codecs.network.tensor_errors import measure_errors
    from laconic.data.weights.tensors import open_weights

    with warnings.catch_warnings():  # Those of the file have been given when it was shrunk.
        warnings.simplefilter("ignore", UserWarning)
        source, _ = open_weights(path)
    return [asdict(error) for error in measure_errors(source, NetworkFile.read(data))]


def _lines(errors: list[dict[str, Any]]) -> list[str]:
    """A table: the error of each tensor, and its worst row and column with their errors."""
    head = ["tensor", "kept", "error", "worst row", "worst column"]
    rows = [
        [
            one["name"],
            one["method"].replace("_", " "),
            f"{one['error']:.3g}",
            *(
                f"{w['error']:.3g} ({w['index']})" if w else "-"
                for w in (one["row"], one["column"])
            ),
        ]
        for one in errors
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]


def _tolerances(texts: list[str]) -> dict[str, float]:
    """Numbers by pattern, in such an order that the last matching pattern counts.

    A number without a pattern is for all tensors that match no pattern, and comes first.
    """
    general, found = 0.01, dict[str, float]()
    for text in split_list(texts):
        pattern, _, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            raise typer.BadParameter(f"--tolerance {text}: {number!r} is not a number") from None
        if pattern:
            found.pop(pattern, None)  # A repeated pattern moves to the end.
            found[pattern] = value
        else:
            general = value
    if texts and "*" not in found:
        found = {"*": general, **found}
    return found


def expand(
    file: Annotated[
        Path,
        typer.Argument(
            parser=to_path, metavar="IN.lac", help="A .lac file of weights; - is stdin."
        ),
    ],
    out: Out = None,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Expand a .lac file of weights to a safetensors file.

    NET.lac becomes NET.safetensors in the same folder, unless -o names another place; - is stdout.
    An existing file, such as the original weights, is replaced only with --force.
    """
    from laconic.codecs.base import Decoding
    from laconic.codecs.network.file import NetworkFile
    from laconic.data.weights.tensors import encode_weights

    start = time.perf_counter()
    writer = Writer([file], force)
    (target,) = place_outputs([file], out, ".safetensors", as_json)
    writer.check(target)
    with naming(file), progress("expanding") as tick:
        network = NetworkFile.read(as_bytes(file))
        tensors = (tensor for _, tensor in network.decode(Decoding(progress=tick)))
        layout = [(e.name, e.dtype, e.shape, e.size_bytes) for e in network.entries]
        size = writer.write(target, encode_weights(layout, tensors, network.metadata))
    result = {
        "input": str(file),
        "output": str(target),
        "tensors": len(network.entries),
        "output_bytes": size,
        "seconds": time.perf_counter() - start,
    }
    text = f"{len(network.entries)} tensors, {size:,} bytes, {result['seconds']:.1f} s"
    print_result(result, text, as_json)
