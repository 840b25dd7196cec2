"""Grids of samples."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from laconic.errors import InputError
from laconic.evaluation.plane.grids import (
    COLUMNS,
    describe_objective,
    draw_grid,
    families_with_grids,
    load_grids,
)
from laconic.evaluation.plane.points import PlanePoint, read_points

Write = Callable[..., Path]
ROWS, SAMPLES, SIDE = 3, 5, 8


def write_grids(file: Path, inputs: int = 7) -> Path:
    """Generations are all 0 but the first sample, which is 250: their mean is 50."""
    generations = np.zeros((ROWS, SAMPLES, SIDE, SIDE), np.uint8)
    generations[:, 0] = 250
    path = file.with_name("grids.npz")
    np.savez(
        path,
        inputs=np.full((ROWS, SIDE, SIDE), inputs, np.uint8),
        reconstructions=generations,
        generations=generations,
    )
    return path


@pytest.fixture
def runs(write_run: Write, tmp_path: Path) -> list[PlanePoint]:
    for index in range(9):
        write_grids(write_run("-+v", 2.0 / (index + 1), 10.0 * index, 80.0, grids="grids.npz"))
    write_run("---", 1.0, 20.0, 60.0)
    return read_points([tmp_path])


def test_runs_are_spread_over_the_rates(runs: list[PlanePoint]) -> None:
    shown = families_with_grids(runs)
    assert list(shown) == ["-+v"]
    rates = [point.rate for point in shown["-+v"]]
    assert len(rates) == COLUMNS
    assert (rates[0], rates[-1]) == (0, 80)
    assert rates == sorted(set(rates))


@pytest.mark.parametrize("kind", ["reconstructions", "generations"])
def test_pairs_of_sample_and_mean(runs: list[PlanePoint], kind: str) -> None:
    sheet = draw_grid(runs[:2], kind, "title")
    pictures = [axes.get_images()[0].get_array() for axes in sheet.axes]
    assert len(pictures) == 2 + (kind == "reconstructions")
    if kind == "reconstructions":
        assert np.all(pictures[0][:SIDE, :SIDE] == 7)
    pair = np.asarray(pictures[-1])
    assert pair.shape == (ROWS * (SIDE + 2) - 2, 2 * (SIDE + 2) - 2)
    assert np.all(pair[:SIDE, :SIDE] == 250)
    assert np.all(pair[:SIDE, SIDE + 2 :] == 50)
    assert "β = 1\nR 10" in sheet.axes[-1].get_title()


def test_pictures_in_colour(write_run: Write, tmp_path: Path) -> None:
    file = write_run("default", 0.01, 4321.0, -12345.6, grids="grids.npz", density=True)
    samples = np.zeros((2, SAMPLES, 64, 64, 3), np.uint8)
    samples[..., 2] = 90
    inputs = samples[:, 0]
    np.savez(
        file.with_name("grids.npz"), inputs=inputs, reconstructions=samples, generations=samples
    )
    (point,) = read_points([tmp_path])
    sheet = draw_grid([point], "reconstructions", "title")
    pictures = [np.asarray(axes.get_images()[0].get_array()) for axes in sheet.axes]
    assert [one.shape for one in pictures] == [(130, 64, 3), (130, 130, 3)]
    assert pictures[1][10, 10].tolist() == [0, 0, 90]
    assert "R 4321\nD −12346" in sheet.axes[-1].get_title()
    assert point.grids is not None
    np.savez(point.grids, inputs=inputs, reconstructions=samples[..., :2], generations=samples)
    with pytest.raises(InputError, match="grids of shapes"):
        load_grids(point.grids)


def test_the_objective_in_words(write_run: Write) -> None:
    target = {"name": "target rate", "rate": 20.0}
    (point,) = read_points([write_run("---", 1.0, 20.0, 62.0, objective=target, annealed=True)])
    assert describe_objective(point) == "target rate 20 annealed"


def test_what_cannot_be_drawn(runs: list[PlanePoint]) -> None:
    first, second = (point.grids for point in runs[:2])
    assert first
    assert second
    write_grids(second, inputs=8)
    with pytest.raises(InputError, match="other inputs"):
        draw_grid(runs[:2], "reconstructions", "title")
    with pytest.raises(InputError, match="without grids"):
        draw_grid(runs[-1:], "generations", "title")
    np.savez(first, inputs=np.zeros((1, 2, 2)), reconstructions=np.zeros(3), generations=[1])
    with pytest.raises(InputError, match="grids of shapes"):
        load_grids(first)
    for content in (b"", b"PK", b"no archive"):
        first.write_bytes(content)
        with pytest.raises(InputError, match=r"grids\.npz"):
            load_grids(first)
    first.unlink()
    with pytest.raises(InputError, match=r"grids\.npz"):
        load_grids(first)
