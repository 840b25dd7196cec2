"""Where the bits of a lossy file went, as a figure: all levels together, and each by itself."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from laconic.codecs.image.bits import LevelBits, join_levels
from laconic.evaluation.plane.figures import new_figure
from laconic.evaluation.plane.style import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_INCHES = 3.6
MOST_COLUMNS = 3
COLOURS = "magma"


def draw_bits(levels: Sequence[LevelBits], height: int, width: int, title: str) -> "Figure":
    """Heat maps of bits per pixel: all levels together, then each level.

    Args:
        levels: what `laconic.bits_map` returned.
        height: rows of the picture.
        width: columns of the picture.
        title: above the figure.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    panels = [("all levels", join_levels(levels))]
    panels += [(f"level {number}", level) for number, level in enumerate(levels)]
    columns = min(MOST_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    tall = min(2.0, max(0.5, height / width))
    sheet = new_figure(LIGHT, PANEL_INCHES * columns, (PANEL_INCHES * tall + 0.4) * rows + 0.4)
    sheet.suptitle(title, color=LIGHT.ink)
    for place, (name, level) in enumerate(panels, 1):
        total = float(level.bits.sum())
        axes = sheet.add_subplot(rows, columns, place)
        shown = _draw(axes, level, height, width)
        axes.set_title(f"{name}: {total:,.0f} bits", color=LIGHT.ink, fontsize="medium")
        sheet.colorbar(shown, ax=axes, shrink=0.8, label="bits per pixel")
    return sheet


def _draw(axes: "Axes", level: LevelBits, height: int, width: int) -> Any:
    """One heat map over the pixels of the picture; what matplotlib returned for it."""
    rows, columns = level.cell
    density = level.bits / (rows * columns)
    right, bottom = density.shape[1] * columns, density.shape[0] * rows
    found = axes.imshow(
        density,
        extent=(0, right, bottom, 0),
        cmap=COLOURS,
        vmin=0,
        interpolation="nearest",
    )
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_facecolor(LIGHT.paper)
    axes.tick_params(colors=LIGHT.ink, labelsize="small")
    return found
