"""The rate-distortion plane as figures: D against R, and the skew plane, -ELBO against R."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from laconic.errors import InputError, MissingPackageError
from laconic.evaluation.plane.points import NATS_PER_BIT, PlanePoint
from laconic.evaluation.plane.style import LIGHT, Theme, family_styles
from laconic.metrics.frontier import RatePoint, best_negative_elbo, lower_hull, pareto_frontier

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DECADES = 2.0
"""Decades of rate above which there is one more figure with a logarithmic axis."""

LOWEST = 1e-4
"""Nats; on a logarithmic axis, smaller rates are drawn here (the source's smallest is 4e-4)."""

ZOOM = 0.3
"""Height of the logarithmic skew plane above the best negative ELBO, relative to that."""

CODERS = {
    "bits_back": ("*", "file, bits-back"),
    "relative_entropy": ("d", "file, relative entropy coding"),
}
"""Marker and label of files."""


def new_figure(theme: Theme, width: float, height: float) -> "Figure":
    """An empty figure in a theme's colours, sizes in inches.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError("figures need", "matplotlib", "eval") from error
    return Figure(figsize=(width, height), layout="constrained", facecolor=theme.paper)


def draw_plane(points: Sequence[PlanePoint], title: str, theme: Theme = LIGHT) -> "Figure":
    """Distortion against rate.

    Args:
        points: points without rate or distortion are left out; at least one must have both.
        title: title of the chart.
        theme: colours.

    Raises:
        MissingPackageError: matplotlib is not installed.
        InputError: there is no point to draw.

    Source: Alemi, figure 3a.
    """
    shown = _on_plane(points)
    places = [point.place for point in shown]
    sheet = new_figure(theme, 8.4, 5.6)
    axes = sheet.add_subplot()
    right = 1.06 * max(max(rate for rate, _ in _extent(shown)), 1.0)
    best = best_negative_elbo(places)
    bottom, top = _heights([distortion for _, distortion in places], best)
    axes.set(xlim=(-0.02 * right, right), ylim=(bottom, top))
    for level in _levels(best, right + top):
        ends = [0, level - bottom], [level, bottom]
        axes.plot(*ends, "--", color=theme.soft, alpha=0.5, linewidth=0.8, zorder=1)
    label = f"R + D = {best:.2f} (best ELBO)"
    ends = [0, best - bottom], [best, bottom]
    axes.plot(*ends, "--", color=theme.ink, linewidth=1.2, label=label, zorder=2)
    _draw_geometry(axes, places, theme, right, skew=False)
    _draw_points(axes, shown, theme, skew=False)
    _draw_files(axes, shown, theme, skew=False)
    _dress(sheet, axes, theme, title, "rate R, nats", "distortion D, nats")
    return sheet


def draw_skew(
    points: Sequence[PlanePoint], title: str, *, log_rate: bool = False, theme: Theme = LIGHT
) -> "Figure":
    """Negative ELBO against rate.

    Args:
        points: points without rate or distortion are left out; at least one must have both.
        title: title of the chart.
        log_rate: use a logarithmic axis of rates, and show only negative ELBOs near the best one;
            points above the chart are drawn at its upper edge.
        theme: colours.

    Raises:
        MissingPackageError: matplotlib is not installed.
        InputError: there is no point to draw.

    Source: Alemi, figure 3b.
    """
    shown = _on_plane(points)
    places = [point.place for point in shown]
    best, extent = best_negative_elbo(places), _extent(shown)
    worst, right = max(map(sum, extent)), max(rate for rate, _ in extent)
    top = min(worst, best + ZOOM * abs(best)) if log_rate else worst
    margin = 0.05 * (top - best) + 0.5
    sheet = new_figure(theme, 8.4, 5.6)
    axes = sheet.add_subplot()
    axes.set_ylim(best - margin, top + margin)
    if log_rate:
        axes.set_xscale("log")
        lowest = max(LOWEST, min((rate for rate, _ in places if rate > 0), default=LOWEST))
        axes.set_xlim(lowest / 1.6, max(right, 2 * lowest) * 1.6)
    else:
        axes.set_xlim(-0.02 * right, 1.06 * max(right, 1.0))
    label = f"best negative ELBO, {best:.2f}"
    axes.axhline(best, linestyle="--", color=theme.ink, linewidth=1.2, label=label, zorder=2)
    _draw_geometry(axes, places, theme, axes.get_xlim()[1], skew=True)
    _draw_points(axes, shown, theme, skew=True)
    _draw_files(axes, shown, theme, skew=True)
    _dress(sheet, axes, theme, title, "rate R, nats", "negative ELBO, R + D, nats")
    return sheet


def spans_decades(points: Sequence[PlanePoint]) -> bool:
    """Whether the rates span enough decades for a logarithmic axis."""
    rates = [max(point.rate, LOWEST) for point in points if point.on_plane]
    return bool(rates) and math.log10(max(rates) / min(rates)) >= DECADES


def _on_plane(points: Sequence[PlanePoint]) -> list[PlanePoint]:
    shown = [point for point in points if point.on_plane]
    if not shown:
        raise InputError("no run has both rate and distortion; measure again with `laconic rd run`")
    return shown


def _extent(points: Sequence[PlanePoint]) -> list[RatePoint]:
    """All positions in a linear chart: models and their files."""
    files = [
        place for p in points for c in p.files.keys() & CODERS.keys() for place in file_places(p, c)
    ]
    return [point.place for point in points] + files


def _heights(distortions: Sequence[float], best: float) -> tuple[float, float]:
    """Limits of the axis of distortions: from 0, or from the lowest one if that is below 0."""
    lowest, highest = min(distortions), max(*distortions, best)
    margin = 0.04 * (highest - min(lowest, 0.0)) or 1.0
    return (lowest - margin if lowest < 0 else 0.0), highest + margin


def _levels(best: float, top: float) -> list[float]:
    """Round negative ELBOs above the best one, for the isolines."""
    from matplotlib.ticker import MaxNLocator

    return [float(level) for level in MaxNLocator(8).tick_values(best, top) if level > best]


def _draw_geometry(
    axes: "Axes", places: Sequence[RatePoint], theme: Theme, right: float, skew: bool
) -> None:
    """The convex hull in grey, the stepwise frontier, and a cross on each of its points."""
    hull = [places[index] for index in lower_hull(places)]
    frontier = [places[index] for index in pareto_frontier(places)]
    corners = np.concatenate([_segment(*ends) for ends in (*pairwise(hull), (hull[-1], hull[-1]))])
    steps = [_segment((r, d), (after, d)) for (r, d), (after, _) in pairwise(frontier)]
    last = frontier[-1]
    start = np.array([[frontier[0][0], axes.get_ylim()[1] + abs(right)]])
    stairs = np.concatenate([start, *steps, _segment(last, (max(right, last[0]), last[1]))])
    for line, colour, width, label in (
        (corners, theme.soft, 2.6, "convex hull"),
        (stairs, theme.ink, 1.0, "Pareto frontier"),
    ):
        axes.plot(*_shown(line, axes, skew).T, color=colour, linewidth=width, label=label, zorder=3)
    crosses = _shown(np.array(frontier), axes, skew)
    axes.plot(
        *crosses.T, "x", color=theme.ink, markersize=5, markeredgewidth=1.1, zorder=7,
        label="on the frontier",
    )  # fmt: skip


def _segment(start: RatePoint, end: RatePoint, count: int = 64) -> NDArray[np.float64]:
    """Points on a straight line, dense enough for a logarithmic axis, `(count, 2)`."""
    parts = np.linspace(0, 1, count)[:, None] ** 3
    line: NDArray[np.float64] = np.array(start) * (1 - parts) + np.array(end) * parts
    return line


def _shown(line: NDArray[np.float64], axes: "Axes", skew: bool) -> NDArray[np.float64]:
    """Positions of rates and distortions on the chart, `(points, 2)`."""
    rates, distortions = line.T
    heights = rates + distortions if skew else distortions
    if axes.get_xscale() == "log":
        rates = np.maximum(rates, axes.get_xlim()[0] * 1.2)
    return np.column_stack([rates, heights])


def _draw_points(axes: "Axes", points: Sequence[PlanePoint], theme: Theme, skew: bool) -> None:
    """A marker per model, family by family, joined by a faint line in order of rate."""
    top = axes.get_ylim()[1]
    for family, style in family_styles([point.family for point in points], theme).items():
        group = sorted((p for p in points if p.family == family), key=lambda point: point.rate)
        across, up = _shown(np.array([point.place for point in group]), axes, skew).T
        means = [p.negative_elbo if skew else p.measures["distortion_nats"] for p in group]
        errors = [mean.spread for mean in means]
        colour = style["markeredgecolor"]
        axes.plot(across, up, color=colour, linewidth=0.8, alpha=0.25, zorder=2)
        axes.errorbar(across, up, errors, fmt="none", ecolor=colour, elinewidth=0.8, zorder=4)
        marks: dict[str, Any] = {
            "linestyle": "none",
            "markersize": 6.5,
            "markeredgewidth": 1.4,
            "zorder": 5,
        }
        axes.plot(across, up, label=family, **marks, **style)
        if above := [rate for rate, height in zip(across, up, strict=True) if height > top]:
            edge: dict[str, Any] = {"marker": 6, "color": colour, "markersize": 6, "clip_on": False}
            axes.plot(above, [top] * len(above), linestyle="none", zorder=6, **edge)


def _draw_files(axes: "Axes", points: Sequence[PlanePoint], theme: Theme, skew: bool) -> None:
    """Draw files, joined to their ideal lengths."""
    labelled = set()
    for point in points:
        for coder in point.files.keys() & CODERS.keys():
            marker, label = CODERS[coder]
            ideal, file = file_places(point, coder)
            line = _shown(np.array([ideal, file]), axes, skew)
            axes.plot(*line.T, color=theme.ink, linewidth=1.0, zorder=6)
            axes.plot(
                *line[1], linestyle="none", marker=marker, markersize=8, zorder=6,
                markerfacecolor=theme.paper, markeredgecolor=theme.ink, markeredgewidth=0.9,
                label=None if coder in labelled else label,
            )  # fmt: skip
            labelled.add(coder)


def file_places(point: PlanePoint, coder: str) -> tuple[RatePoint, RatePoint]:
    """Positions of an ideal file and the real one on the plane.

    A file holds complete images, so its ideal length is R + D. It is drawn at the model's rate; the
    bits of the real file above the ideal are drawn as additional rate.

    Args:
        point: a model with this file.
        coder: a key of `CODERS`.

    Returns:
        Rate and distortion of the ideal and of the real file, nats.
    """
    file = point.files[coder]
    ideal, real = file.ideal_bits * NATS_PER_BIT, file.bits * NATS_PER_BIT
    distortion = ideal - point.rate
    return (point.rate, distortion), (real - distortion, distortion)


def _dress(sheet: "Figure", axes: "Axes", theme: Theme, title: str, across: str, up: str) -> None:
    """Title, axes, grid, and the legend beside the chart."""
    axes.set_title(title, color=theme.ink)
    axes.set_xlabel(across, color=theme.ink)
    axes.set_ylabel(up, color=theme.ink)
    axes.set_facecolor(theme.paper)
    axes.tick_params(colors=theme.ink, which="both")
    axes.grid(color=theme.line, linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.soft)
    legend = sheet.legend(loc="outside right upper", frameon=False, fontsize="small")
    for text in legend.get_texts():
        text.set_color(theme.ink)
