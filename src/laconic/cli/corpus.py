"""`laconic corpus`: many pictures as many files, on this machine or a cluster."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from laconic.cli.common import INTERRUPTED, print_json, report, show_pace
from laconic.cli.lists import Bpp, Coder, Effort, Model, Quality, Strip, Tune, check_requests
from laconic.cli.outputs import Force, to_folder
from laconic.errors import InputError

if TYPE_CHECKING:
    from laconic.corpus.loop import Summary
    from laconic.corpus.plan import Plan

NAMED_FAILURES = 20
"""Failures that are printed; the manifest has all."""

app = typer.Typer(
    help="Many pictures as many files: stop and start again at any time.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Folder = Annotated[
    Path, typer.Argument(parser=to_folder, metavar="SRC", help="Folder or address; read.")
]
Destination = Annotated[
    Path, typer.Argument(parser=to_folder, metavar="DST", help="Folder or address.")
]
EngineName = Annotated[
    str, typer.Option("--engine", metavar="NAME", help="local: processes; ray: a Ray cluster.")
]
Address = Annotated[
    str | None,
    typer.Option(help="Of the Ray cluster.  [default: Ray is started on this machine]"),
]
Jobs = Annotated[
    int | None,
    typer.Option(min=1, help="Processes; 1 is this process alone.  [default: one a core]"),
]
Retries = Annotated[int, typer.Option(min=0, help="How often a picture is tried again.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Dtype = Annotated[str, typer.Option(help="Precision of lossy files: float32, bfloat16 or float64.")]


@app.command("compress")
def compress(
    source: Folder,
    destination: Destination,
    engine: EngineName = "local",
    address: Address = None,
    jobs: Jobs = None,
    retries: Retries = 2,
    quality: Quality = None,
    bpp: Bpp = None,
    tune: Tune = None,
    lossless: Annotated[bool, typer.Option("--lossless", help="Keep every pixel.")] = False,
    effort: Effort = None,
    strip: Strip = False,
    coder: Coder = None,
    model: Model = None,
    psnr: Annotated[
        bool, typer.Option(help="Decode each file and measure it for the manifest.")
    ] = True,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Compress every picture below SRC: a/b.png becomes DST/a/b.png.lac.

    DST/manifest has a JSON line for each picture: bytes, bits per pixel, PSNR, seconds, error. What
    is done already is left alone; --force does all again. The exit status is 1 where pictures
    failed.
    """
    check_requests(lossless, quality, bpp, coder, tune)
    lossy = {"quality": quality, "bpp": bpp, "coder": coder, "tune": tune}
    options = {"lossless": lossless, "effort": effort, "strip": strip, "model": model, **lossy}
    options["psnr"] = psnr
    _run("compress", source, destination, (engine, address, jobs), options, retries, force, as_json)


@app.command("decompress")
def decompress(
    source: Folder,
    destination: Destination,
    engine: EngineName = "local",
    address: Address = None,
    jobs: Jobs = None,
    retries: Retries = 2,
    model: Annotated[
        str | None, typer.Option(help="Weights file, where files name no embedded model.")
    ] = None,
    dtype: Dtype = "float32",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Decompress every .lac file of one picture below SRC: a/b.png.lac becomes DST/a/b.png."""
    options = {"model": model, "dtype": dtype}
    place = (engine, address, jobs)
    _run("decompress", source, destination, place, options, retries, force, as_json)


@app.command("evaluate")
def evaluate(
    source: Folder,
    destination: Destination,
    engine: EngineName = "local",
    address: Address = None,
    jobs: Jobs = None,
    retries: Retries = 2,
    model: Annotated[
        str | None, typer.Option(help="Weights file, where files name no embedded model.")
    ] = None,
    dtype: Dtype = "float32",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Measure the files that `corpus compress SRC DST` made, each against its picture.

    DST/evaluation has a JSON line for each picture: bytes, bits per pixel, PSNR, MS-SSIM, seconds.
    """
    from laconic.metrics.images import load_ms_ssim

    load_ms_ssim()
    options = {"model": model, "dtype": dtype}
    _run("evaluate", source, destination, (engine, address, jobs), options, retries, force, as_json)


def _run(
    action: str,
    source: Path,
    destination: Path,
    place: tuple[str, str | None, int | None],
    options: dict[str, Any],
    retries: int,
    force: bool,
    as_json: bool,
) -> None:
    """What the three commands have in common.

    Raises:
        LaconicError: the folders, the options or the engine have a fault.
    """
    from laconic.corpus.engines import core_count, make
    from laconic.corpus.loop import run
    from laconic.corpus.plan import opened

    name, address, jobs = place
    engine = make(name, core_count() if jobs is None else jobs, address)
    with opened(action, source, destination, options, force) as plan:
        try:
            with show_pace("pictures", len(plan.units) - len(plan.missing)) as pace:
                summary = run(plan, engine, options | {"threads": 1}, retries, pace)
        except KeyboardInterrupt as error:
            done = sum(one["error"] is None for one in plan.manifest.records.values())
            report(InputError(f"interrupted with {done:,} pictures done; the same command goes on"))
            raise typer.Exit(INTERRUPTED) from error
        _print(plan, summary, as_json)
    if summary.failed:
        raise typer.Exit(1)


def _print(plan: "Plan", summary: "Summary", as_json: bool) -> None:
    """What came of a run, on stdout; failures on stderr."""
    from laconic.corpus.loop import done_records

    values = summary.to_dict(done_records(plan))
    if as_json:
        print_json(values)
    else:
        means = [
            f"{values[key]:.{digits}f} {unit}"
            for key, digits, unit in (("mean_bpp", 3, "bits per pixel"), ("mean_psnr", 2, "dB"))
            if values[key] is not None
        ]
        rate = values["pictures_per_second"] or 0.0
        parts = [
            f"{summary.pictures:,} pictures: {summary.done:,} done, {summary.before:,} before",
            f"{len(summary.failed):,} failed",
            f"{summary.input_bytes:,} to {summary.bytes:,} bytes",
            *means,
            f"{rate:.2f} pictures/s",
        ]
        typer.echo(", ".join(parts))
    for error in list(summary.failed.values())[:NAMED_FAILURES]:
        report(InputError(error))
    if len(summary.failed) > NAMED_FAILURES:
        rest = len(summary.failed) - NAMED_FAILURES
        report(InputError(f"{rest:,} more pictures failed; {plan.manifest.folder} has all"))
