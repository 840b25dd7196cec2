"""Released weights on pictures: crops, operating points, and points that are made once."""

import json
import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from laconic.data.exact_images import LeftOutWarning
from laconic.errors import ConfigError, InputError
from laconic.evaluation.models.laboratory import Readings
from laconic.evaluation.models.measures import MeasureConfig
from laconic.lab import pictures
from laconic.lab.pictures import (
    CropConfig,
    Crops,
    check_model,
    choose_betas,
    measure_pictures,
    read_crops,
)
from laconic.models import make_model
from laconic.models.pixel_ladder.ladder import PixelLadder
from laconic.models.pyramid import Pyramid
from laconic.pretrained import Pretrained

CONFIG = CropConfig(patch=16, images=3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures whose pixels hold their row and column, and one that is too small."""
    found = tmp_path / "holiday"
    found.mkdir()
    rows, columns = np.mgrid[:24, :30].astype(np.uint8)
    for index in range(5):
        pixels = np.stack([rows, columns, np.full_like(rows, index)], axis=2)
        Image.fromarray(pixels).save(found / f"{index}.png")
    Image.new("RGB", (40, 15)).save(found / "flat.png")
    return found


@pytest.fixture
def crops(folder: Path) -> Crops:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeftOutWarning)
        return read_crops(folder, CONFIG)


def test_crops_are_centres_drawn_by_the_seed(folder: Path) -> None:
    with pytest.warns(LeftOutWarning, match=r"smaller than 16 pixels: flat\.png$"):
        crops = read_crops(folder, CropConfig(patch=16, images=9))
    assert crops.source == "holiday"
    assert crops.pixels.shape == (5, 3, 16, 16)
    found = (255 * crops.pixels).round().int()
    assert sorted(found[:, 2, 0, 0].tolist()) == list(range(5))
    assert found[0, 0, :, 0].tolist() == list(range(4, 20))
    assert found[0, 1, 0].tolist() == list(range(7, 23))
    (folder / "flat.png").unlink()
    drawn = [read_crops(folder, CropConfig(16, 3, seed)) for seed in (0, 0, 1, 2, 3)]
    assert all(len(one.pixels) == 3 for one in drawn)
    assert drawn[0].digest == drawn[1].digest
    assert len({one.digest for one in drawn}) > 1


def test_too_few_pictures_are_refused(folder: Path) -> None:
    for patch, count in ((24, 5), (25, 0)):
        if count:
            with pytest.warns(LeftOutWarning, match=r"flat\.png"):
                assert len(read_crops(folder, CropConfig(patch, 9)).pixels) == count
        else:
            with (
                pytest.warns(LeftOutWarning, match=r"0\.png.* and 1 more"),
                pytest.raises(InputError, match="0 pictures with both sides of 25 pixels"),
            ):
                read_crops(folder, CropConfig(patch, 9))
    with pytest.raises(InputError, match="nowhere"):
        read_crops(folder / "nowhere", CONFIG)


def test_betas_are_spread_by_equal_ratios() -> None:
    model = Pyramid()
    low, high = model.beta_range
    betas = choose_betas(model, [], 8)
    assert (betas[0], betas[-1], len(betas)) == (low, high, 8)
    steps = np.diff(np.log(betas))
    assert steps == pytest.approx(math.log(high / low) / 7, rel=0.01)
    assert choose_betas(model, [], 1) == pytest.approx([math.sqrt(low * high)])
    assert choose_betas(model, [], 2) == (low, high)
    assert choose_betas(model, [0.01, 0.001, 0.01], 8) == (0.01, 0.001)
    for beta in (1.0, 1e-9, math.nan):
        with pytest.raises(ConfigError, match=r"beta: .* is not between 0\.0001 and 0\.0256"):
            choose_betas(model, [0.01, beta], 8)


def test_models_that_measure_no_pictures_are_refused() -> None:
    small = {"side": 8, "latents": 3, "hidden": [16], "planes": 2, "width": 4}
    dense = make_model({"name": "dense", "likelihood": "bernoulli", **small})
    with pytest.raises(ConfigError, match="a model of small images"):
        check_model(dense, CONFIG)
    with pytest.raises(ConfigError, match="patch: 12 pixels; the model takes multiples of 8"):
        check_model(Pyramid(), CropConfig(patch=12))
    with pytest.raises(ConfigError, match="images: 1"):
        check_model(Pyramid(), CropConfig(images=1))
    check_model(Pyramid(), CropConfig(patch=64))


WEIGHTS = Pretrained(Pyramid().eval(), "pyramid", b"0123456789abcdef", 7)


def quiet(result: object) -> None: ...


def measure(
    crops: Crops, betas: list[float], out: Path, weights: Pretrained = WEIGHTS
) -> tuple[list[str], list[float], list[float]]:
    """Points skipped, betas measured, and shares of the work that were reported."""
    taken: list[float] = []
    shares: list[float] = []

    def take(
        model: object, train: Tensor, test: Tensor, config: MeasureConfig, ways: object, watch: Any
    ) -> Readings:
        assert (len(train), len(test), ways) == (0, 3, {})
        taken.append(config.beta)
        watch("rate_distortion", 1, 2)
        measures = {"rate_nats": {"value": -config.beta, "error": 0.0}}
        return Readings(measures, {}, {"inputs": np.zeros(2)})

    def progress(done: int, total: int) -> None:
        shares.append(done / total)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "take", take)
        skipped = measure_pictures(weights, crops, betas, CONFIG, out, quiet, progress)
    return skipped, taken, shares


def test_every_operating_point_is_measured_once(crops: Crops, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    assert measure(crops, [0.01], out) == ([], [0.01], [0.05])
    found = measure(crops, [0.001, 0.01, 0.02], out)
    assert found == (["pyramid-beta-0.01"], [0.001, 0.02], [0.025, 0.525])
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*") if path.is_file())
    names = [f"pyramid-beta-{beta}" for beta in (0.001, 0.01, 0.02)]
    assert files == [f"{n}/{file}" for n in names for file in ("grids.npz", "result.json")]
    result = json.loads((out / "pyramid-beta-0.01" / "result.json").read_text())
    settings = result.pop("settings")
    assert result == {
        "format": "laconic rd point 1",
        "name": "pyramid beta 0.01",
        "family": "pyramid",
        "objective": {"name": "beta", "beta": 0.01},
        "annealed": False,
        "data": "holiday 16x16",
        "density": True,
        "images": 3,
        "steps": 7,
        "parameters": 0,
        "measures": {"rate_nats": {"value": -0.01, "error": 0.0}},
        "grids": "grids.npz",
    }
    assert settings["crops"]["pictures"] == crops.digest


def test_other_weights_or_pictures_are_never_mixed(crops: Crops, tmp_path: Path) -> None:
    measure(crops, [0.01], tmp_path)
    other = replace(WEIGHTS, fingerprint=bytes(16))
    with pytest.raises(ConfigError, match=r"pyramid-beta-0\.01 was made with other.*weights was"):
        measure(crops, [0.02, 0.01], tmp_path, other)
    with pytest.raises(ConfigError, match=r"crops\.pictures was"):
        measure(replace(crops, pixels=crops.pixels + 0.1), [0.01], tmp_path)
    assert not (tmp_path / "pyramid-beta-0.02").exists()


def test_lossless_models_have_no_densities(crops: Crops, tmp_path: Path) -> None:
    sizes = {"strides": [4], "latents": [2], "widths": [4]}
    model = make_model({"name": "pixels", **sizes})
    assert isinstance(model, PixelLadder)
    assert choose_betas(model, [], 8) == (1.0,)
    measure(crops, [1.0], tmp_path, Pretrained(model, "tiny", bytes(16), 3))
    result = json.loads((tmp_path / "tiny-beta-1" / "result.json").read_text())
    assert result["density"] is False
    assert result["parameters"] > 0
