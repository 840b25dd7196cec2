"""A tiny sweep, and instruments that measure nothing but the weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from laconic.errors import ConfigError
from laconic.models.base import LatentVariableModel

MODEL = {"side": 8, "latents": 3, "hidden": [16], "planes": 2, "width": 4}


@dataclass
class Readings:
    measures: dict[str, Any]
    files: dict[str, Any]
    grids: dict[str, Any]


class Still:
    """Measures nothing but the weights."""

    def resolve(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        if "images" in settings:
            raise ConfigError("measure.images: unknown key")
        return {"draws": 1} | dict(settings)

    def rehearse(
        self, model: LatentVariableModel, images: Tensor, settings: Mapping[str, Any]
    ) -> None:
        if settings["code"]["bits_back"]:
            raise ConfigError("cannot be coded")

    def take(
        self,
        model: LatentVariableModel,
        train: Tensor,
        test: Tensor,
        settings: Mapping[str, Any],
        watch: Callable[[str, int, int], None],
    ) -> Readings:
        total = sum(float(p.detach().double().abs().sum()) for p in model.parameters())
        grids = {"inputs": (255 * test[:2, 0]).numpy().astype(np.uint8)}
        return Readings({"rate_nats": {"value": total, "error": 0.0}}, {}, grids)


@pytest.fixture(scope="session")
def still() -> Still:
    return Still()


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
