"""Rate-distortion charts as inline SVG, coloured by the page's style sheet."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 460
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 16, 58
"""Margins of the plot inside the picture, in its own units."""


@dataclass(frozen=True)
class Trace:
    """One curve of a chart.

    Attributes:
        name: short and unique on the page; it becomes the class that the legend switches.
        label: for people.
        points: bits per pixel and quality, by rising rate.
        colour: index into the page's palette.
        dashed: for published curves, which are means over other pictures.
    """

    name: str
    label: str
    points: tuple[tuple[float, float], ...]
    colour: int
    dashed: bool = False


def draw_chart(traces: Sequence[Trace], quality: str, max_bpp: float) -> str:
    """An SVG element with axes, a grid and one polyline per trace.

    Args:
        traces: the curves; the first is drawn last, on top, and thicker.
        quality: name and unit of the vertical axis.
        max_bpp: right end of the horizontal axis; points beyond are left out.
    """
    shown = [
        (trace, [(x, y) for x, y in trace.points if x <= max_bpp and math.isfinite(y)])
        for trace in traces
    ]
    values = [y for _, points in shown for _, y in points] or [0.0, 1.0]
    ticks_y = _ticks(min(values), max(values), 9)
    low, high = ticks_y[0], ticks_y[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + x / max_bpp * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    grid = [_horizontal(value, place(0, value)[1]) for value in ticks_y]
    grid += [
        _vertical(value, place(value, low)[0])
        for value in _ticks(0, max_bpp, 8)
        if value <= max_bpp + 1e-9
    ]
    curves = [
        _curve(trace, [(*place(x, y), x, y) for x, y in points], trace is traces[0])
        for trace, points in reversed(shown)
    ]
    middle_x, middle_y = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    axes = (
        f'<text class="axis" x="{middle_x}" y="{HEIGHT - 10}" text-anchor="middle">'
        "bits per pixel, from the file</text>"
        f'<text class="axis" transform="translate(17 {middle_y}) rotate(-90)" '
        f'text-anchor="middle">{escape(quality)}</text>'
    )
    title = f"{escape(quality)} against bits per pixel"
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">'
        f"{''.join(grid)}{axes}{''.join(curves)}</svg>"
    )


def _ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers that enclose the range, about so many."""
    span = max(high - low, 1e-9)
    step = 10 ** math.floor(math.log10(span / about))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= about)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 10) for index in range(first, max(last, first + 1) + 1)]


def _horizontal(value: float, y: float) -> str:
    return (
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick" x="{LEFT - 8}" y="{y + 5:.1f}" text-anchor="end">{value:g}</text>'
    )


def _vertical(value: float, x: float) -> str:
    return (
        f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 22}" text-anchor="middle">'
        f"{value:g}</text>"
    )


def _curve(trace: Trace, points: Sequence[tuple[float, float, float, float]], first: bool) -> str:
    """One curve with a tooltip on every measured point."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in points)
    label = escape(trace.label)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{4.5 if first else 3}">'
        f"<title>{label}: {bpp:.3f} bpp, {quality:.2f} dB</title></circle>"
        for x, y, bpp, quality in points
        if not trace.dashed
    )
    classes = f"curve c{trace.colour}{' first' if first else ''}{' dashed' if trace.dashed else ''}"
    return (
        f'<g class="{classes}" data-curve="{escape(trace.name)}">'
        f'<polyline points="{path}"><title>{label}</title></polyline>{dots}</g>'
    )
