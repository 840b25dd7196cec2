"""The engine of a Ray cluster; Ray is started on this machine, which takes seconds to minutes."""

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
from PIL import Image
from typer.testing import CliRunner

from laconic.cli import app
from laconic.corpus.engines import Here, Local, make
from laconic.corpus.engines.ray import MOST_JOBS, TASK_SECONDS, Groups
from laconic.errors import ConfigError, MissingPackageError

CANNOT_START = "Ray cannot be reached at this machine"
NOT_IN_TIME = "Ray does not start here in time: its servers wait for each other for 30 s"


def test_engines_have_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make("local", 1), Here)
    assert isinstance(make("local", 2), Local)
    with pytest.raises(ConfigError, match="local, ray"):
        make("dask", 2)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r"laconic-codec\[cluster\]"):
        make("ray", 2)


def test_groups_grow_with_quick_jobs_and_shrink_with_slow_ones() -> None:
    groups = Groups((k,) for k in range(1000))
    assert groups.next() == ((0, (0,)),)
    groups.took(1, TASK_SECONDS / 1000)
    assert [number for number, _ in groups.next()] == [1, 2, 3, 4]
    for _ in range(5):
        groups.took(groups.size, groups.size * TASK_SECONDS / 1000)
    assert groups.size == MOST_JOBS
    groups.took(MOST_JOBS, MOST_JOBS * TASK_SECONDS)
    assert groups.size == 1


def test_jobs_of_a_group_that_died_run_alone() -> None:
    groups = Groups((k,) for k in range(5))
    groups.size = 4
    assert groups.died(groups.next())
    alone = [groups.next() for _ in range(4)]
    assert alone == [((k, (k,)),) for k in range(4)]
    assert not groups.died(alone[2])
    assert groups.next() == ((4, (4,)),)
    assert not groups.next()


def die_at_seven(number: int) -> dict[str, Any]:
    """A job whose process is ended from outside."""
    if number == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"output": number}


@pytest.mark.slow
def test_a_job_that_ends_its_process_takes_no_other_with_it() -> None:
    pytest.importorskip("ray")
    program = f"""
    import json, sys
    sys.path.insert(0, {str(Path(__file__).parent)!r})
    from laconic.corpus.engines import make
    from test_ray import die_at_seven
    print(json.dumps(sorted(make("ray", 1).run(die_at_seven, [(k,) for k in range(20)]))))
    """
    path = f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True, text=True, timeout=600, check=False,
        env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    if CANNOT_START in done.stderr:
        pytest.skip(NOT_IN_TIME)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert [number for number, _ in found] == list(range(20))
    assert [number for number, one in found if "error" in one] == [7]


@pytest.mark.slow
def test_ray_gives_the_bytes_of_one_process(tmp_path: Path) -> None:
    """In a process of its own: Ray's warnings and threads are not those of the tests."""
    pytest.importorskip("ray")
    (tmp_path / "in").mkdir()
    for value in range(3):
        picture = np.full((6, 5, 3), 9 * value, np.uint8)
        Image.fromarray(picture).save(tmp_path / "in" / f"{value}.png")
    words = ["corpus", "compress", str(tmp_path / "in")]
    exact = ["--lossless", "--effort", "0", "--json"]
    command = [sys.executable, "-m", "laconic", *words, str(tmp_path / "ray"), *exact]
    done = subprocess.run(
        [*command, "--engine", "ray", "--jobs", "1"],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    if CANNOT_START in done.stderr:
        pytest.skip(NOT_IN_TIME)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["done"] == 3
    here = [*words, str(tmp_path / "here"), *exact, "--jobs", "1"]
    assert CliRunner().invoke(app, here).exit_code == 0
    for name in ("0.png.lac", "1.png.lac", "2.png.lac"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
