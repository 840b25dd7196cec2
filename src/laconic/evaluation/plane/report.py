"""A sweep as a report: figures, a table of points, and one HTML page that loads nothing else."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from laconic.container.storage import write_atomically
from laconic.evaluation.plane.claims import Claim, check_claims
from laconic.evaluation.plane.figures import draw_plane, draw_skew, new_figure, spans_decades
from laconic.evaluation.plane.grids import draw_grid, families_with_grids
from laconic.evaluation.plane.point_groups import FAILS, HOLDS, UNKNOWN, best_of, short
from laconic.evaluation.plane.points import PlanePoint, read_points
from laconic.evaluation.plane.style import DARK, LIGHT, Theme
from laconic.evaluation.plane.tables import (
    claims_table,
    entropy_bound,
    figure,
    files_table,
    frontier_of,
    information_table,
    number,
    points_csv,
    points_table,
    settings_table,
    sort_points,
)
from laconic.evaluation.report.figures import figure_paths, render_svg, save_figure
from laconic.evaluation.report.page import Version
from laconic.evaluation.report.templates import Cell, Table, render_template
from laconic.progress import Progress, silent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTION = (
    "Each marker is one model. Colour: decoder (cold: deconvolutional, warm: autoregressive) and "
    "marginal; shape: marginal (circle: Gaussian, square: flow, triangle: VampPrior); filled: "
    "encoder with a flow. Steps: Pareto frontier, its points crossed; thick grey: convex hull. "
    "Error bars: one standard error."
)

KINDS = {
    "reconstructions": "z ~ e(z | x), x ~ d(x | z)",
    "generations": "z ~ m(z), x ~ d(x | z)",
}
"""Kinds of grids, and the distributions of their samples."""

DENSITIES = (
    "These models have densities of pixels in [0, 1]: a distortion may be below 0, and no sum "
    "R + D bounds an entropy. Each β has its own likelihood."
)

CLAIMS_NOTE = (
    "Alemi et al., Fixing a broken ELBO. Differences count beyond two standard errors, taken as "
    "independent. Groups of families are compared on their lower convex hulls."
)

POINTS_NOTE = (
    "Nats per image, ± one standard error. IWAE and AIS are bounds on −log p(x). ×: no other model "
    "has both a lower rate and a lower distortion."
)

FILES_NOTE = (
    "Every file holds whole images: its ideal is R + D. On the plane, what a file takes beyond its "
    "ideal is drawn as more rate."
)

FAVOURITE = "-+v"
"""The family whose grids the source shows; they are open on the page."""


@dataclass(frozen=True)
class Plot:
    """A figure of the report.

    Attributes:
        name: of its files, without ending.
        alt: what it shows, for readers who cannot see it.
        caption: the text under it.
        draw: draws it in a theme.
    """

    name: str
    alt: str
    caption: str
    draw: Callable[[Theme], "Figure"]


@dataclass(frozen=True)
class Section:
    """One plane of the report.

    Attributes:
        name: name of the data set.
        points: points on this plane.
        plots: plots of rate and distortion.
        grids: reconstructions and generations, by family.
    """

    name: str
    points: Sequence[PlanePoint]
    plots: Sequence[Plot]
    grids: Mapping[str, Sequence[Plot]]

    @property
    def count(self) -> int:
        """Number of figures to draw."""
        return len(self.plots) + sum(map(len, self.grids.values()))


@dataclass(frozen=True)
class ShownPlot:
    """A figure on the page.

    Attributes:
        light: its address on a light page.
        dark: its address on a dark page.
        alt: as of `Plot`.
        caption: as of `Plot`.
    """

    light: str
    dark: str
    alt: str
    caption: str


@dataclass(frozen=True)
class ShownGrids:
    """The grids of one family, and whether the page opens them."""

    family: str
    plots: tuple[ShownPlot, ...]
    is_open: bool


@dataclass(frozen=True)
class Part:
    """What is under one heading of a section: a table with notes, plots, or grids."""

    head: str
    table: Table | None = None
    notes: tuple[str, ...] = ()
    plots: tuple[ShownPlot, ...] = ()
    grids: tuple[ShownGrids, ...] = ()


@dataclass(frozen=True)
class Fact:
    """A figure that a reader wants first."""

    what: str
    value: Cell
    note: str


@dataclass(frozen=True)
class ShownSection:
    """One plane on the page."""

    name: str
    facts: tuple[Fact, ...]
    parts: tuple[Part, ...]


Tick = Callable[[], None]
"""Called after every figure."""


def replace(path: Path) -> None:
    """Allow every file: existing files are replaced."""


def write_report(
    runs: Sequence[Path],
    out: Path,
    title: str = "Rate-distortion report",
    progress: Progress = silent,
    check: Callable[[Path], None] = replace,
) -> list[Path]:
    """Figures (SVG and PNG), points.csv and report.html, data set by data set.

    Args:
        runs: folders of runs, searched to any depth, or result.json files.
        out: folder to write into; it is made, and files of the same names are replaced,
            unless `check` refuses them.
        title: title of the page.
        progress: called after every figure.
        check: called with every file before anything is drawn; an exception stops the report.

    Returns:
        The files written, the page first.

    Raises:
        ConfigError: matplotlib is not installed.
        InputError: there are no runs, or a run cannot be read; the message names the file.
    """
    points = sort_points(read_points(runs))
    planes = sorted({point.plane for point in points})
    plan = [_plan(name, [p for p in points if p.plane == name]) for name in planes]
    steps = Steps(sum(section.count for section in plan), progress)
    if steps.total:
        new_figure(LIGHT, 1, 1)  # Without matplotlib nothing is written.
    report, table = out / "report.html", out / "points.csv"
    for path in (report, table, *(path for section in plan for path in _files_of(section, out))):
        check(path)
    out.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    sections = []
    for section in plan:
        shown, files = _write_section(section, out, steps.tick)
        sections.append(shown)
        written += files
    page = render_template("plane.html", title=title, subtitle=_subtitle(points), sections=sections)
    write_atomically(report, page.encode("utf-8"))
    write_atomically(table, points_csv(points).encode("utf-8"))
    return [report, table, *written]


def _subtitle(points: Sequence[PlanePoint]) -> str:
    families = len({point.family for point in points})
    runs, kinds = _count(len(points), "run"), _count(families, "model family", "model families")
    return (
        f"{runs} of {kinds}. R is the rate, D the distortion, both in nats per image of "
        "the test set; the negative ELBO is R + D."
    )


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _plan(name: str, points: Sequence[PlanePoint]) -> Section:
    slug = _slug(name)
    return Section(name, points, list(_plots(points, name, slug)), _grid_plots(points, slug))


def _files_of(section: Section, out: Path) -> list[Path]:
    """The files of a plane's figures."""
    plots = [*section.plots, *(plot for plots in section.grids.values() for plot in plots)]
    return [path for plot in plots for path in figure_paths(out / plot.name)]


def _write_section(section: Section, out: Path, tick: Tick) -> tuple[ShownSection, list[Path]]:
    """Draw the figures of one plane: what the page shows of it, and the files written."""
    written: list[Path] = []

    def save(plots: Sequence[Plot]) -> tuple[ShownPlot, ...]:
        saved = [_save(plot, out, tick) for plot in plots]
        written.extend(file for _, files in saved for file in files)
        return tuple(shown for shown, _ in saved)

    figures = save(section.plots)
    grids: list[ShownGrids] = []
    for family, plots in section.grids.items():
        grids.append(ShownGrids(family, save(plots), family == FAVOURITE or not grids))
    return _show_section(section, figures, tuple(grids)), written


def _show_section(
    section: Section, figures: tuple[ShownPlot, ...], grids: tuple[ShownGrids, ...]
) -> ShownSection:
    """What the page shows of one plane; parts without content are left out."""
    points = section.points
    dense = any(point.density for point in points)
    claims = [] if dense else check_claims(points)
    files = files_table(points)
    parts = (
        Part("The plane", plots=figures) if figures else None,
        Part("Claims of the source", claims_table(claims), (CLAIMS_NOTE,)) if claims else None,
        Part("All points", points_table(points), (POINTS_NOTE, *(DENSITIES,) * dense)),
        Part("Information", information_table(points), (_bounds(points, dense),)),
        Part("Ideal against file", files, (FILES_NOTE,)) if files else None,
        Part("Samples", grids=grids) if grids else None,
        Part("Settings", settings_table(points)),
    )
    return ShownSection(section.name, _facts(points, claims), tuple(filter(None, parts)))


def _bounds(points: Sequence[PlanePoint], dense: bool) -> str:
    """The note under the information table."""
    entropy = (
        "The entropy H is unknown; the lowest bound of any model, "
        f"{number(entropy_bound(points))} nats, replaces it, so H − D is at most the "
        "value shown. "
    )
    return (
        f"H − D ≤ I(X; Z) ≤ R. {'' if dense else entropy}E ≤ I ≤ G for samples of the model "
        "itself. Aggregate gap: KL of the aggregate posterior and the marginal."
    )


def _facts(points: Sequence[PlanePoint], claims: Sequence[Claim]) -> tuple[Fact, ...]:
    """The most important figures."""
    shown = [point for point in points if point.on_plane]
    verdicts = [claim.verdict for claim in claims]
    facts: list[Fact] = []
    if shown:
        best = best_of(shown)
        rates = sorted(point.rate for point in shown)
        ends = Cell((f"{short(rates[0])} to {short(rates[-1])}",))
        count = Cell((str(len(frontier_of(shown))),))
        facts += [
            Fact("best negative ELBO, nats", figure(best.negative_elbo), best.name),
            Fact("rates, nats", ends, _count(len(shown), "model")),
            Fact("on the frontier", count, "models that no other beats"),
        ]
    if claims:
        held = Cell((f"{verdicts.count(HOLDS)} of {len(verdicts)}",))
        others = f"{verdicts.count(FAILS)} do not, {verdicts.count(UNKNOWN)} not measured"
        facts.append(Fact("claims that hold", held, others))
    return tuple(facts)


def _plots(points: Sequence[PlanePoint], data: str, slug: str) -> Iterator[Plot]:
    """The plane and the skew planes; none if no run has both rate and distortion."""
    shown = [point for point in points if point.on_plane]
    if not shown:
        return
    best = f"The best negative ELBO is {best_of(shown).negative_elbo.value:.2f} nats."
    models = _count(len(shown), "model")
    yield Plot(
        f"{slug}_plane",
        f"Distortion against rate of {models} on {data}. {best} All points are in the table.",
        f"Distortion against rate. {CAPTION} Dashed: equal ELBO.",
        lambda theme: draw_plane(shown, f"{data}: the rate-distortion plane", theme),
    )
    yield Plot(
        f"{slug}_skew",
        f"Negative ELBO against rate of {models} on {data}. {best}",
        "The same on skew axes: negative ELBO against rate.",
        lambda theme: draw_skew(shown, f"{data}: negative ELBO against rate", theme=theme),
    )
    if spans_decades(shown):
        yield Plot(
            f"{slug}_skew_log",
            f"Negative ELBO against rate on a logarithmic axis, {models} on {data}. {best}",
            "The same near the best ELBO, rates on a logarithmic axis. Triangles at the upper "
            "edge: models above it.",
            lambda theme: draw_skew(
                shown, f"{data}: near the best ELBO", log_rate=True, theme=theme
            ),
        )


def _grid_plots(points: Sequence[PlanePoint], slug: str) -> Mapping[str, list[Plot]]:
    """By family: reconstructions and generations."""
    return {
        family: [_grid_plot(runs, family, kind, slug) for kind in KINDS]
        for family, runs in families_with_grids(points).items()
    }


def _grid_plot(runs: Sequence[PlanePoint], family: str, kind: str, slug: str) -> Plot:
    rates = f"{short(runs[0].rate)} to {short(runs[-1].rate)} nats"
    words = f"{kind.capitalize()} of family {family}, {KINDS[kind]}"
    return Plot(
        f"{slug}_{_slug(family)}_{kind}",
        f"{words}: single samples and means of samples at rates from {rates}.",
        words,
        lambda theme: draw_grid(runs, kind, words, theme),
    )


def _slug(name: str) -> str:
    """A name that can be part of a file's name."""
    return re.sub(r"[^-+.\w]+", "-", name)


class Steps:
    """Counts figures.

    Args:
        total: to come.
        progress: called after each.
    """

    def __init__(self, total: int, progress: Progress) -> None:
        self.total, self.progress, self.done = total, progress, 0

    def tick(self) -> None:
        """Count one more figure."""
        self.done += 1
        self.progress(self.done, self.total)


def _save(plot: Plot, out: Path, tick: Tick) -> tuple[ShownPlot, list[Path]]:
    """Write a figure, and show it as it looks on a light and on a dark page."""
    files = save_figure(plot.draw(LIGHT), out / plot.name)
    light, dark = (
        Version(plot.name, "image/svg+xml", data).uri
        for data in (files[1].read_bytes(), render_svg(plot.draw(DARK)))
    )
    tick()
    return ShownPlot(light, dark, plot.alt, plot.caption), files
