"""`laconic evaluate`: rate-distortion curves of a folder of pictures, beside classical codecs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from laconic.cli.common import progress as show_progress
from laconic.cli.common import report
from laconic.cli.lists import Coder, split_list, to_numbers
from laconic.cli.outputs import STDIO, Force, Writer, to_path
from laconic.cli.tables import table_lines
from laconic.errors import InputError

if TYPE_CHECKING:
    from laconic.evaluation.anchors.classical import Codec
    from laconic.evaluation.images.comparison import Difference
    from laconic.evaluation.images.results import Study

QUALITIES = "5,15,25,35,45,55,65,75,85,95"
"""Qualities of our codec that are measured by default."""
AGAINST = "jpeg,webp"
"""Classical codecs that are measured by default."""


def evaluate(
    folder: Annotated[
        Path,
        typer.Argument(parser=to_path, metavar="FOLDER", help="Folder of pictures, or one."),
    ],
    quality: Annotated[
        list[str] | None,
        typer.Option(
            help="Our qualities, 1 to 100, repeated or separated by commas.  "
            f"[default: {QUALITIES}]"
        ),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="Classical codecs, repeated or separated by commas: jpeg, webp, avif, heif, jxl, "
            f"jpeg2000; or none.  [default: {AGAINST}]"
        ),
    ] = None,
    out_json: Annotated[
        Path | None,
        typer.Option(
            "--json", parser=to_path, metavar="PATH", help="Write all figures here; - is stdout."
        ),
    ] = None,
    out_html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            parser=to_path,
            metavar="PATH",
            help="Write a page with curves and sliders here; - is stdout.",
        ),
    ] = None,
    force: Force = False,
    coder: Coder = None,
) -> None:
    """Measure rate and distortion on a folder of pictures, beside classical codecs."""
    qualities, names = quality or [QUALITIES], against or [AGAINST]
    run(make_codec(coder), folder, qualities, names, out_json, out_html, force)


def make_codec(coder: str | None) -> "Codec":
    """Our codec with the embedded model."""
    from laconic.codecs.image.codec import ImageCodec
    from laconic.coding.relative_entropy import DEFAULT_CODER
    from laconic.evaluation.images.ours import OurCodec
    from laconic.pretrained import load

    model = load()
    name = DEFAULT_CODER if coder is None else coder
    return OurCodec(ImageCodec(model.model, model.name, model.fingerprint, coder=name))


def run(
    codec: "Codec",
    folder: Path,
    quality: Sequence[str],
    against: Sequence[str],
    out_json: Path | None,
    out_html: Path | None,
    force: bool = False,
) -> None:
    """The work of `evaluate`, for any codec.

    A picture that cannot be read is reported, and the others are measured; then the exit status is
    1.

    Raises:
        LaconicError: the folder, an option or an output file has a fault.
    """
    from laconic.data.folders import list_images
    from laconic.evaluation.anchors.classical import find_anchors
    from laconic.evaluation.images.comparison import compare_all
    from laconic.evaluation.images.rate_distortion import rate_distortion
    from laconic.evaluation.images.results import study_to_json

    if out_json is not None and out_json == out_html:
        raise typer.BadParameter("--json and --html name the same file; give two names")
    inputs, outs = list_images(folder), [(out_json, "--json"), (out_html, "--html")]
    for path, option in outs:
        if path is not None:
            Writer(inputs, force, option, is_text=True).check(path)
    settings = parse_qualities(quality)
    anchors = find_anchors(parse_anchors(against))
    with show_progress("measuring") as progress:
        plan = [(codec, settings), *((anchor, anchor.settings) for anchor in anchors)]
        study = rate_distortion(plan, folder, progress)
    differences = compare_all(study)
    if out_json is not None:
        document = to_document(study_to_json(study), differences)
        Writer(inputs, force, "--json", is_text=True).write(out_json, document)
    if out_html is not None:
        html = page(codec, study, folder, [anchor.name for anchor in anchors])
        Writer(inputs, force, "--html", is_text=True).write(out_html, html.encode("utf-8"))
    if STDIO not in (out_json, out_html):
        typer.echo(summary(study, differences))
    for failure in study.failures.values():
        report(InputError(failure))
    if study.failures:
        raise typer.Exit(1)


def parse_qualities(texts: Sequence[str]) -> list[float]:
    """Numbers from 1 to 100, also several in one text with commas; sorted, each once.

    Raises:
        typer.BadParameter: a value is not such a number; the command exits with 2.
    """
    values = sorted(set(to_numbers("--quality", texts)))
    if not all(1 <= value <= 100 for value in values):
        raise typer.BadParameter(f"--quality {','.join(texts)}: qualities run from 1 to 100")
    return values


def parse_anchors(texts: Sequence[str]) -> list[str]:
    """Names of anchors, also several in one text with commas; "none" means no anchor.

    Raises:
        typer.BadParameter: a name is unknown; the command exits with 2.
    """
    from laconic.evaluation.anchors.classical import ANCHORS

    names = [name for name in split_list(texts) if name != "none"]
    unknown = [name for name in names if name not in ANCHORS]
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: choose from {', '.join(ANCHORS)}")
    return names


def page(codec: "Codec", study: "Study", folder: Path, names: list[str]) -> str:
    """The HTML page, with pictures at the setting nearest to half a bit per pixel."""
    from laconic.evaluation.anchors.classical import ANCHORS
    from laconic.evaluation.images.gallery import make_gallery, setting_near
    from laconic.evaluation.report.page import render_page

    setting = setting_near(study.curves[0], 0.5)
    total, done = len(study.images), 0
    with show_progress("pictures") as progress:

        def tick() -> None:
            nonlocal done
            done += 1
            progress(done, total)

        anchors = [ANCHORS[name] for name in names]
        gallery = make_gallery(codec, setting, folder, anchors, tick, study.failures)
    return render_page(study, gallery)


def to_document(document: dict[str, Any], differences: list["Difference"]) -> bytes:
    """The study and its BD-rates as one JSON object."""
    from dataclasses import asdict

    from laconic.evaluation.images.results import finite

    compared = finite([asdict(difference) for difference in differences])
    text = json.dumps(document | {"differences": compared}, indent=1, allow_nan=False)
    return text.encode("utf-8") + b"\n"


def summary(study: "Study", differences: list["Difference"]) -> str:
    """A table for the terminal: every codec's rate and qualities, then the BD-rates."""
    heads = ("codec", "setting", "bpp", "PSNR", "MS-SSIM", "enc s", "dec s")
    formats = {
        "bpp": ".3f", "psnr": ".2f", "ms_ssim": ".4f", "encode_seconds": ".2f",
        "decode_seconds": ".2f",
    }  # fmt: skip
    rows = [
        (
            curve.codec,
            f"{point.setting:g}",
            *(format(point.mean(key), digits) for key, digits in formats.items()),
        )
        for curve in study.curves
        for point in curve.points
    ]
    return "\n".join([*table_lines(heads, rows), *map(_difference, differences)])


def _difference(one: "Difference") -> str:
    """A line that compares two curves, or gives the reason why it cannot."""
    low, high = one.rate_range
    title = f"BD-rate against {one.reference} on {one.figure}, {low:g}-{high:g} bpp:"
    if one.obstacle:
        return f"{title} none, since {one.obstacle}"
    count, pictures = one.images_counted, "picture" if one.images_counted == 1 else "pictures"
    mean = f"{one.mean_of_image_bd_rates:+.1f} % mean of {count} {pictures}"
    if not count:
        mean = "no picture's own curves can be compared"
    return f"{title} {one.bd_rate_of_mean_curve:+.1f} % of the mean curves, {mean}"
