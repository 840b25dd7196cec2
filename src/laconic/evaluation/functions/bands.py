"""Figures of one-dimensional regressions: points, means, and bands of three standard deviations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from laconic.distributions.prediction import RegressionPrediction
from laconic.errors import MissingPackageError
from laconic.evaluation.report.figures import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEVIATIONS = 3.0
"""Half the width of a band, in standard deviations.  Source: Louizos, figure 16."""

PANEL_INCHES = (2.6, 2.3)


@dataclass(frozen=True)
class Panels:
    """One row of panels: a data set under several models.

    Attributes:
        name: of the data set.
        points: inputs and values, `(count, 1)` each.
        grid: inputs of the curves, `(places, 1)`, rising.
        predictions: by name of the model.
    """

    name: str
    points: tuple[Tensor, Tensor]
    grid: Tensor
    predictions: Mapping[str, RegressionPrediction]


def draw_bands(rows: Sequence[Panels]) -> "Figure":
    """A sheet of panels: points, the mean, a band of +-3 standard deviations.

    Args:
        rows: each with the same models.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError("figures need", "matplotlib", "eval") from error
    count = max(len(row.predictions) for row in rows)
    size = (PANEL_INCHES[0] * count, PANEL_INCHES[1] * len(rows))
    sheet = Figure(figsize=size, layout="constrained")
    grid = sheet.subplots(len(rows), count, squeeze=False)
    for row, line in zip(rows, grid, strict=True):
        x, y = (one[:, 0].numpy() for one in row.points)
        reach = float(y.max() - y.min())
        for (name, prediction), axes in zip(row.predictions.items(), line, strict=False):
            places, mean = row.grid[:, 0].numpy(), prediction.mean[:, 0].numpy()
            half = DEVIATIONS * prediction.variance[:, 0].sqrt().numpy()
            axes.fill_between(places, mean - half, mean + half, color=COLOURS[0], alpha=0.2, lw=0)
            axes.plot(places, mean, color=COLOURS[0], linewidth=1.5)
            axes.plot(x, y, "o", color=COLOURS[1], markersize=3)
            axes.set_ylim(float(y.min()) - reach, float(y.max()) + reach)
            axes.set_title(f"{name}, {row.name}", fontsize=9)
            axes.tick_params(labelsize=7)
    return sheet
