"""Several processes: each run is done once, failures are reported, nothing outlives its parent."""

import io
import json
import os
import signal
import sys
import textwrap
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from laconic.lab import workers
from laconic.lab.contract import Recipe, StageProgress
from laconic.lab.sweep import Run, Sweep
from laconic.lab.workers import run_sweep

WORKER = """
    import json, pathlib, sys, time
    run = json.loads(sys.stdin.readline())
    folder = pathlib.Path(run["recipe"]["folder"])
    with (folder / "record").open("a") as file:
        file.write(run["name"] + "\\n")
    print(json.dumps(["train", 1, 2]), flush=True)
    print("no JSON", flush=True)
    if "bad" in run["name"]:
        sys.exit("a line before\\nlaconic: error: it is broken")
    if "mute" in run["name"]:
        sys.exit(3)
    if "long" in run["name"]:
        sys.stdin.read()
        (folder / "saved").touch()
        sys.exit(130)
"""
COMMAND = (sys.executable, "-c", textwrap.dedent(WORKER))


@pytest.fixture
def _unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "check", lambda sweep: list(sweep.runs))


def run(folder: Path, name: str) -> Run:
    return Run(name, {"folder": str(folder / name)})


def sweep(folder: Path, *chains: tuple[str, ...], processes: int = 2) -> Sweep:
    return Sweep(
        tuple(tuple(run(folder, name) for name in chain) for chain in chains), processes, folder
    )


def work_off(plan: Sweep) -> tuple[workers.Outcome, list[tuple[str, str]], list[float]]:
    ended: list[tuple[str, str]] = []
    shares: list[float] = []
    outcome = run_sweep(
        plan,
        lambda run, why: ended.append((run.name, why)),
        lambda done, count: shares.append(done / count),
        COMMAND,
    )
    return outcome, ended, shares


@pytest.mark.usefixtures("_unchecked")
def test_failures_are_reported_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    plan = sweep(tmp_path, ("a", "b"), ("c", "bad", "d", "e"), ("mute",), ("file",))
    outcome, ended, shares = work_off(plan)
    assert sorted(outcome.done) == ["a", "b", "c"]
    assert outcome.failed["bad"] == "laconic: error: it is broken"
    assert outcome.failed["mute"] == "ended with status 3"
    assert "File exists" in outcome.failed["file"]
    assert outcome.failed["d"] == outcome.failed["e"] == "bad, which it starts from, failed"
    assert dict(ended) == outcome.failed | dict.fromkeys(outcome.done, "")
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert (tmp_path / "a" / "record").read_text() == "a\n"
    assert not (tmp_path / "d" / "record").exists()


@pytest.mark.usefixtures("_unchecked")
def test_what_is_finished_is_not_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "check", lambda sweep: list(sweep.runs[1:]))
    outcome, ended, _ = work_off(sweep(tmp_path, ("a", "b")))
    assert (outcome.skipped, outcome.done, ended) == (["a"], ["b"], [("b", "")])


def test_a_worker_stops_when_its_parent_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pipe from the parent ends, which the kernel sees to however the parent dies."""
    reader, writer = os.pipe()
    saved: list[str] = []

    def complete(given: Recipe, progress: StageProgress) -> None:
        progress("train", 1, 2)
        try:
            os.close(writer)
            time.sleep(30)
        finally:
            saved.append(given.place.name)

    monkeypatch.setattr(workers, "complete", complete)
    reports = io.StringIO()
    os.write(writer, (json.dumps(asdict(run(tmp_path, "a"))) + "\n").encode())
    with os.fdopen(reader) as given, pytest.raises(KeyboardInterrupt):
        workers.work(given, reports)
    assert saved == ["a"]
    assert reports.getvalue() == '["train", 1, 2]\n'


@pytest.mark.usefixtures("_unchecked")
def test_an_interrupted_parent_lets_its_workers_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = sweep(tmp_path, ("long-0",), ("long-1",), ("long-2",))
    interrupt_when(tmp_path, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        work_off(plan)
    assert [(tmp_path / f"long-{index}" / "saved").exists() for index in range(2)] == [True, True]
    assert not (tmp_path / "long-2").exists()


def interrupt_when(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C, once, as soon as two workers are at it: a second one would cut the waiting short."""
    follow = workers._Pool._follow
    once = threading.Lock()

    def followed(pool: workers._Pool, run: Run, line: str) -> None:
        follow(pool, run, line)
        both = all((folder / f"long-{index}" / "record").exists() for index in range(2))
        if both and once.acquire(blocking=False):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(workers._Pool, "_follow", followed)
