"""Toy regressions end to end, with a few steps of training."""

import json
from pathlib import Path

import pytest

from laconic.lab.tasks import task
from laconic.lab.toys import PLACES, PROCESSES, TASKS, grid_of, main


def test_toys_are_standardised() -> None:
    for name in TASKS.values():
        data = task(name, 0)
        assert data.inputs.shape == data.labels.shape == (20, 1)
        for part in (data.inputs, data.labels):
            assert float(part.mean()) == pytest.approx(0, abs=1e-5)
            assert float(part.std()) == pytest.approx(1)
        grid = grid_of(data)
        assert len(grid) == PLACES
        assert float(grid[0]) < float(data.inputs.min())


@pytest.mark.slow
def test_a_folder_of_recipes_becomes_a_figure_and_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "a" / "b" / "toys"
    folder.mkdir(parents=True)
    for name in TASKS:
        for start in PROCESSES:
            kind, count = ("np", 20) if start == "np" else ("fnp", 10)
            settings = "{latent: 4}" if start == "np" else "{embedding: 2, latent: 4, hidden: 8}"
            (folder / f"{start}-{name}.yaml").write_text(
                f"recipe: process\nname: {start}-{name}\nprocess: {kind}\nnetwork: mlp-100\n"
                f"data: {TASKS[name]}\nreferences: {count}\nsettings: {settings}\n"
                f"train: {{epochs: 2, batch: {count}}}\n"
            )
    main(folder, [])
    rows = json.loads((folder / "results.json").read_text())["toys"]
    models = [*PROCESSES.values(), "MC-dropout", "mean-field", "GP"]
    assert [row["model"] for row in rows] == models * len(TASKS)
    assert all(row["rmse"] > 0 for row in rows)
    assert (folder / "bands.svg").exists()
