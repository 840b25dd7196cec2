"""A stretch of the long run: planned to fill its time, cooled down, resumed by the same command."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from laconic.pretrained import load

SCRIPT = Path(__file__).parents[2] / "experiments" / "image2" / "stretch.py"


@pytest.fixture
def stretch() -> ModuleType:
    spec = importlib.util.spec_from_file_location("stretch", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["stretch"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    (tmp_path / "pictures").mkdir()
    rng = np.random.default_rng(0)
    noise = rng.integers(256, size=(40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "pictures" / "a.png")
    (tmp_path / "pictures" / "split.txt").write_text("train a.png\n")
    monkeypatch.setenv("LACONIC_DATA", str(tmp_path))
    sizes = {"block": 4, "slices": [3, 9], "top": 2, "prior_width": 8, "embedding": 4}
    sizes |= {"fine_width": 8, "coarse_width": 8, "fine_blocks": [1, 1], "coarse_blocks": [1, 1]}
    return {
        "model": {"name": "sliced", **sizes},
        "data": {"folder": "pictures", "patch": 16, "batch": 2, "covariance_batches": 3},
        "loop": {"precision": "32-true", "log_steps": 2},
        "folder": str(tmp_path / "run"),
    }


def test_a_stretch_fills_its_time_and_cools_down(
    stretch: ModuleType, config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stretch, "PROBE_STEPS", 4)
    weights = tmp_path / "weights.safetensors"
    assert stretch.run(config, 0.05, 0.5, weights)
    plan = json.loads((tmp_path / "run" / "schedule.json").read_text())
    steps = plan["end"] - plan["start"]
    assert plan["cooldown_start"] == plan["end"] - round(steps / 2)
    assert load(weights).steps == plan["end"]
    rows = (tmp_path / "run" / "log.csv").read_text().splitlines()[1:]
    rates = [float(row.split(",")[1]) for row in rows]
    assert rates[-1] < 0.3 * max(rates)


def test_a_stretch_that_was_cut_goes_on(
    stretch: ModuleType, config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stretch, "PROBE_STEPS", 4)
    monkeypatch.setattr(stretch, "RESERVE", -5.0)
    weights = tmp_path / "weights.safetensors"
    assert not stretch.run(config, 0.03, 0.5, weights)
    assert not weights.exists()
    assert stretch.run(config, 5.0, 0.5, weights)
    plan = json.loads((tmp_path / "run" / "schedule.json").read_text())
    assert load(weights).steps == plan["end"]
