"""Tables of the measures on the rate-distortion plane: for the page and as CSV."""

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from laconic.evaluation.plane.claims import Claim
from laconic.evaluation.plane.grids import describe_objective
from laconic.evaluation.plane.point_groups import FAILS, HOLDS, UNKNOWN
from laconic.evaluation.plane.points import NATS_PER_BIT, Measure, PlanePoint
from laconic.evaluation.plane.style import sort_families
from laconic.evaluation.report.page import DASH
from laconic.evaluation.report.templates import Cell, Table
from laconic.metrics.frontier import pareto_frontier

Column = tuple[str, Callable[[PlanePoint], str | Cell]]
"""A heading and what is under it."""

BOUNDS = ("negative_elbo_nats", "iwae_nats", "ais_nats")
"""Upper bounds on the mean -log p(x), and so on the entropy of the data."""


def sort_points(points: Sequence[PlanePoint]) -> list[PlanePoint]:
    """Family by family, by rising rate."""
    order = sort_families([point.family for point in points])
    infinite = math.inf
    return sorted(
        points,
        key=lambda p: (order.index(p.family), p.rate if p.on_plane else infinite, p.name),
    )


def frontier_of(points: Sequence[PlanePoint]) -> set[str]:
    """The runs on the Pareto frontier."""
    shown = [point for point in points if point.on_plane]
    return {shown[index].run for index in pareto_frontier([point.place for point in shown])}


def entropy_bound(points: Sequence[PlanePoint]) -> float:
    """The lowest upper bound on the entropy of the data by any model, nats; NaN without any.

    Densities bound no entropy of pixels that are whole steps: they count for nothing.
    """
    points = [point for point in points if not point.density]
    values = [point.value(name) for point in points for name in BOUNDS]
    values += [point.negative_elbo.value for point in points]
    return min((value for value in values if math.isfinite(value)), default=math.nan)


def points_table(points: Sequence[PlanePoint]) -> Table:
    """The table of rate, distortion and bounds of the likelihood; frontier points are marked."""
    frontier = frontier_of(points)
    columns: list[Column] = [
        ("objective", describe_objective),
        ("R", lambda p: figure(p.measures.get("rate_nats"))),
        ("D", lambda p: figure(p.measures.get("distortion_nats"))),
        ("R + D", lambda p: figure(p.negative_elbo)),
        ("IWAE", lambda p: _with_draws(p.measures.get("iwae_nats"))),
        ("AIS", lambda p: figure(p.measures.get("ais_nats"))),
        ("frontier", lambda p: "×" if p.run in frontier else ""),
    ]
    return _table("Points, nats per image", columns, points)


def information_table(points: Sequence[PlanePoint]) -> Table:
    """The table of the bounds H - D <= I <= R, the generative bounds, and the gaps."""
    entropy = entropy_bound(points)
    columns: list[Column] = [
        ("H − D, at most", lambda p: number(entropy - p.distortion)),
        ("I, at least", lambda p: number(p.information[0])),
        ("I, at most", lambda p: number(p.information[1])),
        ("R", lambda p: figure(p.measures.get("rate_nats"))),
        ("aggregate gap", lambda p: figure(p.measures.get("aggregate_gap_nats"))),
        ("E", lambda p: figure(p.measures.get("generative_lower_nats"))),
        ("G", lambda p: figure(p.measures.get("generative_upper_nats"))),
        ("G, by IWAE", lambda p: figure(p.measures.get("generative_upper_iwae_nats"))),
        ("amortisation gap", lambda p: figure(p.measures.get("amortisation_gap_nats"))),
        ("training R", lambda p: figure(p.measures.get("train_rate_nats"))),
        ("training D", lambda p: figure(p.measures.get("train_distortion_nats"))),
    ]
    return _table("Information, nats per image", columns, points)


def files_table(points: Sequence[PlanePoint]) -> Table | None:
    """Ideal against file, one row per file; None where nothing was coded."""
    rows = []
    for point in points:
        for coder, file in sorted(point.files.items()):
            over = 100 * (file.bits / file.ideal_bits - 1) if file.ideal_bits else math.nan
            nats = (file.ideal_bits * NATS_PER_BIT, file.bits * NATS_PER_BIT)
            cells = [coder.replace("_", " "), f"{file.images:,}"]
            cells += [number(value) for value in (file.ideal_bits, file.bits, *nats)]
            rows.append((point.name, [*cells, number(over, sign="+")]))
    heads = (
        "coder", "images", "ideal, bits", "file, bits", "ideal, nats", "file, nats", "over ideal, %"
    )  # fmt: skip
    return make_table("Ideal against file, per image", ("model", *heads), rows) if rows else None


def settings_table(points: Sequence[PlanePoint]) -> Table:
    """The table of every run's settings and costs."""
    columns: list[Column] = [
        ("preset", lambda p: _setting(p, "preset")),
        ("objective", lambda p: _setting(p, "objective")),
        ("annealed", lambda p: "yes" if p.annealed else "no"),
        ("seed", lambda p: _setting(p, "seed")),
        ("steps", lambda p: _setting(p, "steps")),
        ("seconds", lambda p: _setting(p, "train_seconds")),
        ("parameters", lambda p: _setting(p, "parameters")),
        ("folder", lambda p: p.run),
    ]
    return _table("Settings of the runs", columns, points)


def claims_table(claims: Sequence[Claim]) -> Table:
    """Every claim with its verdict and the numbers behind it."""
    signs = {HOLDS: ("holds", "✓"), FAILS: ("fails", "✗"), UNKNOWN: ("unknown", "?")}
    rows: list[tuple[str, list[str | Cell]]] = []
    for claim in claims:
        kind, sign = signs[claim.verdict]
        lines = claim.numbers.replace("-", "\N{NON-BREAKING HYPHEN}").split("; ")
        verdict = Cell((f"{sign} {claim.verdict}",), kind=kind)
        rows.append((claim.words, [claim.source, verdict, Cell(tuple(lines))]))
    return make_table("Claims", ("claim", "source", "verdict", "numbers"), rows, "prose")


def make_table(
    name: str,
    heads: Sequence[str],
    rows: Sequence[tuple[str, Sequence[str | Cell]]],
    kind: str = "",
) -> Table:
    """A table whose cells may be plain text.

    Args:
        name: name for screen readers.
        heads: over the columns, the first over the rows' names.
        rows: each a name and its cells.
        kind: a class of the style sheet.
    """
    filled = (
        (title, tuple(cell if isinstance(cell, Cell) else Cell((cell,)) for cell in cells))
        for title, cells in rows
    )
    return Table(name, tuple(heads), tuple(filled), kind)


def figure(measure: Measure | None, *notes: str) -> Cell:
    """A measure with its standard error and notes; a dash where there is none."""
    if measure is None or math.isnan(measure.value):
        return Cell((DASH,), notes)
    if math.isnan(measure.error):
        return Cell((number(measure.value),), notes)
    return Cell((number(measure.value),), (f"± {number(measure.error)}", *notes))


def number(value: float, sign: str = "") -> str:
    """Two decimals, three digits below one hundredth; a true minus sign; a dash for NaN."""
    if not math.isfinite(value):
        return DASH
    form = ".2f" if abs(value) >= 0.01 or value == 0 else ".2g"
    return f"{value:{sign}{form}}".replace("-", "−")


def points_csv(points: Sequence[PlanePoint]) -> str:
    """All measures as CSV, one line per run; a missing measure is an empty field."""
    frontier = frontier_of(points)
    rows = [_flat(point) | {"on_frontier": point.run in frontier} for point in points]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _flat(point: PlanePoint) -> dict[str, Any]:
    """A point as columns."""
    row: dict[str, Any] = {
        "run": point.run, "name": point.name, "family": point.family, "data": point.data,
        "beta": point.beta,
    }  # fmt: skip
    for name in sorted(point.settings.keys() - {"settings"}):  # the whole configuration
        setting = point.settings[name]
        plain = isinstance(setting, str | int | float)
        row[name] = setting if plain else json.dumps(setting, sort_keys=True)
    for name, measure in point.measures.items():
        row |= {name: measure.value, f"{name}_error": measure.error}
        if measure.draws:
            row[f"{name}_draws"] = measure.draws
    row |= dict(zip(("information_lower", "information_upper"), point.information, strict=True))
    for coder, file in point.files.items():
        row |= {f"{coder}_bits": file.bits, f"{coder}_ideal_bits": file.ideal_bits}
        row[f"{coder}_images"] = file.images
    return {
        name: "" if isinstance(value, float) and math.isnan(value) else value
        for name, value in row.items()
    }


def _table(name: str, columns: Sequence[Column], points: Sequence[PlanePoint]) -> Table:
    """One row per point; columns in which nothing was measured are left out."""
    cells = {head: [fill(point) for point in points] for head, fill in columns}
    nothing = (DASH, "", Cell((DASH,)))
    shown = {
        head: column
        for head, column in cells.items()
        if any(cell not in nothing for cell in column)
    }
    rows = [
        (point.name, [column[index] for column in shown.values()])
        for index, point in enumerate(points)
    ]
    return make_table(name, ("model", *shown), rows)


def _with_draws(measure: Measure | None) -> Cell:
    notes = (f"k = {measure.draws}",) if measure and measure.draws else ()
    return figure(measure, *notes)


def _setting(point: PlanePoint, name: str) -> str:
    value = point.settings.get(name)
    if value is None:
        return DASH
    if isinstance(value, int | float):
        return f"{value:,}"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
