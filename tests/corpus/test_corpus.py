"""Corpora in this process and in a store: what is done, what is left, what is written down."""

import json
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import fsspec
import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from typer.testing import CliRunner, Result

import laconic
from laconic.cli import app
from laconic.cli.corpus import NAMED_FAILURES
from laconic.corpus import units
from laconic.corpus.engines import Here, Local
from laconic.corpus.loop import run
from laconic.corpus.manifest import Manifest
from laconic.corpus.plan import list_units, opened
from laconic.errors import InputError
from laconic.paths import find_below, to_path

FAST = ("--lossless", "--effort", "0", "--jobs", "1")
OPTIONS = {"lossless": True, "effort": 0, "psnr": True}


def put_picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        Image.fromarray(np.full((6, 5, 3), value, np.uint8)).save(file, "PNG")


@pytest.fixture(params=["disk", "store"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder with `in/a.png`, `in/b/c.png` and a text: on disk, or in a store."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    folder = tmp_path if request.param == "disk" else to_path("memory://place")
    put_picture(folder / "in" / "a.png", 10)
    put_picture(folder / "in" / "b" / "c.png", 20)
    with (folder / "in" / "notes.txt").open("wb") as file:
        file.write(b"no picture")
    yield folder
    files.store.clear()


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["corpus", *(str(one) for one in arguments)])


def records(folder: Path) -> list[dict[str, object]]:
    parts = [name for name in find_below(folder) if name.endswith(".jsonl")]
    lines = [line for name in parts for line in (folder / name).read_bytes().splitlines()]
    return [json.loads(line) for line in lines]


def test_there_and_back(root: Path) -> None:
    """Compress, measure, decompress; each leaves alone what is done."""
    done = command("compress", root / "in", root / "out", *FAST, "--json")
    assert done.exit_code == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["pictures"], summary["done"], summary["failed"]) == (2, 2, {})
    found = records(root / "out" / "manifest")
    assert [one["name"] for one in found] == ["a.png", "b/c.png"]
    assert all(one["exact"] and one["error"] is None and one["tries"] == 1 for one in found)
    assert all(one["bpp"] == 8 * one["bytes"] / 30 for one in found)
    again = json.loads(command("compress", root / "in", root / "out", *FAST, "--json").stdout)
    assert (again["done"], again["before"]) == (0, 2)

    measured = command("evaluate", root / "in", root / "out", "--jobs", 1)
    assert measured.exit_code == 0, measured.stderr
    assert "2 done" in measured.stdout
    assert len(records(root / "out" / "evaluation")) == 2
    back = command("decompress", root / "out", root / "back", "--jobs", 1)
    assert back.exit_code == 0, back.stderr
    shown = Image.open(BytesIO((root / "back" / "b" / "c.png").read_bytes()))
    assert shown.getpixel((0, 0)) == (20, 20, 20)


def test_a_rerun_does_what_is_missing_or_changed(root: Path) -> None:
    assert command("compress", root / "in", root / "out", *FAST).exit_code == 0
    (root / "out" / "a.png.lac").unlink()
    put_picture(root / "in" / "new.png", 30)
    with (root / "out" / ".laconic-left-over").open("wb") as file:
        file.write(b"half")
    again = json.loads(command("compress", root / "in", root / "out", *FAST, "--json").stdout)
    assert (again["done"], again["before"]) == (2, 1)
    assert not (root / "out" / ".laconic-left-over").exists()
    assert [one["name"] for one in records(root / "out" / "manifest")] == [
        "a.png", "b/c.png", "new.png",
    ]  # fmt: skip


def test_failures_are_listed_and_tried_by_the_next_run(root: Path) -> None:
    with (root / "in" / "bad.png").open("wb") as file:
        file.write(b"no picture")
    failed = command("compress", root / "in", root / "out", *FAST)
    assert failed.exit_code == 1
    assert "1 failed" in failed.stdout
    assert failed.stderr.count("\n") == 1
    assert "bad.png" in failed.stderr
    kept = {one["name"]: one["error"] for one in records(root / "out" / "manifest")}
    assert "not an image" in str(kept["bad.png"])
    put_picture(root / "in" / "bad.png", 3)
    assert command("compress", root / "in", root / "out", *FAST).exit_code == 0
    assert [one["error"] for one in records(root / "out" / "manifest")] == [None] * 3


def test_other_options_are_refused(root: Path) -> None:
    assert command("compress", root / "in", root / "out", *FAST).exit_code == 0
    other = ("--lossless", "--effort", "1", "--jobs", "1")
    refused = command("compress", root / "in", root / "out", *other)
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "effort: 0 there, 1 here" in refused.stderr
    assert command("compress", root / "in", root / "out", *other, "--force").exit_code == 0
    assert len(records(root / "out" / "manifest")) == 2


def test_errors_of_a_store_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice by default; a wrong picture is not."""
    put_picture(tmp_path / "in" / "a.png", 10)
    tries = []

    def read(path: Path) -> bytes:
        tries.append(path)
        if len(tries) < 3:
            raise OSError(110, "timed out")
        with path.open("rb") as file:
            return file.read()

    monkeypatch.setattr(Path, "read_bytes", read)
    monkeypatch.setattr("laconic.corpus.loop.WAIT_SECONDS", 0.0)
    monkeypatch.setattr("laconic.corpus.manifest.read_bytes", lambda path: b"")
    with opened("compress", tmp_path / "in", tmp_path / "out", OPTIONS) as plan:
        summary = run(plan, Here(), OPTIONS, retries=1)
        assert summary.failed["a.png"].endswith("timed out")
        assert summary.retried == 1
        tries.clear()
        summary = run(plan, Here(), OPTIONS, retries=2)
        assert (summary.failed, summary.done, summary.retried) == ({}, 1, 2)
        assert plan.manifest.records["a.png"]["tries"] == 3


def test_an_interruption_keeps_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in range(3):
        put_picture(tmp_path / "in" / f"{value}.png", value)
    work = units.compress

    def interrupted(source: str, target: str, options: dict[str, object]) -> dict[str, object]:
        if source.endswith("2.png"):
            raise KeyboardInterrupt
        return work(source, target, options)

    monkeypatch.setitem(run.__globals__["WORK"], "compress", interrupted)
    stopped = command("compress", tmp_path / "in", tmp_path / "out", *FAST)
    assert (stopped.exit_code, stopped.stderr.count("\n")) == (130, 1)
    assert "2 pictures done" in stopped.stderr
    assert len(records(tmp_path / "out" / "manifest")) == 2
    monkeypatch.undo()
    rest = json.loads(
        command("compress", tmp_path / "in", tmp_path / "out", *FAST, "--json").stdout
    )
    assert (rest["before"], rest["done"]) == (2, 1)


def test_a_missing_package_is_known_before_any_picture(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_msssim", None)
    refused = command("evaluate", root / "in", root / "out", "--jobs", 1)
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "laconic-codec[eval]" in refused.stderr


def test_faults_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    put_picture(tmp_path / "in" / "a.png", 10)
    for arguments, text in (
        ((tmp_path / "none", tmp_path / "out"), "there is no such folder"),
        ((tmp_path / "empty", tmp_path / "out"), "nothing here or below ends in .bmp"),
        ((tmp_path / "in", tmp_path / "out", "--engine", "dask"), "choose one of local, ray"),
        ((tmp_path / "in", tmp_path / "out", "--address", "auto"), "--engine ray"),
        (("memory://in", tmp_path / "out", "--jobs", 2), "there is no such folder"),
    ):
        refused = command("compress", *arguments)
        assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1), refused.stderr
        assert text in refused.stderr
    assert not (tmp_path / "out").exists()
    (tmp_path / "out" / "manifest").mkdir(parents=True)
    with FileLock(tmp_path / "out" / "manifest" / ".lock"):
        refused = command("compress", tmp_path / "in", tmp_path / "out", *FAST)
    assert "another run" in refused.stderr
    put_picture(to_path("memory://there/a.png"), 1)
    refused = command("compress", "memory://there", tmp_path / "out", "--jobs", 2)
    assert "--jobs 1" in refused.stderr
    fsspec.filesystem("memory").store.clear()


def test_many_failures_are_counted(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(NAMED_FAILURES + 3):
        (tmp_path / "in" / f"{number}.png").write_bytes(b"no picture")
    failed = command("compress", tmp_path / "in", tmp_path / "out", *FAST)
    assert failed.stderr.count("\n") == NAMED_FAILURES + 1
    assert "3 more pictures failed" in failed.stderr


def test_results_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a.lac", "a.png.lac"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"would both be a\.png"):
        list_units("decompress", tmp_path)


def test_a_manifest_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts are bounded; the last record of a picture counts, and is the one that is kept."""
    monkeypatch.setattr("laconic.corpus.manifest.PART_RECORDS", 2)
    manifest = Manifest(tmp_path / "m", saved_seconds=0)
    manifest.open({"action": "compress"})
    for number in (3, 1, 2, 1):
        manifest.add({"name": str(number), "error": None, "number": len(manifest.records)})
    manifest.save()
    again = Manifest(tmp_path / "m")
    again.open({"action": "compress"})
    assert {name: one["number"] for name, one in again.records.items()} == {"3": 0, "1": 3, "2": 2}
    again.compact()
    assert [one["name"] for one in records(tmp_path / "m")] == ["1", "2", "3"]
    (tmp_path / "m" / "00000.jsonl").write_text("half a li")
    with pytest.raises(InputError, match="not a manifest"):
        Manifest(tmp_path / "m").open({"action": "compress"})


def test_processes_give_the_bytes_of_one(tmp_path: Path) -> None:
    for value in range(4):
        put_picture(tmp_path / "in" / f"{value}.png", 9 * value)
    found = []
    for name, engine in (("one", Here()), ("many", Local(2))):
        with opened("compress", tmp_path / "in", tmp_path / name, OPTIONS) as plan:
            assert run(plan, engine, OPTIONS).done == 4
        found.append({
            one: (tmp_path / name / one).read_bytes()
            for one in find_below(tmp_path / name) if one.endswith(".lac")
        })  # fmt: skip
    assert found[0] == found[1]
    assert laconic.open(tmp_path / "one" / "3.png.lac").image.getpixel((0, 0)) == (27, 27, 27)
