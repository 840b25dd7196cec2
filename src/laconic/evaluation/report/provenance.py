"""The facts about a run in every results.json: command, commit, machine, time."""

import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "numpy", "numba", "pillow", "pytorch-msssim", "scipy", "pillow-heif")
"""Packages whose versions can change a measured figure."""


def describe_run(command: str, started: float, repository: Path, **facts: Any) -> dict[str, Any]:
    """The facts of a run, for the key "run" of a results.json.

    Args:
        command: the command, typed in the repository's root.
        started: `time.time()` at the start.
        repository: root of the checkout, for the commit.
        facts: more entries, e.g. seeds.
    """
    return {
        "command": command,
        "commit": _commit(repository),
        "machine": describe_machine(),
        "python": platform.python_version(),
        "versions": _versions(),
        "wall_seconds": round(time.time() - started, 1),
        **facts,
    }


def describe_machine() -> str:
    """Processor, cores and memory in words."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    text = f"{_processor()}, {cores} cores"
    if sys.platform == "linux":
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        text += f", {memory / 2**30:.0f} GiB"
    return f"{text}, {platform.system()}"


def _processor() -> str:
    """The processor's name, or a general one if the system does not report it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit(repository: Path) -> str:
    """The commit, marked where tracked files under src/ or experiments/ differ from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=repository, capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    commit = git("rev-parse", "--short=12", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", "src")
    return f"{commit or 'unknown'}{' with changes' if changed else ''}"


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
