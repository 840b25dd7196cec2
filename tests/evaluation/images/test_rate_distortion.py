"""Measurements: sizes from the file, means over pictures, JSON there and back."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from laconic.data.folders import load_rgb
from laconic.errors import ConfigError, InputError
from laconic.evaluation.anchors.classical import ANCHORS
from laconic.evaluation.images.rate_distortion import measure_picture, rate_distortion
from laconic.evaluation.images.results import (
    Curve,
    Measurement,
    Point,
    Study,
    load_study,
    study_from_json,
    study_to_json,
)
from laconic.metrics import psnr


def test_every_combination_is_measured(study: Study) -> None:
    assert study.images == ["tall", "wide"]
    assert [curve.codec for curve in study.curves] == ["rounding", "jpeg"]
    for curve in study.curves:
        assert len(curve.points) == 5
        assert all([m.image for m in point.images] == study.images for point in curve.points)


def test_a_measurement_is_of_the_whole_file(folder: Path) -> None:
    pixels, codec = load_rgb(folder / "wide.png"), ANCHORS["jpeg"]
    got = measure_picture(codec, "wide", pixels, 40)
    data = codec.encode(pixels, 40)
    assert (got.width, got.height, got.bytes) == (240, 176, len(data))
    assert got.bpp == pytest.approx(8 * len(data) / (240 * 176))
    assert got.psnr == psnr(pixels, codec.decode(data))
    assert got.encode_seconds > 0
    assert got.decode_seconds > 0


def test_means_are_over_pictures_of_per_picture_figures(study: Study) -> None:
    point = study.curve("jpeg").points[1]
    for figure in ("bpp", "psnr", "ms_ssim"):
        first, second = (getattr(image, figure) for image in point.images)
        assert point.mean(figure) == pytest.approx((first + second) / 2)


def test_quality_rises_with_rate(study: Study) -> None:
    for curve in study.curves:
        assert curve.mean("bpp") == sorted(curve.mean("bpp"))
        assert curve.mean("psnr") == sorted(curve.mean("psnr"))


def test_code_length_adds_up(study: Study) -> None:
    for image in study.curves[0].points[0].images:
        length = image.code_length
        assert length is not None
        assert length.file_bits == 8 * image.bytes
        assert length.overhead_bits == 96
    assert study.curve("jpeg").points[0].images[0].code_length is None


def test_json_there_and_back(study: Study, tmp_path: Path) -> None:
    assert study_from_json(study_to_json(study)) == study
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"study": study_to_json(study)}, allow_nan=False))
    assert load_study(path) == study


def test_what_json_cannot_hold_is_null() -> None:
    exact = Measurement("x", 8, 8, 100, math.inf, math.nan, 0.1, 0.1)
    study = Study("t", (Curve("c", "C", "", (Point(1.0, (exact,)),)),))
    document = study_to_json(study)
    json.dumps(document, allow_nan=False)
    assert document["curves"][0]["points"][0]["mean"]["psnr"] is None
    again = study_from_json(document).curves[0].points[0].images[0]
    assert math.isnan(again.psnr)
    assert replace(again, psnr=0, ms_ssim=0) == replace(exact, psnr=0, ms_ssim=0)


@pytest.mark.parametrize("spoil", ["format", "title", "curves"])
def test_damaged_json(study: Study, spoil: str) -> None:
    document = study_to_json(study)
    del document[spoil]
    with pytest.raises(InputError):
        study_from_json(document)


def test_unreadable_json(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    for name in ("bad.json", "missing.json"):
        with pytest.raises(InputError):
            load_study(tmp_path / name)


def test_progress_counts_to_the_end(folder: Path, rounding: Callable[[], object]) -> None:
    seen: list[tuple[int, int]] = []
    rate_distortion(
        [(rounding(), (3.0, 9.0))], folder, lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_plans_that_make_no_sense(folder: Path, rounding: Callable[[], object]) -> None:
    for plan in ([], [(rounding(), ())], [(rounding(), (1.0,)), (rounding(), (2.0,))]):
        with pytest.raises(ConfigError):
            rate_distortion(plan, folder)


def test_unknown_codec(study: Study) -> None:
    with pytest.raises(InputError, match="rounding"):
        study.curve("gif")
