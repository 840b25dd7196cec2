"""`laconic reconstruct`: a volume from images of known pose, with its uncertainty."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from laconic.cli.common import naming, print_json, progress, warn
from laconic.cli.outputs import Force, Writer

if TYPE_CHECKING:
    from laconic.evaluation.imaging.reconstruction import Reconstruction


def reconstruct(
    star: Annotated[Path, typer.Argument(metavar="PARTICLES.star", help="Particles with poses.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="MAP.mrc", help="The volume.")],
    variance: Annotated[
        Path | None,
        typer.Option("--variance", metavar="VAR.mrc", help="Variance of each Fourier coefficient."),
    ] = None,
    half_maps: Annotated[
        bool, typer.Option("--half-maps", help="Write the volumes of both half sets, too.")
    ] = False,
    pixel_size: Annotated[
        float | None, typer.Option("--pixel-size", help="In angstroms, if the file names none.")
    ] = None,
    finest: Annotated[
        float | None, typer.Option("--finest", metavar="A", help="Use no finer wavelengths.")
    ] = None,
    invert: Annotated[
        bool, typer.Option("--invert", help="The particles are black in the images.")
    ] = False,
    ignore_ctf: Annotated[
        bool, typer.Option("--ignore-ctf", help="Do not correct the transfer function.")
    ] = False,
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
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Reconstruct a volume from images of known pose; an interrupted run goes on."""
    writer = Writer([star], force)
    halves = [out.with_name(f"{out.stem}-half{n}.mrc") for n in (1, 2)] if half_maps else []
    for path in (out, variance, report, *halves):
        if path is not None:
            writer.check(path)
    with naming(star):
        from laconic.data.microscopy.particles import read_particles
        from laconic.evaluation.imaging.reconstruction import (
            Settings,
            check_memory,
            reconstruct,
            summary,
        )

        with_transfer = not ignore_ctf
        settings = Settings(
            finest, invert, with_transfer, prior, posterior=posterior, epochs=epochs
        )
        if report is not None:
            from laconic.evaluation.imaging.page import new_figure, render
            from laconic.evaluation.imaging.views import rotations_of

            new_figure(1, 1)  # what a report needs is missed now, not after the work
        particles = read_particles(star, pixel_size)
        check_memory(particles.size)
        if particles.optics is None and not ignore_ctf:
            warn(f"{star}: it names no defocus; the images are taken as they are")
        saved = out.with_name(out.name + ".partial")
        with progress(f"reconstruct {len(particles)} images") as tick:
            found = reconstruct(particles, settings, saved, tick, tick)
        _write(writer, found, out, variance, halves)
        if report is not None:
            writer.write(report, render(star.name, found, rotations_of(particles)).encode())
    if as_json:
        print_json({"input": str(star), "output": str(out), **summary(found)})
    else:
        typer.echo(
            f"{star} -> {out}  {found.images} images, half sets agree to "
            f"{found.half_resolution:.2f} A, the posterior says {found.posterior_resolution:.2f} A"
        )


def _write(
    writer: Writer, found: "Reconstruction", out: Path, variance: Path | None, halves: list[Path]
) -> None:
    """The maps."""
    from laconic.data.microscopy.maps import map_bytes
    from laconic.evaluation.imaging.reconstruction import variance_map

    posterior = found.whole.posterior
    writer.write(out, map_bytes(posterior.volume().numpy(), found.pixel_size))
    if variance is not None:
        writer.write(variance, map_bytes(variance_map(posterior), found.pixel_size))
    for path, half in zip(halves, found.halves, strict=False):
        writer.write(path, map_bytes(half.numpy(), found.pixel_size))
