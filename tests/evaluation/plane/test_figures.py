"""Figures of the plane: what is drawn where."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from laconic.errors import InputError
from laconic.evaluation.plane.figures import (
    draw_plane,
    draw_skew,
    file_places,
    spans_decades,
)
from laconic.evaluation.plane.points import NATS_PER_BIT, PlanePoint, read_points
from laconic.evaluation.plane.style import DARK, LIGHT, family_styles, sort_families
from laconic.evaluation.report.figures import render_svg

FAMILIES = [e + d + m for e in "-+" for d in "-+" for m in "-+v"]
Write = Callable[..., Path]


@pytest.fixture
def points(write_run: Write, tmp_path: Path) -> list[PlanePoint]:
    """Rates 1, 2, 3; the second is beaten by the third family's; all but one on the frontier."""
    coded = {"bits_per_image": 140.0, "ideal_bits_per_image": 130.0, "images": 100}
    files = {"bits_back": coded, "relative_entropy": coded | {"bits_per_image": 150.0}}
    write_run("-+v", 2.0, 0.001, 81.0)
    write_run("---", 1.0, 20.0, 62.0, files=files)
    write_run("--v", 1.0, 22.0, 63.0)
    write_run("dense", 0.1, 100.0, 10.0)
    write_run("-+v", 0.1, -0.01, 150.0)
    write_run("---", 2.0, 5.0, 0.0, measures={"distortion_nats": None})
    return read_points([tmp_path])


def test_the_same_points_give_the_same_bytes(points: list[PlanePoint]) -> None:
    first, second = (render_svg(draw_plane(points, "title")) for _ in range(2))
    assert first == second


def lines(axes: object, label: str) -> np.ndarray:
    (line,) = [x for x in axes.get_lines() if x.get_label() == label]  # type: ignore[attr-defined]
    return np.column_stack(line.get_data())


def test_the_plane(points: list[PlanePoint]) -> None:
    (axes,) = draw_plane(points, "title").axes
    crosses = lines(axes, "on the frontier")
    assert crosses.tolist() == [[-0.01, 150], [0.001, 81], [20, 62], [100, 10]]
    assert lines(axes, "---").tolist() == [[20, 62]]
    assert lines(axes, "R + D = 81.00 (best ELBO)").sum(1) == pytest.approx([81.001, 81.001])
    hull, stairs = lines(axes, "convex hull"), lines(axes, "Pareto frontier")
    for rate, distortion in [point.place for point in points if point.on_plane]:
        assert np.interp(rate, *hull.T) <= distortion + 1e-9
        steps = stairs[(stairs[:, 0] <= rate)]
        assert steps[1:, 1].min() <= distortion
    assert set(stairs[1:, 1].round(9)) == {150, 81, 62, 10}


@pytest.mark.parametrize("log_rate", [False, True])
def test_the_skew_plane(points: list[PlanePoint], log_rate: bool) -> None:
    (axes,) = draw_skew(points, "title", log_rate=log_rate).axes
    assert axes.get_xscale() == ("log" if log_rate else "linear")
    crosses = lines(axes, "on the frontier")
    assert crosses[1:] == pytest.approx(np.array([[0.001, 81.001], [20, 82], [100, 110]]), rel=0.3)
    assert crosses[:, 1] == pytest.approx([149.99, 81.001, 82, 110])
    left, right = axes.get_xlim()
    assert ((left < crosses[:, 0]) & (crosses[:, 0] < right)).all()
    low, high = axes.get_ylim()
    assert low < 81
    assert (high < 115) == log_rate
    carets = [line for line in axes.get_lines() if line.get_marker() == 6]
    assert len(carets) == (2 if log_rate else 0)
    for line in carets:
        assert set(line.get_ydata()) == {high}


def test_densities_have_distortions_below_zero(write_run: Write, tmp_path: Path) -> None:
    for rate, distortion in ((300.0, -10_000.0), (1000.0, -20_000.0), (9000.0, -27_000.0)):
        write_run("default", 0.1, rate, distortion, density=True)
    points = read_points([tmp_path])
    (axes,) = draw_plane(points, "title").axes
    low, high = axes.get_ylim()
    assert low < -27_000
    assert -10_000 < high < 0
    assert lines(axes, "R + D = -19000.00 (best ELBO)").sum(1) == pytest.approx([-19_000] * 2)
    dashed = [line for line in axes.get_lines() if line.get_linestyle() == "--"]
    assert len(dashed) > 4  # isolines too
    for log_rate in (False, True):
        (axes,) = draw_skew(points, "title", log_rate=log_rate).axes
        low, high = axes.get_ylim()
        assert low < -19_000 < high
        assert (high > -9700) != log_rate
    assert draw_plane(points[:1], "one").axes


def test_files_beside_their_ideal(points: list[PlanePoint]) -> None:
    (point,) = [point for point in points if point.files]
    for coder, excess in (("bits_back", 10), ("relative_entropy", 20)):
        ideal, file = file_places(point, coder)
        assert ideal[0] == point.rate
        assert sum(ideal) == pytest.approx(130 * NATS_PER_BIT)
        assert sum(file) == pytest.approx((130 + excess) * NATS_PER_BIT)
        assert file[1] == ideal[1]


def test_families_have_different_marks() -> None:
    for theme in (LIGHT, DARK):
        styles = family_styles([*FAMILIES, "dense", "vae"], theme)
        assert len({tuple(style.values()) for style in styles.values()}) == 14
        for family in FAMILIES:
            hollow = styles[family]["markerfacecolor"] == theme.paper
            assert hollow == (family[0] == "-")
    assert sort_families(["dense", "++v", "---", "-+-", "---"]) == ["---", "-+-", "++v", "dense"]


def test_when_a_logarithmic_axis_is_worth_it(points: list[PlanePoint]) -> None:
    assert spans_decades(points)
    assert not spans_decades([point for point in points if point.rate > 10])
    assert not spans_decades([])


def test_one_point_and_none(points: list[PlanePoint]) -> None:
    for point in points[:1]:
        for log_rate in (False, True):
            assert draw_skew([point], "one", log_rate=log_rate).axes
        assert draw_plane([point], "one").axes
    for draw in (draw_plane, draw_skew):
        with pytest.raises(InputError, match="laconic rd run"):
            draw([point for point in points if not point.on_plane], "none")
