"""A study as one HTML file that asks nothing of the network: curves, tables, sliders."""

import base64
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from laconic.evaluation.anchors.published import PublishedCurve
from laconic.evaluation.images.comparison import QUALITIES, Difference, compare_all, mean_at
from laconic.evaluation.images.results import Curve, Study
from laconic.evaluation.report.chart import Chart, Trace, lay_out_chart
from laconic.evaluation.report.templates import Cell, render_template

PALETTE = 9
"""Colours that the style sheet has; later curves use them again."""

RATES = (0.25, 0.5, 1.0)
"""Bits per pixel at which the table reads the curves."""

DASH = "–"
"""Shown for a value that was not measured."""

UNITS = {"psnr": "PSNR, dB", "ms_ssim_db": "MS-SSIM, dB"}


@dataclass(frozen=True)
class Version:
    """One rendering of a picture.

    Attributes:
        label: what it is, e.g. "Original".
        media_type: e.g. "image/webp".
        data: the file that the browser shows.
    """

    label: str
    media_type: str
    data: bytes

    @property
    def uri(self) -> str:
        """The file as an address that needs no network."""
        encoded = base64.b64encode(self.data).decode("ascii")
        return f"data:{self.media_type};base64,{encoded}"


@dataclass(frozen=True)
class Comparison:
    """A picture for a slider.

    Attributes:
        name: the picture's name.
        width: pixels.
        height: pixels.
        shown: our version, on the right.
        others: what it is compared with, on the left; the first is shown first.
        caption: sizes and qualities, in words.
    """

    name: str
    width: int
    height: int
    shown: Version
    others: tuple[Version, ...]
    caption: str


def render_page(
    study: Study,
    comparisons: Sequence[Comparison] = (),
    published: Mapping[str, PublishedCurve] | None = None,
    max_bpp: float = 1.5,
) -> str:
    """The page.

    Args:
        study: at least one curve; the first is the one that is judged.
        comparisons: pictures for the sliders.
        published: curves from the literature, drawn dashed.
        max_bpp: right end of the charts.
    """
    published = published or {}
    differences = compare_all(study)
    names = [(curve.codec, curve.label) for curve in study.curves]
    names += [(name, curve.label) for name, curve in published.items()]
    first, count = study.curves[0], len(study.images)
    pictures = "1 picture" if count == 1 else f"{count} pictures"
    return render_template(
        "page.html",
        title=f"{first.label} on {study.title}",
        subtitle=f"{pictures}. {first.label}: {first.description}.",
        names=names,
        palette=PALETTE,
        charts=[
            (QUALITIES[figure], _chart(study, published, figure, max_bpp)) for figure in QUALITIES
        ],
        notes=_notes(published),
        label=first.label,
        qualities=list(QUALITIES.values()),
        rates=RATES,
        codecs=_codec_rows(study, differences),
        codecs_note=_codecs_note(study, differences),
        lengths=_length_rows(first),
        comparisons=comparisons,
    )


def _chart(
    study: Study, published: Mapping[str, PublishedCurve], figure: str, max_bpp: float
) -> Chart:
    """The chart of a figure."""
    traces = []
    for index, curve in enumerate(study.curves):
        points = tuple(sorted(zip(curve.mean("bpp"), curve.mean(figure), strict=True)))
        traces.append(Trace(curve.codec, curve.label, points, index % PALETTE))
    for index, (name, other) in enumerate(published.items(), len(study.curves)):
        traces.append(Trace(name, other.label, getattr(other, figure), index % PALETTE, True))
    return lay_out_chart(traces, UNITS[figure], max_bpp)


def _notes(published: Mapping[str, PublishedCurve]) -> str:
    """What the curves are."""
    text = (
        "Every point is the mean over pictures of the per-picture figure at one setting; sizes are "
        "whole files, headers included. MS-SSIM is drawn as -10 log10(1 - MS-SSIM)."
    )
    sources = ", ".join(dict.fromkeys(curve.source for curve in published.values()))
    return f"{text} Dashed: published curves ({sources})." if published else text


def _codec_rows(study: Study, differences: Sequence[Difference]) -> list[tuple[str, list[Cell]]]:
    """Codecs, each with BD-rates against it, qualities at three rates, and seconds."""
    found = {(one.reference, one.figure): one for one in differences}
    rows = []
    for curve in study.curves:
        cells = [_bd_cell(found.get((curve.codec, figure))) for figure in QUALITIES]
        cells += [_cell(mean_at(curve, f, rate), 2) for f in QUALITIES for rate in RATES]
        cells += [_cell(median(curve, f"{way}_seconds"), 3) for way in ("encode", "decode")]
        rows.append((curve.label, cells))
    return rows


def _codecs_note(study: Study, differences: Sequence[Difference]) -> str:
    """How the table's figures come about."""
    ours = study.curves[0].label
    low, high = differences[0].rate_range if differences else (0.15, 1.0)
    settings = "; ".join(f"{curve.label}: {curve.description}" for curve in study.curves[1:])
    return (
        f"BD-rate: how many per cent more bits {ours} takes than that codec at equal quality "
        f"(negative: fewer), between {low:g} and {high:g} bits per pixel, of the mean curves. "
        "Qualities are read off the mean curves. Seconds are medians over all files, on this "
        f"machine. {settings}."
    )


def _bd_cell(difference: Difference | None) -> Cell:
    if difference is None:
        return Cell((DASH,))
    value = difference.bd_rate_of_mean_curve
    return _cell(value, 1, "better" if value < 0 else "", signed=True)


def _cell(value: float, digits: int, kind: str = "", signed: bool = False) -> Cell:
    """A number in a table; a dash where there is none, a true minus sign."""
    if not math.isfinite(value):
        return Cell((DASH,))
    text = f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "−")
    return Cell((text,), kind=kind)


def median(curve: Curve, figure: str) -> float:
    """The median of a figure over all files of a curve."""
    values = (getattr(image, figure) for point in curve.points for image in point.images)
    return float(statistics.median(values))


def _length_rows(curve: Curve) -> list[tuple[str, list[Cell]]]:
    """Ideal, theoretical and real lengths by setting; none where the codec does not know them."""
    rows = []
    for point in curve.points:
        lengths = [image.code_length for image in point.images if image.code_length]
        if not lengths:
            return []
        ideal = sum(length.ideal_bits for length in lengths)
        theory = sum(length.theory_bits for length in lengths)
        file = sum(length.file_bits for length in lengths)
        pixels = sum(image.width * image.height for image in point.images)
        over = sum(length.overhead_bits for length in lengths)
        cells = [_cell(bits / pixels, 4) for bits in (ideal, theory, file)]
        cells += [_cell(file / ideal if ideal else math.nan, 3), _cell(over / len(lengths) / 8, 0)]
        rows.append((f"{point.setting:g}", cells))
    return rows
