"""Which images a configuration trains on."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from laconic.cli.train import show
from laconic.errors import ConfigError
from laconic.lab.datasets import DataConfig, make_batches
from laconic.lab.recipes import read_recipe
from laconic.lab.recipes.latent import trained_model
from laconic.lab.runs import train
from laconic.pretrained import load, release
from laconic.training import checkpoints
from laconic.training.config import read_config

SMALL = """
model: {name: dense, side: 8, latents: 3, hidden: [16], planes: 2, width: 4, LIKELIHOOD}
data: {kind: KIND, folder: small, batch: 4}
rate: {peak: 1e-3}
loop: {steps: 3, log_steps: 1, precision: 32-true, weight_power: 0.0}
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Ten images of 8 x 8 as idx files, and their halves as packed bits; returns the images."""
    folder = tmp_path / "small"
    folder.mkdir()
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(10, 8, 8), dtype=np.uint8)
    for name, values in (("images-idx3", images), ("labels-idx1", np.zeros(10, np.uint8))):
        header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
        path = folder / f"train-{name}-ubyte.gz"
        path.write_bytes(gzip.compress(header + values.tobytes()))
    packed = np.packbits((images > 127).reshape(10, 64), axis=1)
    np.savez(folder / "binarized_mnist.npz", train=packed)
    monkeypatch.setenv("LACONIC_DATA", str(tmp_path))
    return torch.from_numpy(images)[:, None]


@pytest.mark.parametrize("kind", ["digits", "binary"])
def test_small_images_are_shuffled_and_the_last_held_out(small: Tensor, kind: str) -> None:
    data = DataConfig(kind=kind, folder="small", batch=4, hold_out=2)
    batches = make_batches(data, [])
    seen = torch.cat([batches.batch(index)[0] for index in range(2)])
    expected = small / 255 if kind == "digits" else (small > 127).float()
    assert seen.shape == (8, 1, 8, 8)
    assert not torch.equal(seen, expected[:8])
    assert sorted(seen.flatten(1).tolist()) == sorted(expected[:8].flatten(1).tolist())
    again = make_batches(data, []).batch(1)[0]
    assert torch.equal(again, seen[4:])


def test_unknown_kinds_are_refused(small: Tensor) -> None:
    with pytest.raises(ConfigError, match="'films' is not one of photos, digits, binary"):
        make_batches(DataConfig(kind="films"), [])


def test_nothing_left_to_train_on_is_refused(small: Tensor) -> None:
    with pytest.raises(ConfigError, match="hold_out"):
        make_batches(DataConfig(kind="digits", folder="small", batch=4, hold_out=7), [])


@pytest.mark.parametrize(
    ("kind", "likelihood"),
    [("digits", "likelihood: mixture, mixtures: 3"), ("binary", "likelihood: bernoulli")],
)
def test_small_images_train_a_model(
    small: Tensor, tmp_path: Path, kind: str, likelihood: str
) -> None:
    path = tmp_path / "config.yaml"
    text = SMALL.replace("LIKELIHOOD", likelihood).replace("KIND", kind)
    path.write_text(text + f"folder: {tmp_path / 'run'}\n")
    train(read_recipe(read_config(path)))
    release(tmp_path / "run" / "checkpoint.safetensors", tmp_path / "small.safetensors")
    released = load(tmp_path / "small.safetensors")
    assert released.steps == 3
    assert released.model.exact_ladder().colours == 1
    model, steps = trained_model(tmp_path / "run")
    assert steps == 3
    for name, value in model.state_dict().items():  # Released weights have half precision.
        assert torch.allclose(value, released.model.state_dict()[name], rtol=1e-3, atol=1e-4)
    with pytest.raises(ConfigError):
        trained_model(tmp_path)


@pytest.mark.slow
def test_a_constrained_run_resumes_exactly(small: Tensor, tmp_path: Path) -> None:
    """Weights and multiplier of 3 + 3 steps are those of 6."""
    text = SMALL.replace("KIND", "binary").replace("LIKELIHOOD", "likelihood: bernoulli")
    text += "objective: {name: target-rate, rate_nats: 2.0, dual_rate: 0.1}\n"
    config = tmp_path / "config.yaml"
    config.write_text(text)
    found = []
    for name, sittings in (("whole", [6]), ("parts", [3, 6])):
        for index, steps in enumerate(sittings):
            settings = [f"folder={tmp_path / name}", f"loop.steps={steps}"]
            train(read_recipe(read_config(config, settings)), resume=index > 0)
        found.append(checkpoints.load(tmp_path / name / "checkpoint.safetensors")[0])
    assert float(found[0]["state.multiplier"]) != 1.0
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=0, atol=0, msg=name)


def test_the_log_has_rate_and_distortion(small: Tensor, tmp_path: Path) -> None:
    """Per image; dB only where there is a picture worth showing."""
    text = SMALL.replace("KIND", "binary").replace("LIKELIHOOD", "likelihood: bernoulli")
    config = tmp_path / "config.yaml"
    config.write_text(text)
    rows: list[dict[str, float]] = []
    recipe = read_recipe(read_config(config, [f"folder={tmp_path}"]))
    train(recipe, say=lambda step, row: rows.append(row))
    for row in rows:
        both = row["rate_nats"] + row["distortion_nats"]
        assert 64 * row["loss"] == pytest.approx(both, rel=1e-5)
        assert "psnr_db" not in row
        show(int(row["step"]), row)
