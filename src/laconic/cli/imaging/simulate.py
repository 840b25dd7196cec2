"""`laconic simulate`: images of an atomic model, as an electron microscope would take them."""

from pathlib import Path
from typing import Annotated

import typer

from laconic.cli.common import naming, print_json, progress
from laconic.cli.imaging.options import AsJson
from laconic.cli.outputs import Force, Writer


def simulate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A PDB or mmCIF file.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="PARTICLES.mrcs", help="The stack.")],
    star: Annotated[
        Path, typer.Option("--star", metavar="PARTICLES.star", help="Poses, shifts and optics.")
    ],
    box: Annotated[int, typer.Option("--box", min=8, help="Size of the images, in pixels.")] = 128,
    pixel_size: Annotated[
        float, typer.Option("--pixel-size", help="Of a pixel, in angstroms.")
    ] = 2.8,
    number: Annotated[int, typer.Option("--number", min=1, help="Of images.")] = 1000,
    snr: Annotated[
        float | None,
        typer.Option("--snr", help="Variance of the images over that of the noise."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of poses, shifts and noise.")] = 1,
    poses: Annotated[
        str,
        typer.Option("--poses", metavar="uniform|cone|FILE", help="Or a STAR or Frealign file."),
    ] = "uniform",
    cone: Annotated[
        float, typer.Option("--cone", help="Half angle of the cone of beams, in degrees.")
    ] = 15.0,
    shifts: Annotated[
        float, typer.Option("--shifts", metavar="A", help="Largest shift, in angstroms.")
    ] = 0.0,
    ctf: Annotated[
        Path | None,
        typer.Option("--ctf", metavar="FILE", help="Defocus of each image, from such a file."),
    ] = None,
    atom_width: Annotated[
        float | None,
        typer.Option("--atom-width", help="Standard deviation in angstroms; default 0.6 pixels."),
    ] = None,
    volume: Annotated[
        Path | None, typer.Option("--volume", metavar="MAP.mrc", help="Write the density, too.")
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Simulate images of a molecule: projections in random poses, shifts, CTF, noise."""
    writer = Writer([model], force)
    for path in (out, star, volume):
        if path is not None:
            writer.check(path)
    with naming(model):
        from laconic.evaluation.imaging.simulation import Request, run

        request = Request(
            box=box,
            pixel_size=pixel_size,
            number=number,
            snr=snr,
            seed=seed,
            poses=poses,
            cone=cone,
            shifts=shifts,
            ctf=ctf,
            atom_width=atom_width,
        )
        with progress(f"simulate {number} images") as tick:
            result = run(model, request, tick)
            if volume is not None:
                writer.write(volume, result.map_bytes)
            size = writer.write(out, result.stack)
            writer.write(star, result.star(out, star).encode())
    facts = {
        "input": str(model),
        "output": str(out),
        "star": str(star),
        "images": number,
        "file_bytes": size,
        "noise": result.noise,
    }
    if as_json:
        print_json(facts)
    else:
        typer.echo(f"{model} -> {out}, {star}  {number} images, noise {result.noise:.4g}")
