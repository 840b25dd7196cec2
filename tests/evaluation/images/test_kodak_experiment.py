"""The Kodak experiment end to end, on two small pictures with a model that has no weights."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from laconic.codecs.image.codec import ImageCodec
from laconic.evaluation.images.results import Study, finite, study_to_json
from laconic.models.base import LatentVariableModel


@pytest.fixture(scope="module")
def experiment(repository: Path) -> ModuleType:
    path = repository / "experiments" / "kodak" / "run.py"
    spec = importlib.util.spec_from_file_location("kodak_run", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def config(experiment: ModuleType) -> dict[str, Any]:
    config = json.loads((experiment.HERE / "config.json").read_text())
    small = {"qualities": [1, 60], "anchors": ["jpeg"], "threads": 1, "sample_qualities": [40]}
    source = [{"bpp": 0.05, "psnr": 99.0, "ms_ssim_db": 1.0}]
    names = {"portability_images": ["wide"], "source_image": "tall", "source_points": source}
    return config | small | names


@pytest.fixture(scope="module")
def outcome(
    experiment: ModuleType, config: dict[str, Any], folder: Path, tiny_model: LatentVariableModel
) -> tuple[Study, dict[str, Any]]:
    def make(dtype: str, threads: int) -> ImageCodec:
        return ImageCodec(tiny_model, "tiny", bytes(16), dtype=dtype, threads=threads)

    return experiment.measure_all(make, folder, config)


def test_every_target_is_answered(outcome: tuple[Study, dict[str, Any]]) -> None:
    _, found = outcome
    targets = found["targets"]
    assert [row["issue"] for row in targets] == [1, 1, 1, 1, 2, 2, 3, 4, 4, 5, 5, 5, 1, 1, 3, 3]
    assert [row["met"] for row in targets[7:12]] == [True] * 5
    json.dumps(finite(found), allow_nan=False)


def test_the_figures_agree_with_each_other(outcome: tuple[Study, dict[str, Any]]) -> None:
    study, found = outcome
    for row, point in zip(found["lengths"], study.curves[0].points, strict=True):
        written = sum(level["written"] for level in row["levels"])
        assert written + row["header"] == pytest.approx(row["file"])
        assert row["file_over_ideal"] == pytest.approx(row["file"] / row["ideal"])
        assert row["worst_file_over_ideal"] >= row["file_over_ideal"]
        assert row["bpp"] == point.mean("bpp")
    assert {row["image"] for row in found["samples"]} == {"tall", "wide"}
    assert len(found["portability"]) == 4


def test_figures_are_drawn(
    experiment: ModuleType,
    outcome: tuple[Study, dict[str, Any]],
    config: dict[str, Any],
    tmp_path: Path,
) -> None:
    experiment.draw(outcome[0], config, tmp_path / "no anchors", tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    stems = ("mean-psnr", "mean-ms_ssim_db", "tall-psnr", "tall-ms_ssim_db")
    assert names == {stem + ending for stem in stems for ending in (".png", ".svg")}


def test_other_codecs_are_taken_from_an_earlier_run(
    outcome: tuple[Study, dict[str, Any]],
    experiment: ModuleType,
    config: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study, place = outcome[0], tmp_path / "results.json"
    run = experiment.describe_run("", 0.0, tmp_path)
    place.write_text(json.dumps({"run": run, "study": study_to_json(study)}))
    known = experiment.earlier_anchors(place, config)
    assert sorted(known) == sorted(config["anchors"])
    asked = []

    def measure(plan: Any, folder: Path, progress: Any) -> Study:
        asked.extend(codec.name for codec, _ in plan)
        return Study("", study.curves[:1])

    monkeypatch.setattr(experiment, "rate_distortion", measure)
    codec = SimpleNamespace(name=study.curves[0].codec)
    again = experiment.with_anchors(codec, tmp_path, config, known)
    assert asked == [codec.name]
    assert [curve.codec for curve in again.curves] == [curve.codec for curve in study.curves]
    run["versions"]["pillow"] = "1.0"
    place.write_text(json.dumps({"run": run, "study": study_to_json(study)}))
    with pytest.raises(SystemExit, match="other versions"):
        experiment.earlier_anchors(place, config)


def test_a_missed_target_is_said_to_be_missed(experiment: ModuleType) -> None:
    comparison = {"reference": "jpeg", "figure": "psnr", "bd_rate_of_mean_curve": -29.9}
    point = {"bpp": 0.3, "file_over_ideal": 1.26}
    found = {
        "comparisons": [comparison],
        "source_image": [],
        "samples": [{"exact": 30.0, "coded": 29.7}, {"exact": 30.0, "coded": 30.1}],
        "lengths": [point, {"bpp": 0.2, "file_over_ideal": 9.0}],
        "seconds": {
            "laconic": {
                "encode": 5.1,
                "decode": 1.9,
                "encode_by_setting": {"50": 1.1},
                "decode_by_setting": {"40": 0.4},
            }
        },
        "portability": [
            {"image": "a", "dtype": "float32", "psnr": 30.0},
            {"image": "a", "dtype": "float32", "psnr": 30.02},
            {"image": "a", "dtype": "bfloat16", "psnr": 29.8},
        ],
    }
    met = [row["met"] for row in experiment.targets(found)]
    assert met[:10] == [False, None, False, True, False, False, True, False, None, True]
    assert met[10:] == [False, False, False, None]
