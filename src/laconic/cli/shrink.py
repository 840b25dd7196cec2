"""`laconic shrink` and `laconic expand`: the weights of a network to a .lac file and back."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from laconic.cli.common import Tick, naming, place_outputs, print_json, progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from laconic.codecs.network import NetworkFile


def shrink(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS.safetensors", help="Weights.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The .lac file.")] = None,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(
            metavar="T|PATTERN=T",
            help="Relative error that a tensor may have; repeat for tensors by name, "
            "as in 'head.*=0.002'.  [default: 0.01]",
        ),
    ] = None,
    bits_per_weight: Annotated[
        float | None, typer.Option(help="Bits per number of the file, not exceeded.")
    ] = None,
    lossless: Annotated[bool, typer.Option("--lossless", help="Keep every bit.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Shrink a network's weights: no data, no training; shapes, types and names are kept."""
    tolerances = _tolerances(tolerance or [])
    if bool(tolerances) + (bits_per_weight is not None) + lossless > 1:
        raise typer.BadParameter("give one of --tolerance, --bits-per-weight and --lossless")
    import laconic
    from laconic.container import write_atomically

    start = time.perf_counter()
    (target,) = place_outputs([weights], out, ".lac")
    with naming(weights), progress("shrinking") as tick:
        data = laconic.shrink(
            weights,
            tolerance=tolerances or None,
            bits_per_weight=bits_per_weight,
            lossless=lossless,
            progress=tick,
        )
    write_atomically(target, data)
    size = weights.stat().st_size
    result: dict[str, Any] = {
        "input": str(weights),
        "output": str(target),
        "input_bytes": size,
        "output_bytes": len(data),
        "seconds": time.perf_counter() - start,
    }
    if as_json:
        print_json(result)
    else:
        typer.echo(
            f"{weights} -> {target}  {len(data):,} bytes, {len(data) / size:.1%} of {size:,}, "
            f"{result['seconds']:.1f} s"
        )


def _tolerances(texts: list[str]) -> dict[str, float]:
    """Numbers by pattern, in the order in which the last pattern that fits counts.

    A number alone is for all tensors that no pattern fits, and comes first.
    """
    general, found = 0.01, dict[str, float]()
    for text in texts:
        pattern, _, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            raise typer.BadParameter(f"--tolerance {text}: {number!r} is no number") from None
        if pattern:
            found.pop(pattern, None)  # One that is given again moves to the end.
            found[pattern] = value
        else:
            general = value
    if texts and "*" not in found:
        found = {"*": general, **found}
    return found


def _ticking(network: "NetworkFile", tick: Tick) -> "Iterator[Tensor]":
    """The tensors, telling of each as it is asked for."""
    for index, (_, tensor) in enumerate(network.tensors()):
        tick(index, len(network.entries))
        yield tensor


def expand(
    file: Annotated[Path, typer.Argument(metavar="IN.lac", help="A .lac file of weights.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The .safetensors file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Expand a .lac file of weights to a safetensors file."""
    from laconic.codecs.network import NetworkFile
    from laconic.container import read_bytes, write_atomically
    from laconic.data.weights import encode_weights

    start = time.perf_counter()
    (target,) = place_outputs([file], out, ".safetensors")
    with naming(file), progress("expanding") as tick:
        network = NetworkFile.open(read_bytes(file))
        tensors = _ticking(network, tick)
        layout = [(e.name, e.dtype, e.shape, e.size_bytes) for e in network.entries]
        write_atomically(target, encode_weights(layout, tensors, network.metadata))
    result = {
        "input": str(file),
        "output": str(target),
        "tensors": len(network.entries),
        "output_bytes": target.stat().st_size,
        "seconds": time.perf_counter() - start,
    }
    if as_json:
        print_json(result)
    else:
        typer.echo(
            f"{file} -> {target}  {len(network.entries)} tensors, {result['output_bytes']:,} "
            f"bytes, {result['seconds']:.1f} s"
        )
