"""BD-rates of studies, and the published curves."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from laconic.errors import InputError
from laconic.evaluation.anchors.published import load_flamich_image, load_published
from laconic.evaluation.images.comparison import compare, compare_all, image_at, mean_at
from laconic.evaluation.images.record import compare_with, record
from laconic.evaluation.images.results import Curve, Measurement, Point, Study, load_study

RATES = (0.1, 0.2, 0.4, 0.8, 1.6)


def curve(name: str, cost: float, images: int = 2) -> Curve:
    """A codec that spends `cost` times the bits; picture i starts 3 i dB higher."""

    def measurement(rate: float, i: int) -> Measurement:
        psnr, similarity = 30 + 3 * i + 4 * math.log(rate), 1 - 0.05 / rate**0.5
        size = round(rate * cost * 100_000)
        return Measurement(f"i{i}", 1000, 800, size, psnr, similarity, 1.0, 0.5)

    points = tuple(
        Point(rate, tuple(measurement(rate, i) for i in range(images))) for rate in RATES
    )
    return Curve(name, name, "", points)


def test_a_constant_factor_is_found_both_ways() -> None:
    for figure in ("psnr", "ms_ssim_db"):
        got = compare(curve("a", 0.75), curve("b", 1.0), figure)
        assert got.bd_rate_of_mean_curve == pytest.approx(-25, abs=0.02)
        assert got.mean_of_image_bd_rates == pytest.approx(-25, abs=0.02)
        assert got.images_counted == 2
        assert got.bd_quality_of_mean_curve > 0


def test_the_first_codec_is_judged_by_all_others() -> None:
    study = Study("t", (curve("a", 1.0), curve("b", 2.0), curve("c", 0.5)))
    got = [(d.codec, d.reference, d.figure) for d in compare_all(study)]
    assert got == [(*pair, f) for pair in ("ab", "ac") for f in ("psnr", "ms_ssim_db")]


def test_no_overlap_is_not_a_number() -> None:
    high = curve("high", 1.0)
    points = tuple(
        replace(point, images=tuple(replace(m, psnr=m.psnr + 99) for m in point.images))
        for point in high.points
    )
    got = compare(replace(high, points=points), curve("b", 1.0), "psnr")
    assert math.isnan(got.bd_rate_of_mean_curve)
    assert math.isnan(got.mean_of_image_bd_rates)
    assert got.images_counted == 0


def test_small_pictures_are_compared_on_psnr_alone() -> None:
    base = curve("a", 1.0)
    points = tuple(
        replace(point, images=tuple(replace(m, ms_ssim=math.nan) for m in point.images))
        for point in base.points
    )
    got = compare(replace(base, points=points), curve("b", 1.0), "ms_ssim_db")
    assert math.isnan(got.bd_rate_of_mean_curve)


def test_a_figure_at_one_rate() -> None:
    assert image_at(curve("a", 1.0), "i1", "psnr", 0.3) == pytest.approx(33 + 4 * math.log(0.3))
    assert mean_at(curve("a", 1.0), "psnr", 0.3) == pytest.approx(31.5 + 4 * math.log(0.3))
    assert math.isnan(image_at(curve("a", 1.0), "i1", "psnr", 5.0))


def test_published_curves(data_root: Path) -> None:
    published = load_published(data_root / "anchors/kodak-rd")
    assert len(published) >= 60
    for one in published.values():
        assert one.psnr or one.ms_ssim_db, one.label
        for line in (one.psnr, one.ms_ssim_db):
            assert list(line) == sorted(line)
            assert all(0 < bpp < 15 and 0 < quality < 80 for bpp, quality in line), one.label
    assert published["vtm"].psnr[2] == pytest.approx((0.24582, 31.19987), abs=1e-4)
    assert published["flamich2020/irec-opt-mse"].psnr[0][1] == 26.435
    assert published["classical/jpeg420"].ms_ssim_db[0] == (0.14515, 7.17524)


def test_the_source_on_one_picture(data_root: Path) -> None:
    curves = load_flamich_image(data_root / "anchors/kodak-rd", "kodim05")
    assert curves["irec-opt-mse"].psnr[0] == (0.1766, 23.349)
    assert load_flamich_image(data_root / "anchors/kodak-rd", "kodim24") == {}


def test_no_anchors(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        load_published(tmp_path / "nothing")
    (tmp_path / "compressai").mkdir()
    (tmp_path / "compressai" / "x.json").write_text("[")
    with pytest.raises(InputError, match=r"x\.json"):
        load_published(tmp_path)


def test_any_codec_can_be_the_reference() -> None:
    study = Study("t", (curve("a", 1.0), curve("b", 2.0), curve("c", 0.5)))
    got = [(d.codec, d.reference, d.figure) for d in compare_with(study, "b")]
    assert got == [(*pair, f) for pair in ("ab", "cb") for f in ("psnr", "ms_ssim_db")]


def test_a_comparison_is_written_with_its_figures(tmp_path: Path) -> None:
    study = Study("t", (curve("a", 0.75), curve("b", 1.0)))
    paths = record(tmp_path, "Two codecs", {"command": "run"}, study, "b", "of two codecs")
    assert sorted(paths) == sorted(tmp_path.iterdir())
    assert {path.suffix for path in paths} == {".json", ".png", ".svg"}
    document = json.loads((tmp_path / "results.json").read_text())
    assert (document["title"], document["run"]) == ("Two codecs", {"command": "run"})
    rates = [one["bd_rate_of_mean_curve"] for one in document["comparisons"]]
    assert rates == pytest.approx([-25, -25], abs=0.02)
    assert load_study(tmp_path / "results.json") == study
    with pytest.raises(InputError, match="not among the codecs"):
        record(tmp_path / "other", "", {}, study, "c", "")
    assert not (tmp_path / "other").exists()
