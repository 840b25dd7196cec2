"""One run: its point, its settings, and that no kill at any moment costs more than a checkpoint."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from laconic.errors import ConfigError, InputError
from laconic.lab import runs
from laconic.lab.points import Instruments
from laconic.lab.runs import complete, is_finished, read_result
from laconic.lab.sweep import Run, read_sweep
from laconic.lab.workers import check
from laconic.training import checkpoints

Finish = Callable[[Run], dict[str, Any]]


def plan(config: dict[str, Any]) -> tuple[Run, ...]:
    return read_sweep(config, lambda settings: {"draws": 1} | dict(settings)).runs


def quiet(stage: str, done: int, total: int) -> None:
    pass


@pytest.fixture
def finish(still: Instruments) -> Finish:
    return lambda run: complete(run, still, quiet)


def weights(run: Run) -> dict[str, Tensor]:
    return checkpoints.load(Path(run.folder) / "checkpoint.safetensors")[0]


def test_a_run_leaves_its_point(
    sweep_config: dict[str, Any], finish: Finish, still: Instruments
) -> None:
    run = plan(sweep_config)[0]
    result = finish(run)
    assert result == read_result(run)
    told = {key: result[key] for key in ("format", "name", "family", "data", "seed", "steps")}
    assert told == {
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
    with np.load(Path(run.folder) / result["grids"]) as grids:
        assert grids["inputs"].shape == (2, 8, 8)
    assert is_finished(run, still)
    before = run.result.stat().st_mtime_ns
    assert finish(run) == result
    assert run.result.stat().st_mtime_ns == before


def test_other_settings_are_never_mixed(
    sweep_config: dict[str, Any], finish: Finish, still: Instruments
) -> None:
    run = plan(sweep_config)[0]
    finish(run)
    steps = sweep_config | {"loop": sweep_config["loop"] | {"steps": 13}}
    longer = read_sweep(steps, still.resolve)
    with pytest.raises(ConfigError, match=r"dense-beta-0\.5/seed-0 .*loop\.steps was 12"):
        check(longer, still)
    measured = plan(sweep_config | {"measure": {"draws": 2}})[0]
    with pytest.raises(ConfigError, match=r"draws was 1, is now 2; remove .*result\.json"):
        is_finished(measured, still)
    run.result.unlink()
    with pytest.raises(ConfigError, match=r"loop\.steps was 12"):
        complete(longer.runs[0], still, quiet)
    often = plan(sweep_config | {"loop": sweep_config["loop"] | {"checkpoint_minutes": 9.0}})[0]
    assert not is_finished(often, still)
    assert complete(measured, still, quiet)["steps"] == 12


def test_a_result_from_before_a_measure_was_known_still_counts(
    sweep_config: dict[str, Any], finish: Finish, still: Instruments
) -> None:
    run = plan(sweep_config)[0]
    finish(run)
    result = json.loads(run.result.read_text())
    newer = result["settings"]["measuring"]["measure"].pop("draws")
    run.result.write_text(json.dumps(result))
    assert is_finished(run, still)
    asked = plan(sweep_config | {"measure": {"draws": newer + 1}})[0]
    with pytest.raises(ConfigError, match="draws was 1, is now 2"):
        is_finished(asked, still)


def test_a_file_that_is_no_result_is_named(
    sweep_config: dict[str, Any], still: Instruments
) -> None:
    run = plan(sweep_config)[0]
    Path(run.folder).mkdir(parents=True)
    for text in ("{", "[]", "{}"):
        run.result.write_text(text)
        with pytest.raises(InputError, match=r"result\.json"):
            is_finished(run, still)


@pytest.mark.slow
def test_a_chain_starts_from_its_neighbours_weights(
    sweep_config: dict[str, Any], finish: Finish
) -> None:
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


def test_a_target_rates_multiplier_is_told(sweep_config: dict[str, Any], finish: Finish) -> None:
    """It starts at 1 and moves by at most 0.003 in a step."""
    free, held = plan(sweep_config | {"betas": [0.5], "targets_nats": [0.01]})
    assert "multiplier" not in finish(free)
    result = finish(held)
    assert result["objective"]["name"] == "target-rate"
    assert result["multiplier"] == weights(held)["state.multiplier"].item()
    assert 0 < abs(result["multiplier"] - 1) <= 12 * 0.003 + 1e-6


def test_a_run_that_another_process_is_at(
    sweep_config: dict[str, Any], finish: Finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "PATIENCE_SECONDS", 0.0)
    run = plan(sweep_config)[0]
    Path(run.folder).mkdir(parents=True)
    (Path(run.folder) / "lock.owner").write_text("4711\n")
    with (
        FileLock(Path(run.folder) / "lock"),
        pytest.raises(ConfigError, match=r"dense-beta-0\.5/seed-0: process 4711 holds the lock"),
    ):
        finish(run)
    assert not run.result.exists()


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
    with runs._locked(tmp_path / "lock", "run"):
        assert (tmp_path / "lock.owner").read_text() == f"{os.getpid()}\n"


def test_training_that_stops_early_has_no_point(
    sweep_config: dict[str, Any], finish: Finish
) -> None:
    minutes = {"loop": sweep_config["loop"] | {"minutes": 1e-9}}
    run = plan(sweep_config | minutes)[0]
    with pytest.raises(ConfigError, match=r"loop\.minutes: training stopped at step 1 of 12"):
        finish(run)
    assert not run.result.exists()


NURSERY = """
    import json, os, signal, sys, time
    import torch
    torch.set_num_threads(1)
    from conftest import Still
    from laconic.lab.runs import complete
    from laconic.lab.sweep import Run

    run = Run(**json.loads(sys.argv[1]))
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
            complete(run, Still(), lambda stage, done, total: None)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        sys.stdin.readline()
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_costs_no_more_than_a_checkpoint(
    sweep_config: dict[str, Any], finish: Finish, still: Instruments, tmp_path: Path
) -> None:
    """Killed before and after every n-th renaming; after each, all files are whole."""
    run = plan(sweep_config)[0]
    code = textwrap.dedent(NURSERY)
    strikes = 12
    child = subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(run.__dict__), str(strikes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    ends, steps = [], [0]
    for _ in range(strikes):
        ends.append(int(child.stdout.readline()))
        path = Path(run.folder) / "checkpoint.safetensors"
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
    assert is_finished(run, still)
    whole = plan(sweep_config | {"folder": str(tmp_path / "whole")})[0]
    assert finish(whole)["measures"] == (read_result(run) or {})["measures"]
    left, right = weights(run), weights(whole)
    assert all(torch.equal(left[name], right[name]) for name in right)
    logs = [(Path(r.folder) / "log.csv").read_text().splitlines() for r in (run, whole)]
    assert [row.split(",")[0] for row in logs[0]] == [row.split(",")[0] for row in logs[1]]
    assert not list(Path(run.folder).glob(".*"))
