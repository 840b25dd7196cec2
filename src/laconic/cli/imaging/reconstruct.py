"""`laconic reconstruct`: a volume from images of known pose, with its uncertainty."""

from pathlib import Path
from typing import Annotated

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


def reconstruct(
    star: Annotated[Path, typer.Argument(metavar="PARTICLES.star", help="Particles with poses.")],
    out: OutMap,
    variance: Annotated[
        Path | None,
        typer.Option("--variance", metavar="VAR.mrc", help="Variance of each Fourier coefficient."),
    ] = None,
    half_maps: HalfMaps = False,
    pixel_size: PixelSize = None,
    finest: Finest = None,
    invert: Invert = False,
    ignore_ctf: IgnoreCtf = False,
    prior: Annotated[
        str, typer.Option("--prior", metavar="learned|unit", help="Variance of the coefficients.")
    ] = "learned",
    posterior: Annotated[
        str,
        typer.Option(
            "--posterior",
            metavar="closed-form|gaussian|delta",
            help="gaussian, delta (MAP): by stochastic gradients, as in the source.",
        ),
    ] = "closed-form",
    epochs: Annotated[
        int, typer.Option("--epochs", min=1, help="Of gradients: passes through the images.")
    ] = 30,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="PAGE.html", help="A page with figures, in one file."),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Reconstruct a volume from images of known pose; an interrupted run goes on."""
    writer = Writer([star], force)
    halves = check_outputs(writer, out, half_maps, [variance, report])
    with naming(star):
        from laconic.data.microscopy.maps import map_bytes
        from laconic.data.microscopy.particles import read_particles
        from laconic.evaluation.imaging.reconstruction import (
            Settings,
            check_memory,
            reconstruct,
            summary,
            variance_map,
        )

        settings = Settings(
            finest, invert, not ignore_ctf, prior, posterior=posterior, epochs=epochs
        )
        if report is not None:
            from laconic.evaluation.imaging.page import new_figure, render
            from laconic.evaluation.imaging.views import rotations_of

            new_figure(1, 1)  # what a report needs is missed now, not after the work
        particles = read_particles(star, pixel_size)
        check_memory(particles.size)
        warn_without_optics(star, particles, ignore_ctf)
        saved = out.with_name(out.name + ".partial")
        with progress(f"reconstruct {len(particles)} images") as tick:
            found = reconstruct(particles, settings, saved, tick, tick)
        write_maps(writer, found, out, halves)
        if variance is not None:
            shown = variance_map(found.whole.posterior)
            writer.write(variance, map_bytes(shown, found.pixel_size))
        if report is not None:
            writer.write(report, render(star.name, found, rotations_of(particles)).encode())
    if as_json:
        print_json({"input": str(star), "output": str(out), **summary(found)})
    else:
        typer.echo(
            f"{star} -> {out}  {found.images} images, half sets agree to "
            f"{found.half_resolution:.2f} A, the posterior says {found.posterior_resolution:.2f} A"
        )
