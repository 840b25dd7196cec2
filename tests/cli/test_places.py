"""Places that refuse to be written: a full disk, a folder for reading only, a limit of sizes."""

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from laconic.cli import app

DISK_BYTES = 64 << 10


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def mount(*words: object) -> None:
    """Skip where this process may not mount."""
    done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", folder)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of two pictures that no coder makes small."""
    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        noise = rng.integers(256, size=(200, 200, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{name}.png")
    return folder


def commands(pictures: Path, place: Path) -> dict[str, list[object]]:
    """Commands that write more than the small disk holds."""
    exact = ["--lossless", "--effort", "0"]
    return {
        "compress": ["compress", pictures / "a.png", "-o", place / "a.lac", *exact],
        "archive": ["compress", pictures, "-o", place / "set.lac", *exact],
        "corpus": ["corpus", "compress", pictures, place / "out", *exact, "--jobs", "1"],
    }


def check_refused(result: Result, reason: str, place: Path) -> None:
    """Exit status 1, the reason in each line, and no file that is not whole."""
    assert result.exit_code == 1, result.output
    lines = result.stderr.strip().splitlines()
    assert 1 <= len(lines) <= 2
    assert all(line.startswith("laconic: error: ") and reason in line for line in lines)
    left = [path for path in place.rglob("*") if path.is_file() and ".laconic-" in path.name]
    assert left == []
    assert list(place.rglob("*.lac")) == []


@pytest.mark.parametrize("name", ["compress", "archive", "corpus"])
def test_a_full_disk_is_one_line(
    name: str, disk: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("laconic.corpus.loop.WAIT_SECONDS", 0.0)
    check_refused(run(*commands(pictures, disk)[name]), "No space left on device", disk)


@pytest.mark.parametrize("name", ["compress", "archive", "corpus"])
def test_a_folder_for_reading_only_is_one_line(name: str, disk: Path, pictures: Path) -> None:
    mount("-o", "remount,ro", disk)
    check_refused(run(*commands(pictures, disk)[name]), "Read-only file system", disk)


def test_a_limit_of_file_sizes_is_one_line(tmp_path: Path, pictures: Path) -> None:
    """As a full disk, where none can be mounted; Python ignores the signal."""
    place, limits = tmp_path / "out", resource.getrlimit(resource.RLIMIT_FSIZE)
    place.mkdir()
    resource.setrlimit(resource.RLIMIT_FSIZE, (DISK_BYTES, limits[1]))
    try:
        result = run(*commands(pictures, place)["compress"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    check_refused(result, "File too large", place)
