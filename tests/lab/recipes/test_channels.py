"""Recipes of systems over channels: trained, resumed, measured, refused; sweeps that vary."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from laconic.errors import ConfigError
from laconic.lab import tasks
from laconic.lab.recipes import read_recipe
from laconic.lab.recipes.channels import ChannelsRecipe
from laconic.lab.runs import complete, train
from laconic.lab.sweep import read_sweep

LOOP = {"steps": 4, "log_steps": 2, "precision": "32-true", "slow_prefix": ""}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A tiny pair of systems on forty frames of noise."""
    rng = np.random.default_rng(0)
    (tmp_path / "faces").mkdir()
    images = rng.integers(256, size=(40, 28, 20), dtype=np.uint8)
    np.savez(tmp_path / "faces" / "freyfaces.npz", images=images)
    monkeypatch.setenv("LACONIC_DATA", str(tmp_path))
    return {
        "recipe": "channels",
        "system": {"name": "pair", "numbers": 4, "depth": 2, "blocks": 0, "hidden": 4},
        "channel": {"name": "awgn", "snr_db": 5.0},
        "data": {"kind": "faces", "folder": "faces", "split": "train", "batch": 8},
        "test": {"split": "test"},
        "validation": {"split": "valid", "images": 2},
        "loop": LOOP,
        "draws": 2,
        "folder": str(tmp_path / "run"),
    }


def test_a_run_has_its_distortion_and_its_uses(config: dict[str, Any], tmp_path: Path) -> None:
    result = complete(read_recipe(config))
    assert result["uses"] == 2
    assert result["use"] == "complex use"
    assert result["distortion"]["0"]["mse"] > 0
    assert result["validation"]["0"]["mse"] > 0
    grids = np.load(tmp_path / "run" / "grids.npz")
    assert grids["sent"].shape == grids["received-0"].shape == (4, 1, 28, 20)
    assert complete(read_recipe(config)) == result


def test_bands_are_measured_one_by_one(config: dict[str, Any]) -> None:
    bands = {"name": "bands", "bands": 2, "numbers": 3, "steps": 1, "depth": 2, "blocks": 0}
    config |= {"system": bands, "channel": {"name": "awgn-real"}}
    assert list(complete(read_recipe(config))["distortion"]) == ["1", "2"]


def test_received_pictures_are_compared_by_features(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The classifier of the recipe is trained first, once, and its last layer's inputs count."""
    faces = torch.rand(24, 1, 28, 20, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(24) % 2
    data = tasks.Data(faces, labels, faces, labels, mean=torch.tensor(0.5), scale=torch.tensor(2.0))
    monkeypatch.setitem(tasks.TASKS, "faces", lambda root: data)
    monkeypatch.setitem(
        tasks.NETWORKS, "tiny",
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(560, 3), nn.ReLU(), nn.Linear(3, 2)),
    )  # fmt: skip
    classifier = {"network": "tiny", "data": "faces", "train": {"epochs": 1, "batch": 8}}
    config["features"] = classifier | {"runs": str(tmp_path / "nets")}
    result = complete(read_recipe(config))
    assert result["distortion"]["0"]["frechet"] > 0
    assert result["settings"]["measuring"]["features"]["network"] == "tiny"
    (made,) = (tmp_path / "nets").rglob("plain.safetensors")
    config |= {"folder": str(tmp_path / "second")}
    stamp = made.stat().st_mtime_ns
    assert complete(read_recipe(config))["distortion"] == result["distortion"]
    assert made.stat().st_mtime_ns == stamp


def test_a_run_resumes_exactly(config: dict[str, Any], tmp_path: Path) -> None:
    whole = complete(read_recipe(config))
    config["folder"] = str(tmp_path / "parts")
    short = {**config, "loop": {**LOOP, "steps": 2}, "test": {}}
    assert train(read_recipe(short)) is None
    resumed = train(read_recipe(config), resume=True)
    assert resumed is not None
    assert resumed["distortion"] == whole["distortion"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"system": {"name": "radio"}}, "system.name"),
        ({"channel": {"name": "cable"}}, "channel.name"),
        ({"channel": {"name": "awgn", "snr_db": float("nan")}}, "snr_db"),
        ({"draws": 0}, "draws"),
        ({"features": {"network": "none"}}, "network: 'none'"),
        ({"features": {"network": "resnet-20", "colour": 1}}, "colour"),
        ({"test": {"images": -1}}, "test.images"),
        ({"data": {"kind": "photos"}}, "data.kind"),
    ],
)
def test_settings_that_cannot_be(
    config: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    recipe = ChannelsRecipe.read({k: v for k, v in (config | change).items() if k != "recipe"})
    with pytest.raises(ConfigError, match=message):
        recipe.training() and recipe.measuring() and recipe.assemble(True)


def test_a_sweep_varies_settings(config: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(yaml.safe_dump(config))
    vary = {"channel.snr_db": [0, 5], "system.kind": ["joint", "separate"]}
    sweep = read_sweep({"recipes": [str(path)], "vary": vary, "seeds": [0, 1], "folder": "there"})
    names = [run.name for run in sweep.runs]
    assert len(set(names)) == 8
    assert names[2] == "run-snr_db-0-kind-separate/0"
    assert sweep.runs[2].recipe["system"]["kind"] == "separate"
    assert sweep.runs[2].recipe["channel"]["snr_db"] == 0
    with pytest.raises(ConfigError, match="list of values"):
        read_sweep({"recipes": [str(path)], "vary": {"system.kind": "joint"}})


def test_photographs_are_trained_and_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for name in ("a", "b"):
        pixels = rng.integers(256, size=(40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{name}.png")
    (tmp_path / "photos" / "split.txt").write_text("train a.png\nvalid b.png\n")
    monkeypatch.setenv("LACONIC_DATA", str(tmp_path))
    config = {
        "recipe": "photographs",
        "system": {"block": 8, "width": 8, "blocks": [1, 1], "fine_width": 4, "embedding": 4},
        "data": {"folder": "photos", "patch": 16, "batch": 2, "covariance_batches": 2},
        "test": {"split": "valid"},
        "points": [[0, 1], [10, 6]],
        "loop": LOOP,
        "folder": str(tmp_path / "run"),
    }
    result = complete(read_recipe(config))
    assert [(one["snr_db"], one["bands"]) for one in result["points"]] == [(0, 1), (10, 6)]
    assert json.dumps(result)
    with pytest.raises(ConfigError, match="0 to 20 dB"):
        read_recipe(config | {"points": [[30, 1]]}).measuring()
    with pytest.raises(ConfigError, match="multiple of 16"):
        read_recipe(config | {"system": {"block": 16}, "data": {"patch": 24}}).training()
