"""Classical codecs: there and back, against figures measured elsewhere, and when absent."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from laconic.data.folders import load_rgb
from laconic.errors import ConfigError
from laconic.evaluation.anchors.classical import ANCHORS, find_anchors
from laconic.evaluation.images.rate_distortion import rate_distortion
from laconic.metrics import psnr


@pytest.mark.parametrize("name", ANCHORS)
def test_round_trip(name: str, folder: Path) -> None:
    try:
        (anchor,) = find_anchors([name])
    except ConfigError as error:
        pytest.skip(str(error))
    pixels = load_rgb(folder / "wide.png")
    small, large = (anchor.encode(pixels, anchor.settings[i]) for i in (0, -1))
    assert len(small) < len(large)
    shown = anchor.decode(large)
    assert shown.shape == pixels.shape
    assert shown.dtype == np.uint8
    assert psnr(pixels, anchor.decode(small)) < psnr(pixels, shown)


@pytest.mark.parametrize(
    ("name", "elsewhere", "setting"),
    [
        ("jpeg", "jpeg420", 20),
        pytest.param("webp", "webp", 40, marks=pytest.mark.slow),
        pytest.param("jpeg2000", "jpeg2000", 0.5, marks=pytest.mark.slow),
    ],
)
def test_the_mean_over_kodak(data_root: Path, name: str, elsewhere: str, setting: float) -> None:
    """Other code measured the same 16 pictures; a newer encoder may differ by a little."""
    rows = json.loads((data_root / "anchors/kodak-rd/classical-kodim01-16.json").read_text())
    (row,) = (row for row in rows["lossy"][elsewhere] if row["setting"] == setting)
    point = rate_distortion([(ANCHORS[name], (setting,))], data_root / "kodak").curves[0].points[0]
    assert point.mean("bpp") == pytest.approx(row["bpp"], rel=0.005)
    assert point.mean("psnr") == pytest.approx(row["psnr"], abs=0.02)
    assert point.mean("ms_ssim") == pytest.approx(row["msssim"], abs=5e-4)
    assert point.mean("ms_ssim_db") == pytest.approx(row["msssim_db"], abs=0.02)


def test_unknown_names_are_listed() -> None:
    with pytest.raises(ConfigError, match=r"gif.*choose from jpeg"):
        find_anchors(["jpeg", "gif"])


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ConfigError, match=r"HEIF.*pillow-heif.*laconic-codec\[bench\]"):
        find_anchors(["heif"])


def test_a_missing_feature_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laconic.evaluation.anchors.classical.features.check", lambda name: False)
    with pytest.raises(ConfigError, match=r"AVIF"):
        find_anchors(["avif"])
