"""A study as one HTML file that asks nothing of the network: curves, tables, sliders."""

import base64
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from string import Template

from laconic.evaluation.anchors.published import PublishedCurve
from laconic.evaluation.images.comparison import QUALITIES, Difference, compare_all, mean_at
from laconic.evaluation.images.results import Curve, Study
from laconic.evaluation.report.chart import Trace, draw_chart

PALETTE = 9
"""Colours that the style sheet has; later curves use them again."""

RATES = (0.25, 0.5, 1.0)
"""Bits per pixel at which the table reads the curves."""

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
    return fill_template(
        "page.html",
        title=escape(f"{first.label} on {study.title}"),
        subtitle=escape(f"{pictures}. {first.label}: {first.description}."),
        legend="".join(_legend(i, name, label) for i, (name, label) in enumerate(names)),
        charts="".join(_chart(study, published, figure, max_bpp) for figure in QUALITIES),
        notes=escape(_notes(published)),
        codecs=_codec_table(study, differences),
        codecs_note=escape(_codecs_note(study, differences)),
        lengths=_lengths(first),
        pictures=_pictures(comparisons),
    )


def fill_template(name: str, **parts: str) -> str:
    """A page from a template of this package, with the style sheet that all pages share.

    Args:
        name: the template's file name.
        parts: HTML by placeholder.
    """
    here = resources.files("laconic.evaluation")
    template = here.joinpath(name).read_text(encoding="utf-8")
    style = here.joinpath("page.css").read_text(encoding="utf-8")
    return Template(template).substitute(parts, style=style)


def _legend(index: int, name: str, label: str) -> str:
    return (
        f'<button type="button" class="c{index % PALETTE}" data-curve="{escape(name)}" '
        f'aria-pressed="true">{escape(label)}</button>'
    )


def _chart(
    study: Study, published: Mapping[str, PublishedCurve], figure: str, max_bpp: float
) -> str:
    """One card with a chart of a figure."""
    traces = []
    for index, curve in enumerate(study.curves):
        points = tuple(sorted(zip(curve.mean("bpp"), curve.mean(figure), strict=True)))
        traces.append(Trace(curve.codec, curve.label, points, index % PALETTE))
    for index, (name, other) in enumerate(published.items(), len(study.curves)):
        traces.append(Trace(name, other.label, getattr(other, figure), index % PALETTE, True))
    chart = draw_chart(traces, UNITS[figure], max_bpp)
    return f'<section class="card"><h3>{QUALITIES[figure]}</h3>{chart}</section>'


def _notes(published: Mapping[str, PublishedCurve]) -> str:
    """What the curves are."""
    text = (
        "Every point is the mean over pictures of the per-picture figure at one setting; sizes are "
        "whole files, headers included. MS-SSIM is drawn as -10 log10(1 - MS-SSIM)."
    )
    sources = ", ".join(dict.fromkeys(curve.source for curve in published.values()))
    return f"{text} Dashed: published curves ({sources})." if published else text


def _codec_table(study: Study, differences: Sequence[Difference]) -> str:
    """Rows: codecs. Columns: BD-rates against each, qualities at three rates, seconds."""
    found = {(one.reference, one.figure): one for one in differences}
    label = escape(study.curves[0].label)
    head = (
        f'<thead><tr><th rowspan="2" scope="col">Codec</th>'
        f'<th colspan="2" scope="colgroup">BD-rate of {label}, %</th>'
        f'<th colspan="3" scope="colgroup">PSNR, dB</th>'
        f'<th colspan="3" scope="colgroup">MS-SSIM, dB</th>'
        f'<th colspan="2" scope="colgroup">seconds</th></tr><tr>'
        + "".join(f'<th scope="col">{name}</th>' for name in QUALITIES.values())
        + 2 * "".join(f'<th scope="col">{rate:g} bpp</th>' for rate in RATES)
        + '<th scope="col">encode</th><th scope="col">decode</th></tr></thead>'
    )
    rows = []
    for curve in study.curves:
        cells = [_bd_cell(found.get((curve.codec, figure))) for figure in QUALITIES]
        cells += [_cell(mean_at(curve, f, rate), 2) for f in QUALITIES for rate in RATES]
        cells += [_cell(median(curve, f"{way}_seconds"), 3) for way in ("encode", "decode")]
        rows.append(f'<tr><th scope="row">{escape(curve.label)}</th>{"".join(cells)}</tr>')
    return f"<table>{head}<tbody>{''.join(rows)}</tbody></table>"


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


def _bd_cell(difference: Difference | None) -> str:
    if difference is None:
        return "<td>–</td>"
    value = difference.bd_rate_of_mean_curve
    return _cell(value, 1, "better" if value < 0 else "", signed=True)


def _cell(value: float, digits: int, kind: str = "", signed: bool = False) -> str:
    """A number in a table; a dash where there is none, a true minus sign."""
    if not math.isfinite(value):
        return "<td>–</td>"
    text = f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "−")
    return f'<td class="{kind}">{text}</td>' if kind else f"<td>{text}</td>"


def median(curve: Curve, figure: str) -> float:
    """The median of a figure over all files of a curve."""
    values = (getattr(image, figure) for point in curve.points for image in point.images)
    return float(statistics.median(values))


def _lengths(curve: Curve) -> str:
    """The table of ideal, theoretical and real lengths, where the codec tells."""
    rows = []
    for point in curve.points:
        lengths = [image.code_length for image in point.images if image.code_length]
        if not lengths:
            return ""
        ideal = sum(length.ideal_bits for length in lengths)
        theory = sum(length.theory_bits for length in lengths)
        file = sum(length.file_bits for length in lengths)
        pixels = sum(image.width * image.height for image in point.images)
        over = sum(length.overhead_bits for length in lengths)
        cells = [_cell(bits / pixels, 4) for bits in (ideal, theory, file)]
        cells += [_cell(file / ideal if ideal else math.nan, 3), _cell(over / len(lengths) / 8, 0)]
        rows.append(f'<tr><th scope="row">{point.setting:g}</th>{"".join(cells)}</tr>')
    columns = ("setting", "ideal, bpp", "theory, bpp", "file, bpp", "file / ideal", "header, bytes")
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    return (
        "<h2>Code lengths</h2>"
        '<div class="card wide" tabindex="0" role="region" aria-label="Table of code lengths">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        "<p><small>Ideal: the KL divergence that the encoder paid for. Theory: the coder's own "
        "expectation. File: bytes on disk. Header: what no level accounts for.</small></p>"
    )


def _pictures(comparisons: Sequence[Comparison]) -> str:
    """A slider per picture."""
    if not comparisons:
        return ""
    figures = "".join(_figure(comparison) for comparison in comparisons)
    return (
        '<h2>Pictures</h2><p class="soft">Drag, or focus a picture and use the arrow keys. '
        "The original and our result are shown through WebP at quality 95 to keep this page "
        "small, and so are formats that browsers cannot show; any other classical codec's picture "
        "is its very file.</p>"
        f'<div class="pictures">{figures}</div>'
    )


def _figure(comparison: Comparison) -> str:
    name, shown = escape(comparison.name), comparison.shown
    left = "".join(
        f'<img class="left" src="{data_uri(version)}" alt="{name}: {escape(version.label)}"'
        f"{'' if index == 0 else ' hidden'}>"
        for index, version in enumerate(comparison.others)
    )
    buttons = "".join(
        f'<button type="button" aria-pressed="{"true" if index == 0 else "false"}">'
        f"{escape(version.label)}</button>"
        for index, version in enumerate(comparison.others)
    )
    return (
        '<figure class="card compare"><div class="stage" '
        f'style="aspect-ratio:{comparison.width}/{comparison.height}">'
        f'<img src="{data_uri(shown)}" alt="{name}: {escape(shown.label)}">{left}'
        f'<span class="tag l">{escape(comparison.others[0].label)}</span>'
        f'<span class="tag r">{escape(shown.label)}</span><div class="bar"></div>'
        f'<input type="range" min="0" max="100" step="0.5" value="50" '
        f'aria-label="{name}: how much of the left version is shown"></div>'
        f'<div class="choose" role="group" aria-label="Left version">{buttons}</div>'
        f"<figcaption><strong>{name}</strong> {escape(comparison.caption)}</figcaption></figure>"
    )


def data_uri(version: Version) -> str:
    """A file as an address that needs no network."""
    encoded = base64.b64encode(version.data).decode("ascii")
    return f"data:{version.media_type};base64,{encoded}"
