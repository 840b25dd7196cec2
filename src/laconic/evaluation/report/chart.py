"""Where the parts of a rate-distortion chart lie; a template draws it as inline SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Dot:
    """A point of a curve: where it lies in the picture, and what was measured."""

    x: str
    y: str
    bpp: float
    quality: float


@dataclass(frozen=True)
class Chart:
    """A chart, ready to be drawn; lengths in the picture's own units.

    Attributes:
        quality: name and unit of the vertical axis.
        rows: height and label of each horizontal grid line.
        columns: place and label of each vertical grid line.
        curves: from back to front, each with its points; the last is drawn thicker.
    """

    quality: str
    rows: tuple[tuple[str, str], ...]
    columns: tuple[tuple[str, str], ...]
    curves: tuple[tuple[Trace, tuple[Dot, ...]], ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def lay_out_chart(traces: Sequence[Trace], quality: str, max_bpp: float) -> Chart:
    """Axes, a grid and one curve per trace.

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

    def across(x: float) -> str:
        return f"{LEFT + x / max_bpp * (WIDTH - LEFT - RIGHT):.1f}"

    def down(y: float) -> str:
        return f"{HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM):.1f}"

    return Chart(
        quality,
        tuple((down(y), f"{y:g}") for y in ticks_y),
        tuple((across(x), f"{x:g}") for x in _ticks(0, max_bpp, 8) if x <= max_bpp + 1e-9),
        tuple(
            (trace, tuple(Dot(across(x), down(y), x, y) for x, y in points))
            for trace, points in reversed(shown)
        ),
    )


def _ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers that enclose the range, about so many."""
    span = max(high - low, 1e-9)
    step = 10 ** math.floor(math.log10(span / about))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= about)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 10) for index in range(first, max(last, first + 1) + 1)]
