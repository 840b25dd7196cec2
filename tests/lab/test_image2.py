"""A stretch of the long run: planned to fill its time, cooled down, resumed by the same command."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from laconic.lab.recipes import read_recipe
from laconic.lab.runs import make_trainer
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
        "rate": {"warmup_steps": 1, "decay_rate": 1.0},
        "loop": {"precision": "32-true", "log_steps": 1},
        "folder": str(tmp_path / "run"),
    }


@pytest.fixture
def weights(tmp_path: Path, stretch: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where weights go; every stretch is planned to have 12 steps, the last 8 of them cooled."""
    monkeypatch.setattr(stretch, "plan", lambda *arguments: stretch.Schedule(0, 12, 4))
    return tmp_path / "weights.lac"


@pytest.mark.slow
def test_the_probe_is_part_of_the_plan(
    stretch: ModuleType, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no time left one more step is planned."""
    monkeypatch.setattr(stretch, "PROBE_STEPS", 4)
    trainer = make_trainer(read_recipe(config))
    planned = stretch.plan(trainer, 0.0, 0.5)
    assert planned == stretch.Schedule(0, 5, 3)
    assert trainer.step == 4


@pytest.mark.slow
def test_a_stretch_ends_with_a_cooldown(
    stretch: ModuleType, config: dict[str, Any], tmp_path: Path, weights: Path
) -> None:
    assert stretch.run(config, 10.0, 0.5, weights)
    assert load(weights).steps == 12
    rows = (tmp_path / "run" / "log.csv").read_text().splitlines()[1:]
    rates = [float(row.split(",")[1]) for row in rows]
    assert rates[-1] == pytest.approx(max(rates) / 8, rel=0.01)


@pytest.mark.slow
def test_a_stretch_that_was_cut_goes_on(
    stretch: ModuleType, config: dict[str, Any], weights: Path
) -> None:
    assert not stretch.run(config, 0.0, 0.5, weights)
    assert not weights.exists()
    assert stretch.run(config, 10.0, 0.5, weights)
    assert load(weights).steps == 12
