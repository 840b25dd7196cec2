"""A tiny sweep, and a laboratory that measures nothing but the weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from laconic.errors import ConfigError
from laconic.evaluation.models import laboratory
from laconic.evaluation.models.laboratory import Readings
from laconic.models.base import LatentVariableModel

MODEL = {"side": 8, "latents": 3, "hidden": [16], "planes": 2, "width": 4}


def take_weights(
    model: LatentVariableModel, train: Tensor, test: Tensor, *settings: object
) -> Readings:
    """In place of `laboratory.take`: the sum of all weights is the rate."""
    total = sum(float(p.detach().double().abs().sum()) for p in model.parameters())
    grids = {"inputs": (255 * test[:2, 0]).numpy().astype(np.uint8)}
    return Readings({"rate_nats": {"value": total, "error": 0.0}}, {}, grids)


def refuse_files(model: LatentVariableModel, images: Tensor, ways: Mapping[str, int]) -> None:
    """In place of `laboratory.rehearse`: nothing can be coded."""
    if ways:
        raise ConfigError("cannot be coded")


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure nothing but the weights."""
    monkeypatch.setattr(laboratory, "take", take_weights)
    monkeypatch.setattr(laboratory, "rehearse", refuse_files)


@pytest.fixture
def sweep_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A tiny sweep of two runs on twenty binary images of 8 x 8."""
    rng = np.random.default_rng(0)
    (tmp_path / "small").mkdir()
    packed = np.packbits(rng.integers(2, size=(20, 64), dtype=np.uint8), axis=1)
    np.savez(tmp_path / "small" / "binarized_mnist.npz", train=packed, test=packed[:5])
    monkeypatch.setenv("LACONIC_DATA", str(tmp_path))
    return {
        "model": {"name": "dense", "likelihood": "bernoulli", **MODEL},
        "betas": [0.5, 2.0],
        "data": {"kind": "binary", "folder": "small", "split": "train", "batch": 4},
        "test": {"split": "test"},
        "loop": {"steps": 12, "log_steps": 2, "precision": "32-true", "checkpoint_minutes": 0.0},
        "folder": str(tmp_path / "sweep"),
    }
