"""Machine code that is kept on disk is never older than the sources of its package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from laconic import compiled

CALLEE = """
from numba import njit

FACTOR = 3

@njit
def scale(x):
    return FACTOR * x
"""

CALLER = """
from laconic.coding.callee import scale
from laconic.compiled import compiled

@compiled()
def answer():
    return scale(14)

print(answer(), sum(answer.stats.cache_hits.values()))
"""


@pytest.fixture
def copied(repository: Path, tmp_path: Path) -> Path:
    """A folder with a copy of the decorator, and two files whose functions call each other."""
    room = tmp_path / "laconic" / "coding"
    room.mkdir(parents=True)
    for name in ("compiled.py", "waiting.py"):
        shutil.copy(repository / "src" / "laconic" / name, room.parent)
    for folder in (room, room.parent):
        (folder / "__init__.py").touch()
    (room / "callee.py").write_text(CALLEE)
    (room / "caller.py").write_text(CALLER)
    return tmp_path


def call(folder: Path, **changes: str) -> tuple[int, int]:
    """The caller's answer, and how many machine codes came from disk; no message is printed."""
    kept = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "laconic.coding.caller"],
        env=kept | {"PYTHONPATH": str(folder)} | changes,
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stderr == ""
    answer, hits = run.stdout.split()
    return int(answer), int(hits)


def test_an_edited_callee_changes_its_caller(copied: Path) -> None:
    """The caller's file stays as it is; numba's own cache would run the caller's old code."""
    assert call(copied) == (42, 0)
    assert call(copied) == (42, 1)

    path = copied / "laconic" / "coding" / "callee.py"
    path.write_text(path.read_text().replace("FACTOR = 3", "FACTOR = 5"))
    assert call(copied) == (70, 0)
    assert len(list(path.parent.glob("__pycache__/caller.answer*"))) == 1  # The old one is removed.


def test_a_named_package_counts_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "ROOT", tmp_path)
    monkeypatch.setattr(compiled, "__file__", str(tmp_path / "compiled.py"))
    for name in ("compiled.py", "one/a.py", "two/b.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    stamps = []
    for text in ("x = 1\n", "x = 2\n"):
        (tmp_path / "two" / "b.py").write_text(text)
        compiled.source_stamp.cache_clear()
        stamps.append((compiled.source_stamp("one"), compiled.source_stamp("one", "two")))
    compiled.source_stamp.cache_clear()
    assert stamps[0][0] == stamps[1][0]
    assert stamps[0][1] != stamps[1][1]


def test_damaged_machine_code_is_compiled_again(copied: Path) -> None:
    """As a power cut leaves it."""
    assert call(copied) == (42, 0)
    for path in copied.rglob("*.nbc"):
        path.write_bytes(path.read_bytes()[:100])
    assert call(copied) == (42, 0)
    assert call(copied) == (42, 1)


def test_a_home_less_user_gets_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a home folder numba would make one that is called "~", in the working folder."""
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert compiled._PerUser.from_function(call, __file__) is None


def test_no_other_decorator_keeps_machine_code(repository: Path) -> None:
    """Numba's own cache is not used."""
    sources = (repository / "src").rglob("*.py")
    assert not [path for path in sources if re.search(r"cache=True", path.read_text())]
