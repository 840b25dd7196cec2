"""Recipes of processes end to end on a task of a few seconds."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import laconic
from laconic.cli import app
from laconic.distributions.prediction import Prediction
from laconic.errors import ConfigError, InputError
from laconic.functions import FNP, load, save
from laconic.lab import runs
from laconic.lab import tasks as tasks_module
from laconic.lab.recipes.functions import ProcessRecipe
from laconic.lab.runs import complete
from laconic.lab.tasks import Data
from laconic.networks.torso import torso_of

RECIPE: dict[str, Any] = {
    "name": "quick", "network": "lenet-300-100", "references": 40,
    "settings": {"embedding": 8, "latent": 8}, "samples": 20,
    "train": {"epochs": 6, "batch": 60, "rate": 3e-3},
}  # fmt: skip


def digits() -> Data:
    """Four quarters of a picture, one lit for each class, under noise."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(800) % 4
    x = 0.3 * torch.randn(800, 1, 28, 28, generator=generator)
    for label in range(4):
        row, column = divmod(label, 2)
        x[labels == label, 0, 14 * row : 14 * row + 14, 14 * column : 14 * column + 14] += 1
    return Data(x[:700], labels[:700], x[700:], labels[700:])


@pytest.fixture(scope="module", autouse=True)
def tasks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tasks_module.TASKS, "mnist", lambda root: digits())
        tasks_module._read_task.cache_clear()
        yield
    tasks_module._read_task.cache_clear()


def recipe_in(folder: Path, **changes: Any) -> ProcessRecipe:
    return ProcessRecipe.read({**RECIPE, "runs": str(folder), **changes})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("process", "settings"),
    [
        ("fnp", {"plus": True, "embedding": 8, "latent": 8}),
        ("fnp", {"plus": True, "random_references": True, "embedding": 8, "latent": 8}),
        ("np", {"latent": 8}),
    ],
)
def test_a_recipe_trains_a_process_that_predicts(
    tmp_path: Path, process: str, settings: dict[str, Any]
) -> None:
    recipe = recipe_in(tmp_path, process=process, settings=settings)
    result = complete(recipe)
    assert result["error_percent"] < 15
    made = recipe.trained()
    data = digits()
    prediction = laconic.predict(made, data.test_inputs, samples=15, batch=60)
    assert isinstance(prediction, Prediction)
    assert prediction.probs.shape == (15, 100, 4)
    assert (prediction.labels == data.test_labels).float().mean() > 0.85
    assert result["nll_nats"] < 1
    assert len(made.references[0]) == 40


@pytest.mark.slow
def test_the_command_trains_and_resumes(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps({**RECIPE, "recipe": "process", "folder": str(tmp_path / "run")}))
    done = CliRunner().invoke(app, ["train", str(path)])
    assert done.exit_code == 0, done.output
    assert "error" in done.stderr
    assert (tmp_path / "run" / "process.safetensors").exists()
    done = CliRunner().invoke(app, ["train", str(path), "--resume", "--set", "references=41"])
    assert done.exit_code == 1
    assert "references was 40, is now 41" in done.stderr


def test_recipes_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for changes, message in (
        ({"process": "gp"}, "process: 'gp' is not one of fnp, np"),
        ({"references": 700}, "references: 700 of 700 examples; give a number from 1 to 699"),
        ({"settings": {"classes": 2}}, "labels from 0 to 3; with 2 classes"),
        ({"settings": {"dim": 2}}, "settings.dim: unknown key"),
        ({"samples": 0}, "samples: 0; give the number of draws"),
    ):
        recipe = recipe_in(tmp_path, **changes)
        with pytest.raises((ConfigError, InputError), match=message):
            runs.train(recipe)


def test_a_process_is_saved_and_loaded_without_pickle(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    process = FNP(torso_of(net), (torch.randn(6, 3), torch.arange(6) % 3), plus=True, classes=4)
    save(process, str(tmp_path / "p.safetensors"))
    assert (tmp_path / "p.safetensors").read_bytes()[8:9] == b"{"
    loaded = load(tmp_path / "p.safetensors", torso_of(net))
    x = torch.randn(4, 3)
    found = [laconic.predict(one, x, 7, seed=1) for one in (process, loaded)]
    assert torch.equal(*(one.probs for one in found if isinstance(one, Prediction)))
    with pytest.raises(InputError, match="the torso has another architecture"):
        load(tmp_path / "p.safetensors", nn.Linear(3, 4))
    with pytest.raises(ConfigError, match="not a readable checkpoint"):
        load(tmp_path / "none.safetensors", torso_of(net))
    (tmp_path / "bad.safetensors").write_bytes(b"rubbish")
    with pytest.raises(ConfigError, match="not a readable checkpoint"):
        load(tmp_path / "bad.safetensors", torso_of(net))
