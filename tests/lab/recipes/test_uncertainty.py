"""Recipes of posteriors, predictions and their page, end to end on a task of a few seconds."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

import laconic
from laconic.cli import app
from laconic.errors import ConfigError, LaconicError
from laconic.lab import predictions
from laconic.lab import tasks as tasks_module
from laconic.lab.recipes.uncertainty import UncertaintyRecipe
from laconic.lab.tasks import Data

RECIPE: dict[str, Any] = {
    "name": "quick", "network": "lenet-300-100", "samples": 5, "count": 50,
    "train": {"epochs": 2, "batch": 30, "rate": 3e-3},
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def tasks() -> Iterator[None]:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(120, 1, 28, 28, generator=generator), torch.arange(120) % 3
    x[:, 0, 0, :3] = 5.0 * torch.eye(3)[y]

    def drawn(name: str, set_name: str, count: int) -> Tensor:
        return torch.rand(count, 1, 28, 28)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tasks_module.TASKS, "mnist", lambda root: Data(x, y, x[:60], y[:60]))
        patch.setitem(tasks_module.OUTLIERS, "mnist", ("uniform",))  # type: ignore[call-overload]
        patch.setattr(predictions, "outliers", drawn)
        tasks_module._read_task.cache_clear()
        yield
    tasks_module._read_task.cache_clear()


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.mark.slow
def test_runs_are_trained_and_shown_on_one_page(tmp_path: Path) -> None:
    pytest.importorskip("torchmetrics")
    folders = []
    for method, more in (
        ("mean-field", {}), ("ensemble", {"members": 2, "adversarial": 0.1, "decay": 1.0})
    ):  # fmt: skip
        folder = tmp_path / method
        config = {"recipe": "uncertainty", **RECIPE, "method": method, "folder": str(folder)}
        path = tmp_path / f"{method}.yaml"
        path.write_text(json.dumps({**config, **more}))
        assert run("train", path).exit_code == 0
        result = json.loads((folder / "result.json").read_text())
        assert 0 <= result["error_percent"] <= 100
        trained = UncertaintyRecipe.read({**RECIPE, "method": method, **more,
                                          "folder": str(folder)}).trained()  # fmt: skip
        assert laconic.predict(trained, torch.rand(3, 1, 28, 28), samples=2).probs.shape[0] == 2
        folders.append(folder)
    page = tmp_path / "page.html"
    done = run("uncertainty", "report", *folders, "--html", page, "--json")
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["runs"]
    assert [row["method"] for row in rows] == ["mean-field", "ensemble"]
    assert all(0 <= row["outliers"]["uniform"][1]["auroc"] <= 1 for row in rows)
    text = page.read_text()
    assert 'src="http' not in text
    assert text.count("least certain") == 2
    assert run("uncertainty", "report", *folders, "--html", page).exit_code == 1
    again = run("uncertainty", "predict", tmp_path / "mean-field.yaml", "--samples", 3)
    assert again.exit_code == 0, again.output


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    for changes, words in (
        ({"method": "vgm"}, "vgm"),
        ({"method": "map", "settings": {"rate": 1}}, "has none"),
        ({"method": "ensemble", "members": 0}, "members"),
        ({"method": "map", "decay": -1.0}, "decay"),
        ({"method": "dropout", "settings": {"rate": 2.0}}, "probability"),
    ):
        recipe = UncertaintyRecipe.read({**RECIPE, **changes, "runs": str(tmp_path)})
        with pytest.raises(ConfigError, match=words):
            recipe.training()


def test_runs_without_predictions_are_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        done = run("uncertainty", "report", folder, "--html", tmp_path / "page.html")
        assert done.exit_code == 1
        assert "predictions.safetensors" in done.output
    (tmp_path / "predictions.safetensors").write_bytes(b"rubbish")
    done = run("uncertainty", "report", tmp_path, "--html", tmp_path / "page.html")
    assert done.exit_code == 1
    assert "damaged" in done.output
    assert not (tmp_path / "page.html").exists()


def test_random_labels_are_the_same_labels_in_another_order() -> None:
    x, y = torch.randn(100, 2), torch.arange(100) % 7
    found = tasks_module.with_random_labels(lambda root: Data(x, y, x, y), Path())
    assert torch.equal(found.labels.sort().values, y.sort().values)
    assert not torch.equal(found.labels, y)
    assert torch.equal(found.test_labels, y)
    again = tasks_module.with_random_labels(lambda root: Data(x, y, x, y), Path())
    assert torch.equal(again.labels, found.labels)


def test_a_regression_has_a_table_and_bands(tmp_path: Path) -> None:
    from laconic.distributions.prediction import RegressionPrediction
    from laconic.evaluation.uncertainty.report import write_page

    x = torch.linspace(-1, 1, 40).unsqueeze(1)
    found = RegressionPrediction(x**3 + 0.1 * torch.randn(20, 1, 1), torch.full((1, 1, 1), 0.04))
    tensors = predictions._of_regression(found, x, x**3)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / predictions.FILE).write_bytes(predictions.pack(tensors, "cubic", {"seed": 0}))
    ((run, own),) = write_page([folder], tmp_path / "page.html")
    assert run.is_regression
    assert own.coverage == 1.0
    assert own.rmse == pytest.approx(float((found.mean - x**3).square().mean().sqrt()))
    page = (tmp_path / "page.html").read_text()
    assert "Bands of cubic" in page
    assert "Reliability" not in page


def test_targets_that_are_no_classes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.rand(8, 1, 28, 28)
    for name, targets, words in (
        ("values", torch.rand(8, 1), "real numbers"),
        ("many", torch.arange(8) + 5, "10 classes"),
    ):
        data = Data(x, targets, x, targets)
        monkeypatch.setitem(tasks_module.TASKS, name, lambda root, data=data: data)
        recipe = UncertaintyRecipe.read(
            {**RECIPE, "method": "map", "data": name, "runs": str(tmp_path)}
        )
        with pytest.raises(LaconicError, match=words):
            recipe.assemble(fresh=True)
