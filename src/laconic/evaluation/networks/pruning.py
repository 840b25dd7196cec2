"""Figures of pruning: two clusters of groups in every layer, and the falling number of operations.

Source: Louizos 10.4.4 and figure 20, Ullrich 3.4.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from laconic.errors import MissingPackageError
from laconic.evaluation.report.figures import COLOURS
from laconic.training.loop import Log
from laconic.weights.layers import ProbabilisticLayer
from laconic.weights.methods.group_scales import GroupPosterior
from laconic.weights.methods.thresholds import histogram
from laconic.weights.pruning.operations import expected_operations

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 40
"""Number of bins of a histogram."""


class OperationsLog:
    """A log of the expected operations for one example, written while a network is trained.

    Args:
        net: a converted network.
        example: a batch of inputs; only its shape counts.
        folder: folder of `log.csv`.
        step: step at which training continues; later rows are removed.
    """

    def __init__(self, net: nn.Module, example: Tensor, folder: Path, step: int) -> None:
        self.net, self.example = net, example
        folder.mkdir(parents=True, exist_ok=True)
        self.log = Log(folder, "csv")
        if step:
            self.log.rewind(step)
        else:
            self.log.path.unlink(missing_ok=True)
            self.write(0)

    def write(self, step: int) -> float:
        """Count the operations, and add a row."""
        operations = sum(expected_operations(self.net, self.example).values())
        self.log.write({"step": step, "operations": operations})
        return operations


def read_operations(folder: Path) -> list[list[float]]:
    """Steps and operations from the file of an `OperationsLog`; empty if there is none."""
    path = folder / "log.csv"
    if not path.exists():
        return []
    with path.open() as file:
        return [[float(row["step"]), float(row["operations"])] for row in csv.DictReader(file)]


def clusters(net: nn.Module) -> dict[str, dict[str, Any]]:
    """Histograms of every layer's groups over noise, as JSON data; empty without random scales.

    Returns:
        By the layer's name: the first and the last edge of the bins, numbers of kept and pruned
        groups in each bin, and the threshold.
    """
    found = {}
    for name, module in net.named_modules():
        if isinstance(module, ProbabilisticLayer) and isinstance(module.posterior, GroupPosterior):
            posterior = module.posterior
            shown = histogram(posterior.log_noise, posterior.threshold, BINS)
            found[name] = {
                "ends": [float(shown.edges[0]), float(shown.edges[-1])],
                "kept": shown.kept.tolist(),
                "pruned": shown.pruned.tolist(),
                "threshold": shown.threshold,
            }
    return found


def draw_clusters(layers: Mapping[str, Mapping[str, Any]], title: str) -> "Figure":
    """One histogram per layer; groups to the right of the dashed line are pruned.

    Args:
        layers: the result of `clusters`.
        title: title of the figure.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    sheet = _sheet(3.2 * len(layers), 2.8)
    sheet.suptitle(title)
    for index, (name, shown) in enumerate(layers.items()):
        axes = sheet.add_subplot(1, len(layers), index + 1)
        for part, colour in (("kept", COLOURS[0]), ("pruned", COLOURS[1])):
            first, last = shown["ends"]
            edges = np.linspace(first, last, len(shown[part]) + 1)
            axes.stairs(shown[part], edges, fill=True, color=colour, label=part)
        axes.axvline(shown["threshold"], color="black", linestyle="--", linewidth=1)
        axes.set_title(name, fontsize="medium")
        axes.set_xlabel("log noise of the group's scale")
        _plain(axes)
    return sheet


def draw_operations(curves: Mapping[str, Sequence[Sequence[float]]], title: str) -> "Figure":
    """Expected operations over training, each curve relative to its first value.

    Args:
        curves: steps and operations, by label; the first row belongs to the initial gates.
        title: title of the chart.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    sheet = _sheet(7.2, 4.0)
    axes = sheet.add_subplot()
    for (label, rows), colour in zip(curves.items(), COLOURS, strict=False):
        steps, operations = zip(*rows, strict=True)
        shares = [100 * value / operations[0] for value in operations]
        axes.plot([step / 1000 for step in steps], shares, color=colour, label=label)
    axes.set_title(title)
    axes.set_xlabel("steps of training, thousands")
    axes.set_ylabel("expected operations, % of the start")
    axes.set_ylim(bottom=0)
    _plain(axes)
    return sheet


def _sheet(width: float, height: float) -> "Figure":
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError("figures need", "matplotlib", "eval") from error
    return Figure(figsize=(width, height), layout="constrained")


def _plain(axes: "Axes") -> None:
    axes.grid(alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, fontsize="small")
