"""Rate-distortion figures for papers and web pages: PNG and SVG through matplotlib."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from laconic.container.storage import write_atomically
from laconic.errors import MissingPackageError
from laconic.evaluation.anchors.published import PublishedCurve
from laconic.evaluation.images.comparison import QUALITIES
from laconic.evaluation.images.results import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (
    "#0b62c4", "#c2410c", "#0f8a63", "#a21caf", "#9a7b00", "#d01f5a", "#5b6470", "#0e7490",
    "#6d4aff",
)  # fmt: skip
"""The page's palette for light backgrounds."""

Marks = Mapping[str, tuple[tuple[float, float], ...]]
"""Single points to draw, by label: bits per pixel and quality."""


def draw_figure(
    curves: Sequence[Curve],
    figure: str,
    title: str,
    *,
    image: str | None = None,
    published: Mapping[str, PublishedCurve] | None = None,
    marks: Marks | None = None,
    max_bpp: float = 1.5,
) -> "Figure":
    """One chart of a figure against the rate.

    Args:
        curves: the first is drawn thicker and on top.
        figure: "psnr" or "ms_ssim_db".
        title: above the chart.
        image: one picture's name; the means over all pictures by default.
        published: curves from the literature, drawn dashed.
        marks: single points from the literature.
        max_bpp: right end of the horizontal axis.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError("figures need", "matplotlib", "eval") from error
    sheet = Figure(figsize=(7.2, 4.8), layout="constrained")
    axes = sheet.add_subplot()
    for index, curve in enumerate(curves):
        values = (_values(curve, image, key) for key in ("bpp", figure))
        points = sorted(zip(*values, strict=True))
        _plot(axes, points, curve.label, COLOURS[index % len(COLOURS)], first=index == 0)
    for index, other in enumerate((published or {}).values(), len(curves)):
        colour = COLOURS[index % len(COLOURS)]
        line = getattr(other, figure)
        axes.plot(*zip(*line, strict=True), "--", color=colour, linewidth=1.2, label=other.label)
    for label, spots in (marks or {}).items():
        axes.plot(*zip(*spots, strict=True), "k*", markersize=10, label=label)
    _dress(axes, title, f"{QUALITIES[figure]}, dB", max_bpp)
    return sheet


def save_figure(sheet: "Figure", stem: Path) -> list[Path]:
    """Write a figure as PNG and SVG beside each other; the same figure gives the same bytes.

    Args:
        sheet: from `draw_figure`.
        stem: path without ending.

    Returns:
        The two paths.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = figure_paths(stem)
    for path in paths:
        write_atomically(path, figure_bytes(sheet, path.suffix))
    return paths


def figure_bytes(sheet: "Figure", ending: str) -> bytes:
    """A figure as a file; the same figure gives the same bytes.

    Args:
        sheet: the figure.
        ending: ".png" or ".svg".
    """
    if ending == ".svg":
        return render_svg(sheet)
    buffer = io.BytesIO()
    sheet.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    return buffer.getvalue()


def figure_paths(stem: Path) -> list[Path]:
    """The files that `save_figure` writes."""
    return [stem.with_name(stem.name + ending) for ending in (".png", ".svg")]


def render_svg(sheet: "Figure") -> bytes:
    """A figure as an SVG file whose text stays text; the same figure gives the same bytes."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "laconic", "svg.fonttype": "none"}):
        sheet.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _values(curve: Curve, image: str | None, figure: str) -> list[float]:
    """A figure at every point: one picture's, or the mean."""
    return curve.mean(figure) if image is None else curve.of_image(image, figure)


def _plot(
    axes: "Axes", points: Sequence[tuple[float, float]], label: str, colour: str, first: bool
) -> None:
    """One curve with its measured points."""
    width, size, order = (2.6, 5.0, 5) if first else (1.5, 3.5, 3)
    axes.plot(
        *zip(*points, strict=True),
        "o-",
        color=colour,
        linewidth=width,
        markersize=size,
        label=label,
        zorder=order,
    )


def _dress(axes: "Axes", title: str, quality: str, max_bpp: float) -> None:
    """Axes, grid and legend; the vertical range is that of the points in view."""
    points = np.concatenate([np.column_stack(line.get_data()) for line in axes.get_lines()])
    seen = points[points[:, 0] <= max_bpp, 1]
    axes.set_xlim(0, max_bpp)
    seen = seen[np.isfinite(seen)]
    if len(seen):
        low, high = float(seen.min()), float(seen.max())
        margin = 0.04 * (high - low) + 0.1
        axes.set_ylim(low - margin, high + margin)
    axes.set_title(title)
    axes.set_xlabel("bits per pixel, from the file")
    axes.set_ylabel(quality)
    axes.grid(alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, fontsize="small")
