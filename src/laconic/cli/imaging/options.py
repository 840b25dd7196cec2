"""What `reconstruct` and `refine` share: options, names of half maps, and writing of maps."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from laconic.cli.common import warn
from laconic.cli.outputs import Writer

if TYPE_CHECKING:
    from laconic.data.microscopy.particles import Particles
    from laconic.evaluation.imaging.reconstruction import Reconstruction

OutMap = Annotated[Path, typer.Option("-o", "--out", metavar="MAP.mrc", help="The volume.")]
HalfMaps = Annotated[
    bool, typer.Option("--half-maps", help="Write the volumes of both half sets, too.")
]
PixelSize = Annotated[
    float | None, typer.Option("--pixel-size", help="In angstroms, if the file names none.")
]
Finest = Annotated[
    float | None, typer.Option("--finest", metavar="A", help="Use no finer wavelengths.")
]
Invert = Annotated[bool, typer.Option("--invert", help="The particles are black in the images.")]
IgnoreCtf = Annotated[
    bool, typer.Option("--ignore-ctf", help="Do not correct the transfer function.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def check_outputs(
    writer: Writer, out: Path, half_maps: bool, others: Iterable[Path | None]
) -> list[Path]:
    """Refuse outputs that cannot be written; the paths of the half maps.

    Args:
        writer: of the command.
        out: the map.
        half_maps: whether those of the half sets are written, too.
        others: further outputs; None: not requested.
    """
    halves = [out.with_name(f"{out.stem}-half{n}.mrc") for n in (1, 2)] if half_maps else []
    for path in (out, *others, *halves):
        if path is not None:
            writer.check(path)
    return halves


def warn_without_optics(star: Path, particles: "Particles", ignore_ctf: bool) -> None:
    """Warn where the transfer function should be corrected and is not known."""
    if particles.optics is None and not ignore_ctf:
        warn(f"{star}: it names no defocus; the images are taken as they are")


def write_maps(writer: Writer, found: "Reconstruction", out: Path, halves: list[Path]) -> None:
    """Write the volume of all images, and those of the half sets."""
    from laconic.data.microscopy.maps import map_bytes

    volumes = (found.whole.posterior.volume(), *found.halves)
    for path, volume in zip((out, *halves), volumes, strict=False):
        writer.write(path, map_bytes(volume.numpy(), found.pixel_size))
