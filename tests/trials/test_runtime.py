"""Trials of the library as it runs: installations, processes, threads, arguments, lists."""

import os
import shutil
import subprocess
import sys
from pathlib import Path


def test_line_17_a_read_only_installation_without_a_home_works(
    repository: Path, tmp_path: Path
) -> None:
    """Folders named `__pycache__` cannot be made (not even by root), nor one for the user."""
    room = tmp_path / "laconic" / "coding"
    room.mkdir(parents=True)
    for name in ("compiled.py", "random.py", "__init__.py"):
        shutil.copy(repository / "src" / "laconic" / "coding" / name, room / name)
    (tmp_path / "laconic" / "__init__.py").touch()
    (room / "__pycache__").touch()
    (tmp_path / "laconic" / "__pycache__").touch()
    before = sorted(tmp_path.rglob("*"))

    kept = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            "from laconic.coding.random import word_at; print(word_at(1, 2, 3))",
        ],
        env=kept | {"PYTHONPATH": str(tmp_path), "HOME": os.devnull},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (run.stdout, run.stderr) == ("168492509\n", "")
    assert sorted(tmp_path.rglob("*")) == before
