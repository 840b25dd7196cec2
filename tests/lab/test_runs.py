"""One run: its point, its settings, and that no kill at any moment costs more than a checkpoint."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from laconic.errors import ConfigError, InputError
from laconic.lab import runs
from laconic.lab.contract import written
from laconic.lab.recipes import read_recipe
from laconic.lab.runs import make_trainer
from laconic.lab.sweep import Run, read_sweep
from laconic.lab.workers import check
from laconic.training import checkpoints
from laconic.training.loop import CHECKPOINT

pytestmark = pytest.mark.usefixtures("_quick")


def plan(config: dict[str, Any]) -> tuple[Run, ...]:
    return read_sweep(config).runs


def finish(run: Run) -> dict[str, Any]:
    torch.set_num_threads(run.threads)
    return runs.complete(read_recipe(run.recipe))


def is_finished(run: Run) -> bool:
    return runs.is_finished(read_recipe(run.recipe))


def read_result(run: Run) -> dict[str, Any] | None:
    return runs.read_result(read_recipe(run.recipe))


def result_of(run: Run) -> Path:
    return run.folder / "result.json"


def weights(run: Run) -> dict[str, Tensor]:
    return checkpoints.load(run.folder / "checkpoint.safetensors")[0]


def test_a_run_leaves_its_point(sweep_config: dict[str, Any]) -> None:
    run = plan(sweep_config)[0]
    result = finish(run)
    assert result == read_result(run)
    facts = {key: result[key] for key in ("format", "name", "family", "data", "seed", "steps")}
    assert facts == {
        "format": "laconic rd point 1",
        "name": "dense beta 0.5",
        "family": "dense",
        "data": "small",
        "seed": 0,
        "steps": 12,
    }
    assert result["objective"] == {"name": "beta", "beta": 0.5}
    assert result["annealed"] is False
    assert result["train_seconds"] >= 0
    with np.load(run.folder / result["grids"]) as grids:
        assert grids["inputs"].shape == (2, 8, 8)
    assert is_finished(run)
    before = result_of(run).stat().st_mtime_ns
    assert finish(run) == result
    assert result_of(run).stat().st_mtime_ns == before


def test_other_settings_are_never_mixed(sweep_config: dict[str, Any]) -> None:
    run = plan(sweep_config)[0]
    finish(run)
    steps = sweep_config | {"loop": sweep_config["loop"] | {"steps": 13}}
    longer = read_sweep(steps)
    with pytest.raises(ConfigError, match=r"dense-beta-0\.5/seed-0 .*loop\.steps was 12"):
        check(longer)
    measured = plan(sweep_config | {"measure": {"draws": 2}})[0]
    with pytest.raises(ConfigError, match=r"draws was 1, is now 2; remove .*result\.json"):
        is_finished(measured)
    result_of(run).unlink()
    with pytest.raises(ConfigError, match=r"loop\.steps was 12"):
        finish(longer.runs[0])
    often = plan(sweep_config | {"loop": sweep_config["loop"] | {"checkpoint_minutes": 9.0}})[0]
    assert not is_finished(often)
    assert finish(measured)["steps"] == 12


def test_settings_that_a_result_does_not_know_had_their_defaults(
    sweep_config: dict[str, Any],
) -> None:
    """Both of training and of measuring: an older version may have written it."""
    run = plan(sweep_config)[0]
    finish(run)
    result = json.loads(result_of(run).read_text())
    draws = result["settings"]["measuring"]["measure"].pop("draws")
    del result["settings"]["training"]["loop"]["clip_norm"]
    result_of(run).write_text(json.dumps(result))
    assert is_finished(run)
    asked = plan(sweep_config | {"measure": {"draws": draws + 1}})[0]
    with pytest.raises(ConfigError, match="draws was None, is now 2"):
        is_finished(asked)
    clipped = plan(sweep_config | {"loop": sweep_config["loop"] | {"clip_norm": 0.5}})[0]
    with pytest.raises(ConfigError, match=r"loop\.clip_norm was"):
        is_finished(clipped)


def test_a_file_that_is_no_result_is_named(sweep_config: dict[str, Any]) -> None:
    run = plan(sweep_config)[0]
    run.folder.mkdir(parents=True)
    for text in ("{", "[]", "{}"):
        result_of(run).write_text(text)
        with pytest.raises(InputError, match=r"result\.json"):
            is_finished(run)


@pytest.mark.slow
def test_a_chain_starts_from_its_neighbours_weights(sweep_config: dict[str, Any]) -> None:
    sweep_config |= {"chain": True, "first": {"loop": {"steps": 20}}}
    chain = plan(sweep_config)
    for run in chain:
        finish(run)
    alone = plan(sweep_config | {"chain": False, "folder": sweep_config["folder"] + "2"})[1]
    finish(alone)
    first, second, other = (
        weights(run)["model.encoder.layers.0.weight"] for run in (*chain, alone)
    )
    assert (second - first).abs().mean() < 0.3 * (second - other).abs().mean()


def test_a_chain_of_an_older_version_goes_on(sweep_config: dict[str, Any]) -> None:
    """It recorded a digest of all settings of the run before, those with default values too."""
    first, second = plan(sweep_config | {"chain": True})
    finish(first)
    settings = checkpoints.load(first.folder / CHECKPOINT, tensors=False)[1]["settings"]
    names = {"ahead", "checkpoint_minutes", "compile", "log_steps", "logger", "minutes"}
    whole = {
        f"{section}.{key}": value
        for section in ("model", "data", "objective", "loop", "rate")
        for key, value in settings[section].items()
        if key not in names - {"ahead"}
    }
    text = json.dumps(whole | {"starts_from": settings["starts_from"]}, sort_keys=True)
    before = hashlib.sha256(text.encode()).hexdigest()[:16]
    finish(second)
    result = json.loads(result_of(second).read_text())
    for digest, accepted in ((before, True), (before[::-1], False)):
        result["settings"]["training"]["starts_from"] = digest
        result_of(second).write_text(json.dumps(result))
        if accepted:
            assert is_finished(second)
        else:
            with pytest.raises(ConfigError, match="starts_from was"):
                is_finished(second)


def test_training_that_is_resumed_may_last_longer_and_nothing_else(
    sweep_config: dict[str, Any],
) -> None:
    config = {**plan(sweep_config)[0].recipe, "test": {}}
    recipe = read_recipe(config)
    assert runs.train(recipe) is None
    with pytest.raises(ConfigError, match=r"checkpoint\.safetensors exists; --resume"):
        runs.train(recipe)
    longer = config | {"loop": config["loop"] | {"steps": 14}}
    runs.train(read_recipe(longer), resume=True)
    assert make_trainer(read_recipe(longer), resume=True).step == 14
    wider = longer | {"model": config["model"] | {"hidden": [17]}}
    with pytest.raises(ConfigError, match=r"model\.hidden was \[16\], is now \[17\]; --force"):
        runs.train(read_recipe(wider), resume=True)
    runs.train(read_recipe(wider), force=True)
    assert make_trainer(read_recipe(wider), resume=True).step == 14


def test_a_checkpoint_without_settings_is_resumed(sweep_config: dict[str, Any]) -> None:
    """Before recipes, `laconic train` recorded model and data only."""
    config = {**plan(sweep_config)[0].recipe, "test": {}}
    runs.train(read_recipe(config))
    path = Path(config["folder"]) / CHECKPOINT
    tensors, meta = checkpoints.load(path)
    for name in ("settings", "digest", "recipe"):
        del meta[name]
    checkpoints.save(path, tensors, meta)
    longer = config | {"loop": config["loop"] | {"steps": 14}}
    runs.train(read_recipe(longer), resume=True)
    assert checkpoints.load(path)[1]["step"] == 14


def test_train_measures_where_the_recipe_says_with_what(sweep_config: dict[str, Any]) -> None:
    recipe = read_recipe(plan(sweep_config)[0].recipe)
    result = runs.train(recipe)
    assert result == runs.read_result(recipe)
    assert runs.is_finished(recipe)
    stopped = recipe.read({**written(recipe), "loop": {**written(recipe)["loop"], "minutes": 1e-9}})
    assert runs.train(stopped, force=True) is None
    assert runs.read_result(recipe) is None


def test_a_target_rates_multiplier_is_recorded(sweep_config: dict[str, Any]) -> None:
    """It starts at 1 and moves by at most 0.003 in a step."""
    free, held = plan(sweep_config | {"betas": [0.5], "targets_nats": [0.01]})
    assert "multiplier" not in finish(free)
    result = finish(held)
    assert result["objective"]["name"] == "target-rate"
    assert result["multiplier"] == weights(held)["state.multiplier"].item()
    assert 0 < abs(result["multiplier"] - 1) <= 12 * 0.003 + 1e-6


def test_a_run_that_another_process_is_at(
    sweep_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "PATIENCE_SECONDS", 0.0)
    run = plan(sweep_config)[0]
    run.folder.mkdir(parents=True)
    (run.folder / "lock.owner").write_text("4711\n")
    with (
        FileLock(run.folder / "lock"),
        pytest.raises(ConfigError, match=r"dense-beta-0\.5/seed-0: process 4711 holds the lock"),
    ):
        finish(run)
    assert not result_of(run).exists()


def test_the_lock_of_a_dead_process_is_not_respected(tmp_path: Path) -> None:
    code = (
        "import os, sys, filelock\n"
        "lock = filelock.FileLock(sys.argv[1]); lock.acquire()\n"
        "print('held', flush=True); os.read(0, 1); os._exit(9)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "lock")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Timeout):
            FileLock(tmp_path / "lock", timeout=0).acquire()
        holder.kill()
    with runs.locked(read_recipe({"folder": str(tmp_path)})):
        assert (tmp_path / "lock.owner").read_text() == f"{os.getpid()}\n"


def test_training_that_stops_early_has_no_point(sweep_config: dict[str, Any]) -> None:
    minutes = {"loop": sweep_config["loop"] | {"minutes": 1e-9}}
    run = plan(sweep_config | minutes)[0]
    with pytest.raises(ConfigError, match=r"loop\.minutes: training stopped at step 1 of 12"):
        finish(run)
    assert not result_of(run).exists()


NURSERY = """
    import json, os, signal, sys, time
    import torch
    torch.set_num_threads(1)
    from conftest import take_weights
    from laconic.evaluation.models import laboratory
    from laconic.lab.recipes import read_recipe
    from laconic.lab.runs import complete

    laboratory.take = take_weights
    recipe = read_recipe(json.loads(sys.argv[1]))
    replaced = os.replace
    for strike in range(int(sys.argv[2])):
        child = os.fork()
        if not child:
            left = [strike]
            def replace(*paths):  # Every second strike falls before a whole file has its name.
                if left[0] < 1 and strike % 2:
                    os.kill(os.getpid(), signal.SIGKILL)
                replaced(*paths)
                if left[0] < 1:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
            os.replace = replace
            complete(recipe)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        sys.stdin.readline()
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_costs_no_more_than_a_checkpoint(
    sweep_config: dict[str, Any], tmp_path: Path
) -> None:
    """Killed before and after every n-th renaming; after each, all files are whole."""
    run = plan(sweep_config)[0]
    code = textwrap.dedent(NURSERY)
    strikes, paths = 12, [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    child = subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(run.recipe), str(strikes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    ends, steps = [], [0]
    for _ in range(strikes):
        ends.append(int(child.stdout.readline()))
        path = run.folder / "checkpoint.safetensors"
        if path.exists():
            steps.append(int(checkpoints.load(path)[1]["step"]))
        result = read_result(run)
        assert result is None or result["steps"] == 12
        child.stdin.write("\n")
        child.stdin.flush()
    child.communicate(timeout=30)
    assert steps == sorted(steps)
    assert ends.count(-signal.SIGKILL) >= 4
    assert ends[-1] == 0
    assert is_finished(run)
    whole = plan(sweep_config | {"folder": str(tmp_path / "whole")})[0]
    assert finish(whole)["measures"] == (read_result(run) or {})["measures"]
    left, right = weights(run), weights(whole)
    assert all(torch.equal(left[name], right[name]) for name in right)
    logs = [(r.folder / "log.csv").read_text().splitlines() for r in (run, whole)]
    assert [row.split(",")[0] for row in logs[0]] == [row.split(",")[0] for row in logs[1]]
    assert not list(run.folder.glob(".*"))
