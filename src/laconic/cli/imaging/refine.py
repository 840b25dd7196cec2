"""`laconic refine`: a volume and the poses of its images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from laconic.cli.common import naming, print_json, progress
from laconic.cli.imaging.options import (
    AsJson,
    Finest,
    HalfMaps,
    IgnoreCtf,
    Invert,
    OutMap,
    PixelSize,
    check_outputs,
    warn_without_optics,
    write_maps,
)
from laconic.cli.outputs import Force, Writer
from laconic.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def refine(
    particles_star: Annotated[Path, typer.Argument(metavar="PARTICLES.star", help="Particles.")],
    out: OutMap,
    initial: Annotated[
        Path, typer.Option("--initial", metavar="MAP.mrc", help="A map to start from.")
    ],
    star: Annotated[
        Path | None,
        typer.Option("--star", metavar="REFINED.star", help="The particles with their poses."),
    ] = None,
    group: Annotated[
        str,
        typer.Option(
            "--symmetry",
            metavar="C1|C7|D7|T|O|I1|...",
            help="The main axis is z; polyhedra as in RELION.",
        ),
    ] = "C1",
    low_pass: Annotated[
        float, typer.Option("--low-pass", metavar="A", help="Finest of the map to start from.")
    ] = 40.0,
    shifts: Annotated[
        float, typer.Option("--shifts", metavar="A", help="Largest shift from the file's origins.")
    ] = 10.0,
    angle: Annotated[
        float, typer.Option("--angle", help="Spacing of the first grid, in degrees.")
    ] = 7.5,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="At most so many.")] = 10,
    half_maps: HalfMaps = False,
    pixel_size: PixelSize = None,
    finest: Finest = None,
    invert: Invert = False,
    ignore_ctf: IgnoreCtf = False,
    independent: Annotated[
        bool,
        typer.Option("--independent-halves", help="Search half sets in volumes of their own."),
    ] = False,
    whole_box: Annotated[
        bool, typer.Option("--whole-box", help="The volume may fill the box; no support is used.")
    ] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Find the poses of images and their volume; an interrupted run goes on."""
    writer = Writer([particles_star, initial], force)
    halves = check_outputs(writer, out, half_maps, [star])
    with naming(particles_star):
        from laconic.data.microscopy.particles import read_particles, star_with_poses
        from laconic.evaluation.imaging import reconstruction, refinement
        from laconic.imaging.poses.rounds import PARTS

        settings = refinement.Settings(
            group, low_pass, shifts, angle, rounds, finest, invert, not ignore_ctf,
            independent, not whole_box,
        )  # fmt: skip
        particles = read_particles(particles_star, pixel_size)
        reconstruction.check_memory(particles.size, sums=PARTS)
        volume = _first_map(initial, pixel_size, particles.pixel_size)
        warn_without_optics(particles_star, particles, ignore_ctf)
        saved = out.with_name(out.name + ".partial")
        with progress(f"search the poses of {len(particles)} images") as tick:
            found, refined = refinement.refine(particles, volume, settings, saved, tick)
        write_maps(writer, found, out, halves)
        if star is not None:
            posed, extra = refinement.posed(particles, refined.poses)
            writer.write(star, star_with_poses(particles_star, star, posed, extra).encode())
    facts = reconstruction.summary(found) | refinement.summary(refined)
    if as_json:
        print_json({"input": str(particles_star), "output": str(out), **facts})
    else:
        typer.echo(
            f"{particles_star} -> {out}  {found.images} images, half sets agree to "
            f"{found.half_resolution:.2f} A, poses to {facts['pose_spread_degrees']:.2f} degrees"
        )


def _first_map(path: Path, named: float | None, pixel_size: float) -> "NDArray[np.float32]":
    """The density of a map whose pixels are those of the images.

    Args:
        path: of the map.
        named: its pixel size in angstroms, if the file names none.
        pixel_size: of the images.

    Raises:
        InputError: pixels differ.
    """
    from laconic.data.microscopy.maps import read_map

    found = read_map(path, named)
    if abs(found.pixel_size - pixel_size) > 1e-2 * pixel_size:
        raise InputError(
            f"{path}: pixels of {found.pixel_size:g} angstroms, where the images have "
            f"{pixel_size:g}"
        )
    return found.density
