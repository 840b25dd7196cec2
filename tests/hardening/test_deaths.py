"""A dozen deaths of commands that write; `experiments/hardening/kill.py` does any number."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_after_a_death_nothing_is_half_written_or_lost(repository: Path, tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    script, results = repository / "experiments" / "hardening" / "kill.py", tmp_path / "r.json"
    command = [sys.executable, str(script), "--moments", "12", "--results", str(results)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    moments = json.loads(results.read_text())["moments"]
    assert len(moments) == 12
    assert sum(one["killed"] for one in moments) >= 8
