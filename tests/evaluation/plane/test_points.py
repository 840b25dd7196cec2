"""Reading runs: what is found, what is refused, what is missing."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from laconic.errors import InputError
from laconic.evaluation.plane.points import read_points

Write = Callable[..., Path]


def test_a_run_and_its_measures(write_run: Write) -> None:
    measures = {
        "iwae_nats": {"value": 80.0, "error": 0.3, "draws": 50},
        "information_nats": {"lower": 18.0, "upper": 19.5},
    }
    files = {"bits_back": {"bits_per_image": 120.0, "ideal_bits_per_image": 119.0, "images": 100}}
    file = write_run("-+v", 0.5, 20.0, 62.0, measures=measures, files=files, annealed=True)
    (point,) = read_points([file.parent.parent])
    assert point.run == f"runs/{file.parent.name}"
    assert point.place == (20.0, 62.0)
    assert point.negative_elbo.value == 82.0
    assert point.negative_elbo.error == pytest.approx(0.2)
    assert (point.part("encoder"), point.part("decoder"), point.part("marginal")) == tuple("-+v")
    assert point.measures["iwae_nats"].draws == 50
    assert point.information == (18.0, 19.5)
    assert point.files["bits_back"].ideal_bits == 119.0
    assert point.annealed
    assert point.beta == 0.5
    assert point.grids is None


def test_the_measured_sum_comes_first(write_run: Write) -> None:
    sum_of = {"negative_elbo_nats": {"value": 81.5, "error": 0.05}}
    (point,) = read_points([write_run("---", 1.0, 20.0, 62.0, measures=sum_of)])
    assert (point.negative_elbo.value, point.negative_elbo.error) == (81.5, 0.05)


def test_folders_are_searched_and_runs_counted_once(write_run: Write, tmp_path: Path) -> None:
    first, second = write_run("---", 1.0, 20.0, 62.0), write_run("---", 2.0, 10.0, 80.0)
    points = read_points([tmp_path, first, second.parent, tmp_path / "runs"])
    assert [point.beta for point in points] == [1.0, 2.0]


@pytest.mark.parametrize("missing", [{}, None, {"value": None}, {"value": math.nan}])
def test_what_was_not_measured_is_absent(write_run: Write, missing: object) -> None:
    file = write_run("---", 1.0, 20.0, 62.0, measures={"ais_nats": missing, "rate_nats": missing})
    (point,) = read_points([file])
    assert not {"ais_nats", "rate_nats"} & set(point.measures)
    assert not point.on_plane
    assert math.isnan(point.negative_elbo.value)


@pytest.mark.parametrize(
    ("objective", "beta"),
    [
        ({"name": "elbo"}, 1.0),
        ({"name": "beta", "beta": 2}, 2.0),
        ({"name": "target rate", "rate": 10.0}, math.nan),
        (None, math.nan),
    ],
)
def test_the_weight_of_the_rate(write_run: Write, objective: object, beta: float) -> None:
    (point,) = read_points([write_run("dense", 1.0, 20.0, 62.0, objective=objective)])
    assert point.beta == pytest.approx(beta, nan_ok=True)
    assert point.part("decoder") == ""


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[1]",
        json.dumps({"format": "something else"}),
        json.dumps({"format": "laconic rd point 1"}),
        json.dumps({"format": "laconic rd point 1", "measures": [1]}),
    ],
)
def test_a_foreign_or_damaged_file_is_named(write_run: Write, content: str) -> None:
    file = write_run("---", 1.0, 20.0, 62.0)
    file.write_text(content)
    with pytest.raises(InputError, match=r"result\.json: "):
        read_points([file.parent])


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="laconic rd run"):
        read_points([])
    with pytest.raises(InputError, match="measure with `laconic rd run` first"):
        read_points([tmp_path])
    with pytest.raises(InputError, match="no such folder"):
        read_points([tmp_path / "nowhere"])
