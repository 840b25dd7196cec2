"""Grids of samples: the reconstructions of a family at every rate, as in the source's figure 4."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from laconic.errors import InputError
from laconic.evaluation.plane.figures import new_figure
from laconic.evaluation.plane.point_groups import short
from laconic.evaluation.plane.points import PlanePoint
from laconic.evaluation.plane.style import LIGHT, Theme, sort_families

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Images = NDArray[np.uint8]

SIDE = 0.46
"""Inches of a small picture's side in a figure; larger ones grow with the square root."""

SMALL = 28
"""Pixels of a small picture's side."""

COLUMNS = 6
"""Most runs in one figure; of more runs, some spread over the rates are shown."""


@dataclass(frozen=True)
class Grids:
    """Samples of one model: bytes of grey, or of three colours as one more axis, the last.

    Attributes:
        inputs: `(images, height, width)`.
        reconstructions: x ~ d(x | z) for one z ~ e(z | x), `(images, samples, height, width)`.
        generations: x ~ d(x | z) for one z ~ m(z), `(images, samples, height, width)`.
    """

    inputs: Images
    reconstructions: Images
    generations: Images


def load_grids(path: Path) -> Grids:
    """A run's samples.

    Raises:
        InputError: the file is missing or damaged; the message names it.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            grids = Grids(**{name: arrays[name] for name in Grids.__dataclass_fields__})
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputError(f"{path}: no grids of samples ({error}); repeat this run") from error
    found = {name: getattr(grids, name).shape for name in Grids.__dataclass_fields__}
    dims = [len(shape) for shape in found.values()]
    grey = dims == [3, 4, 4] and len({shape[-2:] for shape in found.values()}) == 1
    colour = dims == [4, 5, 5] and {shape[-3:] for shape in found.values()} == {
        (*found["inputs"][1:3], 3)
    }
    if not (grey or colour):
        raise InputError(f"{path}: grids of shapes {found}; repeat this run")
    return grids


def families_with_grids(points: Sequence[PlanePoint]) -> dict[str, list[PlanePoint]]:
    """By family, the runs to show, by rising rate: at most `COLUMNS`, with the first and last."""
    shown = {}
    for family in sort_families([point.family for point in points]):
        runs = [p for p in points if p.family == family and p.grids and p.on_plane]
        runs.sort(key=lambda point: point.rate)
        if runs:
            picks = np.linspace(0, len(runs) - 1, min(COLUMNS, len(runs))).round().astype(int)
            shown[family] = [runs[index] for index in picks]
    return shown


def draw_grid(runs: Sequence[PlanePoint], kind: str, title: str, theme: Theme = LIGHT) -> "Figure":
    """Two columns per run: one sample, and the mean of all samples of the same latent.

    Args:
        runs: runs with grids, at least one; by rising rate.
        kind: "reconstructions", which begins with a column of inputs, or "generations".
        title: title of the figure.
        theme: colours.

    Raises:
        ConfigError: matplotlib is not installed.
        InputError: grids are missing or damaged, or the runs have different inputs.

    Source: Alemi, figure 4.
    """
    loaded = _load_all(runs)
    columns = [([loaded[0].inputs], "input", "")] if kind == "reconstructions" else []
    for point, grids in zip(runs, loaded, strict=True):
        samples: Images = getattr(grids, kind)
        mean = samples.mean(axis=1).round().astype(np.uint8)
        columns.append(([samples[:, 0], mean], "sample   mean", label_run(point)))
    sheets = [_sheet(images) for images, _, _ in columns]
    widths = [pixels.shape[1] for pixels in sheets]
    width = loaded[0].inputs.shape[2]
    scale = SIDE / math.sqrt(width * min(width, SMALL))
    height = scale * max(len(pixels) for pixels in sheets) + 1.1
    sheet = new_figure(theme, scale * sum(widths) + 0.12 * len(widths) + 0.2, height)
    sheet.suptitle(title, color=theme.ink, fontsize=10)
    places = sheet.subplots(1, len(columns), squeeze=False, width_ratios=widths)[0]
    for axes, pixels, (_, below, above) in zip(places, sheets, columns, strict=True):
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="none")
        axes.set_anchor("N")
        axes.set_title(above, color=theme.ink, fontsize=7)
        axes.set_xlabel(below, color=theme.ink, fontsize=7)
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_visible(False)
    return sheet


def label_run(point: PlanePoint) -> str:
    """The settings of a run and its results, on three lines."""
    coordinates = (f"{name} {short(value)}" for name, value in zip("RD", point.place, strict=True))
    return "\n".join((describe_objective(point), *coordinates))


def describe_objective(point: PlanePoint) -> str:
    """The objective in short: "β = 0.5", or its name and numbers."""
    annealed = " annealed" if point.annealed else ""
    if not math.isnan(point.beta):
        return f"β = {point.beta:g}{annealed}"
    objective: Mapping[str, object] = point.settings.get("objective") or {}
    numbers = [f"{v:g}" for v in objective.values() if isinstance(v, int | float)]
    return " ".join([str(objective.get("name", "?")), *numbers]) + annealed


def _load_all(runs: Sequence[PlanePoint]) -> list[Grids]:
    """The grids of all runs, after a check that their inputs are equal."""
    loaded = [load_grids(point.grids) for point in runs if point.grids]
    if len(loaded) != len(runs) or not loaded:
        raise InputError("a run without grids of samples; leave it out")
    for point, grids in zip(runs, loaded, strict=True):
        if not np.array_equal(grids.inputs, loaded[0].inputs):
            raise InputError(
                f"{point.grids}: other inputs than {runs[0].grids}; report these runs apart"
            )
    return loaded


def _sheet(columns: Sequence[Images], gap: int = 2) -> Images:
    """Columns of pictures in one image, `(height, width)` or colours, with a grey gap between."""
    frame = ((0, 0), (0, gap), (0, gap), (0, 0))[: columns[0].ndim]
    strips = [np.concatenate(np.pad(c, frame, constant_values=GAP), axis=0) for c in columns]
    sheet: Images = np.concatenate(strips, axis=1)[:-gap, :-gap]
    return sheet


GAP = 128
"""Grey between pictures; it is visible on white and on black."""
