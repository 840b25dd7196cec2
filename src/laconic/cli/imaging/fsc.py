"""`laconic fsc`: the Fourier shell correlation of two maps."""

from pathlib import Path
from typing import Annotated

import typer

from laconic.cli.common import print_json
from laconic.cli.imaging.options import AsJson, PixelSize
from laconic.errors import InputError


def fsc(
    first: Annotated[Path, typer.Argument(metavar="A.mrc", help="A map.")],
    second: Annotated[Path, typer.Argument(metavar="B.mrc", help="Another of the same box.")],
    pixel_size: PixelSize = None,
    as_json: AsJson = False,
) -> None:
    """Compare two maps shell by shell, and name the resolution at 0.5 and at 0.143."""
    import torch

    from laconic.data.microscopy.maps import read_map
    from laconic.metrics.fourier_shells import resolution, shell_correlation

    maps = [read_map(path, pixel_size) for path in (first, second)]
    sizes = [len(found.density) for found in maps]
    if sizes[0] != sizes[1]:
        raise InputError(f"{second}: a box of {sizes[1]} voxels, where {first} has {sizes[0]}")
    scale = maps[0].pixel_size
    if abs(maps[1].pixel_size - scale) > 1e-3 * scale:
        raise InputError(
            f"{second}: pixels of {maps[1].pixel_size:g} angstroms, where {first} has {scale:g}"
        )
    curve = shell_correlation(*(torch.from_numpy(found.density) for found in maps))
    at = {name: resolution(curve, scale, value) for name, value in (("0.5", 0.5), ("0.143", 0.143))}
    if as_json:
        values = [round(float(value), 6) for value in curve]
        print_json({"pixel_size": scale, "resolution": at, "fsc": values})
        return
    for shell, value in enumerate(curve.tolist()):
        if shell:
            typer.echo(f"{sizes[0] * scale / shell:9.2f} A  {value:7.4f}")
    typer.echo(f"0.5 at {at['0.5']:.2f} A, 0.143 at {at['0.143']:.2f} A")
