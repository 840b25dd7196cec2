"""Codes of labels end to end on a task of a few seconds."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from laconic.errors import ConfigError
from laconic.evaluation.labels.codes import decode
from laconic.lab import tasks as tasks_module
from laconic.lab.labels import Blocks, LabelsConfig, learner, main, targets
from laconic.lab.recipes.classifier import Stage
from laconic.lab.tasks import NETWORKS, Data


def digits() -> Data:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 10
    x = 0.3 * torch.rand(400, 1, 28, 28, generator=generator)
    for label in range(10):
        row, column = divmod(label, 4)
        x[labels == label, 0, 7 * row : 7 * row + 7, 7 * column : 7 * column + 7] += 0.5
    return Data(x, labels, x[:50], labels[:50])


@pytest.fixture(autouse=True)
def tasks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(tasks_module.TASKS, "mnist", lambda root: digits())
    tasks_module._read_task.cache_clear()
    yield
    tasks_module._read_task.cache_clear()


@pytest.mark.slow
def test_every_code_decodes_and_has_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a" / "b" / "codes"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    (folder / "config.yaml").write_text(
        "blocks: {first: 40, ratio: 3.0, least_steps: 10}\ntolerances: [0.5]\n"
        "train: {epochs: 1, batch: 40}\n"
    )
    (folder / "two-part.yaml").write_text(
        "recipe: classifier\nnetwork: lenet-300-100\ntrain: {epochs: 2, batch: 50}\n"
    )
    main(folder, ["--labels", "300"])
    rows = json.loads((folder / "results.json").read_text())["codes"]
    sizes = {row["code"]: row for row in rows}
    assert set(sizes) == {"two-part", "prequential"}
    for code, row in sizes.items():
        file = (tmp_path / "runs" / "labels" / "300" / f"{code}.lac").read_bytes()
        assert row["file_bytes"] == len(file)
        assert row["file_bytes"] == sum(
            row[f"{part}_bytes"] for part in ("network", "labels", "header")
        )
        found = decode(file, digits().inputs[:300], NETWORKS["lenet-300-100"],
                       learner(LabelsConfig.read(folder / "config.yaml")))  # fmt: skip
        assert (found == digits().labels[:300].numpy()).all()
    assert sizes["prequential"]["network_bytes"] == 0
    assert (folder / "labels-300.svg").exists()
    with pytest.raises(ConfigError, match="code: 'none' is not one of two-part, prequential"):
        main(folder, ["--code", "none"])


def test_training_of_a_block_depends_on_its_labels_alone() -> None:
    data = digits()
    small = LabelsConfig(train=Stage(epochs=1, batch=20), blocks=Blocks(least_steps=2))
    nets = [learner(small)(data.inputs[:40], data.labels[:40].numpy()) for _ in range(2)]
    for one, other in zip(*(net.parameters() for net in nets), strict=True):
        assert torch.equal(one, other)


def test_the_target_is_the_source_s_inequality() -> None:
    rows = [
        {"code": code, "labels": 10, "file_bytes": size}
        for code, size in (("two-part", 90), ("two-part-sparse", 60), ("bayesian-1", 50))
    ]
    (one,) = targets(rows)
    assert one["target"] == "below the two-part code's 60"
    assert one["ours"] == 50
    assert one["met"]
    assert targets(rows[:2]) == []
