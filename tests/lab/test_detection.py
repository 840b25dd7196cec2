"""Entropies of other sets' pictures: a folder of recipes."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from laconic.errors import ConfigError
from laconic.lab import detection
from laconic.lab import tasks as tasks_module
from laconic.lab.detection import main, targets
from laconic.lab.tasks import Data


@pytest.mark.slow
def test_a_folder_of_recipes_has_rows_and_targets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(120, 1, 28, 28, generator=generator), torch.arange(120) % 3
    x[:, 0, 0, :3] = 5.0 * torch.eye(3)[y]

    def drawn(name: str, set_name: str, count: int) -> Tensor:
        return torch.randn(count, 1, 28, 28)

    monkeypatch.setitem(tasks_module.TASKS, "mnist", lambda root: Data(x, y, x[:40], y[:40]))
    monkeypatch.setattr(detection, "outliers", drawn)
    tasks_module._read_task.cache_clear()
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True)
    (folder / "fnp.yaml").write_text(
        "recipe: process\nname: fnp\nnetwork: lenet-300-100\nreferences: 30\n"
        "train: {epochs: 2, batch: 30}\n"
    )
    (folder / "nn.yaml").write_text(
        "recipe: classifier\nnetwork: lenet-300-100\ntrain: {epochs: 2, batch: 30}\n"
    )
    (folder / "variants.yaml").write_text("fnp-9: {recipe: fnp.yaml, set: [references=9]}\n")
    main(folder, ["--samples", "5", "--count", "30"])
    document = json.loads((folder / "results.json").read_text())
    assert [row["recipe"] for row in document["detection"]] == ["fnp", "fnp-9", "nn"]
    for row in document["detection"]:
        assert set(row["sets"]) == set(tasks_module.OUTLIERS["mnist"])
        assert 0 <= row["auroc_percent"] <= 100
    assert len(document["targets"]) == 2
    with pytest.raises(ConfigError, match="recipe: 'none' is not one of fnp, nn, fnp-9"):
        main(folder, ["--recipe", "none"])
    tasks_module._read_task.cache_clear()


def test_targets_round_as_the_source_does() -> None:
    row = {"recipe": "fnp", "epochs": 3, "error_percent": 0.74, "auroc_percent": 99.74}
    found = targets([row])
    assert [one["met"] for one in found] == [True, False]
    assert found[0]["name"] == "fnp, 3 epochs, seeds: 1: error percent"
