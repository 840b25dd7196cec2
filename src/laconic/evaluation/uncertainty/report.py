"""Finished runs as one HTML page that loads nothing else: tables, curves, pictures."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from laconic.container.storage import write_atomically
from laconic.errors import MissingPackageError
from laconic.evaluation.report.figures import COLOURS, render_svg
from laconic.evaluation.report.page import DASH, Version
from laconic.evaluation.report.templates import Cell, Table, render_template
from laconic.evaluation.uncertainty.measures import (
    Measures,
    RegressionMeasures,
    Run,
    measure,
    measure_regression,
    read_run,
)
from laconic.metrics.calibration import BINS, reliability
from laconic.metrics.out_of_distribution import cumulative_shares, risk_coverage
from laconic.progress import Progress, silent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENLARGED = 3
"""Pixels of the page for a pixel of a picture."""

POINTS = 200
"""Of a curve."""

NOTE = (
    "NLL and entropies in nats. ECE: 15 bins of equal width; adaptive ECE: 15 bins with equally "
    "many examples. AURC: area under the curve of risk over coverage, by entropy. Coverage at 5 %: "
    "share of the answers, the most certain first, of which at most 5 % are wrong."
)
OUTLIER_NOTE = (
    "Detection by the entropy of the predictive distribution; pictures of the other set are the "
    "class to be found. FPR95: share of test pictures above the threshold that finds 95 % of the "
    "others."
)


Measured = tuple[Run, Measures | RegressionMeasures]
"""A run with its measures."""

REGRESSION_NOTE = (
    "RMSE and widths in units of the values, log-likelihood in nats for each example. Coverage: "
    "share of the values within their 95 % intervals."
)


@dataclass(frozen=True)
class Picture:
    """A test picture with its prediction.

    Attributes:
        uri: the picture as an address that needs no network.
        caption: entropy, answer and label.
    """

    uri: str
    caption: str


@dataclass(frozen=True)
class Gallery:
    """Pictures of a run: those it is most certain of, and those it is least certain of."""

    title: str
    certain: tuple[Picture, ...]
    uncertain: tuple[Picture, ...]


def write_page(
    folders: Sequence[Path],
    page: Path,
    progress: Progress = silent,
    write: Callable[[Path, bytes], None] = write_atomically,
) -> list[Measured]:
    """Read runs, measure them, and write the page.

    Args:
        folders: of the runs, one or more.
        page: path of the HTML file.
        progress: called with runs done and runs in all.
        write: writes the page.

    Returns:
        The runs with their measures.

    Raises:
        InputError: a run has no predictions, or damaged ones.
        MissingPackageError: matplotlib or torchmetrics is not installed.
    """
    runs = [read_run(folder) for folder in folders]
    found: list[Measured] = []
    for done, run in enumerate(runs):
        progress(done, len(runs))
        found.append((run, measure_regression(run) if run.is_regression else measure(run)))
    progress(len(runs), len(runs))
    write(page, render_page(found).encode())
    return found


def render_page(everything: Sequence[Measured]) -> str:
    """The page of some runs with their measures."""
    found = [(run, own) for run, own in everything if isinstance(own, Measures)]
    regressions = [(run, own) for run, own in everything if isinstance(own, RegressionMeasures)]
    runs = [run for run, _ in found]
    plots = [
        (f"Bands of {run.title}", draw_bands(run)) for run, _ in regressions if _has_bands(run)
    ]
    if runs:
        plots += [
            ("Reliability", draw_reliability(runs)),
            ("Risk and coverage", draw_risk(runs)),
            *[(f"Entropies on {name}", draw_entropies(runs, name)) for name in _sets(runs)],
        ]
    return render_template(
        "uncertainty.html",
        title="Predictive uncertainty",
        subtitle=", ".join(run.title for run, _ in everything),
        regression=regression_table(regressions),
        regression_note=REGRESSION_NOTE,
        quality=quality_table(found),
        note=NOTE,
        outliers=outlier_table(found),
        outlier_note=OUTLIER_NOTE,
        plots=[
            (title, Version(title, "image/svg+xml", render_svg(sheet)).uri)
            for title, sheet in plots
        ],
        galleries=[_gallery(run) for run in runs if "certain" in run.tensors],
    )


def quality_table(found: Sequence[tuple[Run, Measures]]) -> Table:
    """One row for each run: error, likelihood, calibration, risk."""
    heads = (
        "run", "error, %", "NLL", "Brier", "ECE, %", "adaptive ECE, %", "AURC, %",
        "coverage at 5 %, %", "entropy", "epistemic", "mean AUROC, %",
    )  # fmt: skip
    rows = []
    for run, own in found:
        figures = (
            f"{100 * own.error:.2f}", f"{own.nll:.4f}", f"{own.brier:.4f}", f"{100 * own.ece:.2f}",
            f"{100 * own.adaptive_ece:.2f}", f"{100 * own.aurc:.3f}", f"{100 * own.coverage:.1f}",
            f"{own.entropy:.3f}", f"{own.epistemic:.4f}",
            DASH if own.auroc is None else f"{100 * own.auroc:.2f}",
        )  # fmt: skip
        rows.append((run.title, tuple(Cell((text,)) for text in figures)))
    return Table("Quality of the predictions", heads, tuple(rows))


def outlier_table(found: Sequence[tuple[Run, Measures]]) -> Table:
    """One row for each run and each other set."""
    heads = ("run and set", "entropy", "AUROC, %", "AUPR, %", "FPR95, %")
    rows = []
    for run, own in found:
        for name, (entropy, one) in own.outliers.items():
            shares = (one.auroc, one.aupr, one.fpr95)
            texts = (f"{entropy:.3f}", *(f"{100 * share:.2f}" for share in shares))
            rows.append((f"{run.title}: {name}", tuple(Cell((text,)) for text in texts)))
    return Table("Pictures of other sets", heads, tuple(rows))


def regression_table(found: Sequence[tuple[Run, RegressionMeasures]]) -> Table:
    """One row for each regression."""
    heads = ("run", "RMSE", "log-likelihood", "coverage of 95 % intervals, %", "width")
    rows = []
    for run, own in found:
        texts = (
            f"{own.rmse:.4g}", f"{own.log_likelihood:.3f}", f"{100 * own.coverage:.1f}",
            f"{own.width:.4g}",
        )  # fmt: skip
        rows.append((run.title, tuple(Cell((text,)) for text in texts)))
    return Table("Regressions", heads, tuple(rows))


def draw_bands(run: Run) -> "Figure":
    """Mean and 95 % intervals over an input of one number."""
    sheet, axes = _new_figure("input", "value")
    order = run.tensors["inputs"][:, 0].argsort()
    x = run.tensors["inputs"][order, 0].tolist()
    mean, low, high, values = (
        run.tensors[name][order, 0].tolist() for name in ("mean", "low", "high", "values")
    )
    axes.fill_between(x, low, high, color=_colour(0), alpha=0.25, label="95 % intervals")
    axes.plot(x, mean, color=_colour(0), label="mean")
    axes.plot(x, values, ".", color=_colour(1), label="values")
    return _finished(sheet, axes)


def _has_bands(run: Run) -> bool:
    return "inputs" in run.tensors and run.tensors["values"].shape[1] == 1


def draw_reliability(runs: Sequence[Run]) -> "Figure":
    """Accuracy over confidence; the diagonal is perfect calibration."""
    sheet, axes = _new_figure("confidence", "accuracy")
    axes.plot([0, 1], [0, 1], "--", color="#999999", linewidth=1)
    for index, run in enumerate(runs):
        bins = reliability(run.probs, run.labels, BINS)
        filled = bins.count > 0
        x, y = bins.confidence[filled].tolist(), bins.accuracy[filled].tolist()
        axes.plot(x, y, "o-", color=_colour(index), label=run.title, markersize=4)
    return _finished(sheet, axes)


def draw_risk(runs: Sequence[Run]) -> "Figure":
    """Share of wrong answers over the share of answers that are given."""
    sheet, axes = _new_figure("coverage", "risk, %")
    for index, run in enumerate(runs):
        curve = risk_coverage(run.tensors["entropy"], run.wrong)
        places = torch.linspace(0, len(curve.risk) - 1, min(POINTS, len(curve.risk))).long()
        x, y = curve.coverage[places].tolist(), (100 * curve.risk[places]).tolist()
        axes.plot(x, y, color=_colour(index), label=run.title)
    return _finished(sheet, axes)


def draw_entropies(runs: Sequence[Run], name: str) -> "Figure":
    """Empirical CDFs of entropies on another set (solid) and on the test set (dotted).

    Source: Louizos, figures 7 and 8.
    """
    sheet, axes = _new_figure("entropy, nats", "share at most this")
    widest = max(float(run.tensors["log_mean"].shape[1]) for run in runs)
    grid = torch.linspace(0, float(torch.tensor(widest).log()) * 1.02, POINTS)
    for index, run in enumerate(runs):
        kinds = ((run.outliers.get(name), "-", run.title), (run.tensors["entropy"], ":", None))
        for values, line, label in kinds:
            if values is not None:
                y = cumulative_shares(values, grid).tolist()
                axes.plot(grid.tolist(), y, line, color=_colour(index), label=label)
    return _finished(sheet, axes)


def _sets(runs: Sequence[Run]) -> list[str]:
    """Names of the other sets that any run has, in order."""
    return list(dict.fromkeys(name for run in runs for name in run.outliers))


def _new_figure(across: str, up: str) -> "tuple[Figure, Axes]":
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError("figures need", "matplotlib", "eval") from error
    sheet = Figure(figsize=(6, 4.2), layout="constrained")
    axes = sheet.add_subplot()
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(alpha=0.3)
    return sheet, axes


def _finished(sheet: "Figure", axes: "Axes") -> "Figure":
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, fontsize="small")
    return sheet


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _gallery(run: Run) -> Gallery:
    places = run.tensors["shown"].long()
    ends = []
    for name, own in zip(("certain", "uncertain"), places.chunk(2), strict=True):
        pairs = zip(run.tensors[name], own.tolist(), strict=True)
        ends.append(tuple(_picture(run, pixels, place) for pixels, place in pairs))
    return Gallery(run.title, *ends)


def _picture(run: Run, pixels: Tensor, place: int) -> Picture:
    array = pixels.movedim(0, -1).squeeze(-1).numpy()
    image = Image.fromarray(array)
    size = (ENLARGED * image.width, ENLARGED * image.height)
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.NEAREST).save(buffer, "PNG")
    answer, label = int(run.tensors["log_mean"][place].argmax()), int(run.labels[place])
    entropy = float(run.tensors["entropy"][place])
    caption = f"{entropy:.2f} nats, {answer}"
    if answer != label:
        caption += f", but is {label}"
    return Picture(Version("picture", "image/png", buffer.getvalue()).uri, caption)
