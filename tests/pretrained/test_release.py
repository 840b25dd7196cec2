"""Released weights: half precision on disk, the same network back; YAML to weights."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import laconic
from laconic.errors import ConfigError
from laconic.lab import runs
from laconic.lab.recipes import read_recipe
from laconic.lab.runs import make_trainer
from laconic.models import make_model
from laconic.pretrained import load, release
from laconic.training.config import read_config

CONFIG = """
model: {name: sliced, block: 4, slices: [3, 9], top: 2, fine_width: 8, coarse_width: 8,
  prior_width: 8, embedding: 4, fine_blocks: [1, 1], coarse_blocks: [1, 1]}
data: {folder: pictures, patch: 16, batch: 2, covariance_batches: 3}
rate: {peak: 1e-3}
loop: {steps: 3, log_steps: 1, precision: 32-true}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for name in "ab":
        Image.fromarray(rng.integers(256, size=(40, 40, 3), dtype=np.uint8)).save(
            pictures / f"{name}.png"
        )
    (pictures / "split.txt").write_text("train a.png\ntrain b.png\n")
    monkeypatch.setenv("LACONIC_DATA", str(tmp_path))
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG + f"folder: {tmp_path / 'run'}\n")
    return path


def train(config: Path, overrides: Sequence[str] = (), resume: bool = False) -> None:
    runs.train(read_recipe(read_config(config, overrides)), resume)


@pytest.mark.slow
def test_from_yaml_to_released_weights_and_on(config: Path, tmp_path: Path) -> None:
    train(config)
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    release(checkpoint, tmp_path / "small.safetensors")
    released = load(tmp_path / "small.safetensors")
    assert released.steps == 3
    assert released.name == "small"
    assert len(released.fingerprint) == 16
    parameters = sum(p.numel() for p in released.model.parameters())
    assert (tmp_path / "small.safetensors").stat().st_size < 2 * parameters + 20_000
    packed = laconic.shrink(tmp_path / "small.safetensors", lossless=True)
    (tmp_path / "small.lac").write_bytes(packed)
    again = load(tmp_path / "small.lac")
    assert (again.steps, again.name) == (3, "small")
    assert again.fingerprint != released.fingerprint
    for name, tensor in released.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])
    train(config, ["loop.steps=5"], resume=True)
    lines = (tmp_path / "run" / "log.csv").read_text().splitlines()
    assert [float(line.split(",")[0]) for line in lines[1:]] == [1, 2, 3, 4, 5]
    more = [
        f"start_from={tmp_path / 'small.safetensors'}",
        f"folder={tmp_path / 'next'}",
        "loop.steps=4",
    ]
    train(config, more)
    assert (tmp_path / "next" / "log.csv").read_text().splitlines()[1].startswith("4.0")


@pytest.mark.slow
def test_a_larger_model_starts_from_a_smaller_one(config: Path, tmp_path: Path) -> None:
    """What both have comes from the released weights, the rest as it starts."""
    train(config)
    path = tmp_path / "small.safetensors"
    release(tmp_path / "run" / "checkpoint.safetensors", path)
    settings = read_config(
        config,
        [
            f"start_from={path}",
            f"folder={tmp_path / 'grown'}",
            "model.taste=true",
            "model.passes=[2, 1]",
            "model.refiner_width=8",
            "model.encoder_widths=[8, 8, 8]",
            "model.decoder_widths=[8, 8, 8]",
            "data.graphics=pictures",
            "data.graphics_share=0.5",
        ],
    )
    grown, small = make_trainer(read_recipe(settings)).model, load(path).model
    for name, value in small.state_dict().items():
        assert torch.equal(grown.state_dict()[name].cpu(), value)
    settings["model"]["fine_width"] = 4
    with pytest.raises(ConfigError, match="start_from"):
        make_trainer(read_recipe(settings))


def test_taste_needs_its_coordinate(config: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.taste"):
        train(config, ["objective=taste"])


def test_unknown_things_are_refused(config: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.name"):
        make_model({"name": "paper"})
    with pytest.raises(ConfigError, match="modle: unknown key"):
        train(config, ["modle.name=sliced"])
    with pytest.raises(ConfigError, match="objective"):
        train(config, ["objective=fun"])
    with pytest.raises(ConfigError, match="no such model"):
        load("absent")
    (tmp_path / "bad.safetensors").write_bytes(b"12345678")
    with pytest.raises(ConfigError, match="not released weights"):
        load(tmp_path / "bad.safetensors")
    (tmp_path / "bad.lac").write_bytes(laconic.shrink({"a": torch.zeros(3)}))
    with pytest.raises(ConfigError, match="not released weights"):
        load(tmp_path / "bad.lac")


def test_weights_that_overflow_half_precision_are_refused(config: Path, tmp_path: Path) -> None:
    train(config)
    from laconic.training import checkpoints

    path = tmp_path / "run" / "checkpoint.safetensors"
    tensors, meta = checkpoints.load(path)
    tensors["average.decoder.up.bias"] += 1e6
    checkpoints.save(path, tensors, meta)
    with pytest.raises(ConfigError, match="half precision"):
        release(path, tmp_path / "bad.safetensors")


def test_the_embedded_model_loads() -> None:
    embedded = load()
    assert all(bool(torch.isfinite(p).all()) for p in embedded.model.parameters())
    assert embedded.steps > 0
