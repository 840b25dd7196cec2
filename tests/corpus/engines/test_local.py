"""Many files in several processes."""

import multiprocessing
import operator
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from laconic.cli import app
from laconic.corpus.engines import Local, core_count
from laconic.errors import InputError


def test_jobs_run_in_their_own_processes_in_order() -> None:
    """Environment: one thread each. An error of one job is that job's alone."""
    names = [("OMP_NUM_THREADS",), ("NUMBA_NUM_THREADS",)]
    with Local(2).in_order(_environment, names) as waiting:
        found = [wait() for wait in waiting]
    assert [one["output"] for one in found] == ["1", "1"]
    assert all(one["process"] != os.getpid() for one in found)


def _environment(name: str) -> dict[str, object]:
    return {"output": os.environ[name], "process": os.getpid()}


def test_an_error_ends_waiting_jobs() -> None:
    with pytest.raises(InputError, match="stop"):
        _stop_after_the_first()
    for child in multiprocessing.active_children():
        child.join(20)


def _stop_after_the_first() -> None:
    with Local(1).in_order(dict, [([("output", k)],) for k in range(8)]) as waiting:
        assert waiting[0]() == {"output": 0}
        raise InputError("stop")


def test_a_failed_job_is_an_error_where_it_is_waited_for() -> None:
    with Local(1).in_order(dict, [([("error", "bad")],), ([("output", 1)],)]) as waiting:
        with pytest.raises(InputError, match="bad"):
            waiting[0]()
        assert waiting[1]() == {"output": 1}


def test_there_is_a_core() -> None:
    assert operator.index(core_count()) >= 1


def test_a_folder_is_compressed_picture_by_picture(tmp_path: Path) -> None:
    """With one job in this process; hidden files and texts are left out."""
    folder, out = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    for name in ("a.png", "b.png", ".c.png"):
        Image.fromarray(np.full((9, 9, 3), 80, np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    arguments = ["compress", str(folder), "-o", str(out), "--jobs", "1", "--coder", "importance"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in out.iterdir()) == ["a.lac", "b.lac"]
