"""Addresses of object stores where paths are taken: fsspec's own store in memory stands for all."""

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import laconic
from laconic.cli import app
from laconic.container.storage import write_atomically
from laconic.errors import InputError, MissingPackageError
from laconic.paths import StoredPath, find_below, to_path


@pytest.fixture
def store() -> Iterator[StoredPath]:
    """A folder of a store that is empty before and after."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    folder = to_path("memory://folder")
    assert isinstance(folder, StoredPath)
    yield folder
    files.store.clear()
    files.pseudo_dirs[:] = [""]


def put_picture(path: Path, value: int = 80) -> None:
    with path.open("wb") as file:
        Image.fromarray(np.full((9, 7, 3), value, np.uint8)).save(file, "PNG")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_an_address_is_a_path() -> None:
    path = to_path("s3://bucket/a/b.png")
    assert (path.name, path.suffix, str(path.parent)) == ("b.png", ".png", "s3://bucket/a")
    assert str(path.with_suffix(".lac")) == "s3://bucket/a/b.lac"
    assert pickle.loads(pickle.dumps(path)) == path == to_path(path)
    assert to_path("file:///a/b") == Path("/a/b")
    assert not isinstance(to_path("./s3://bucket"), StoredPath)


def test_a_store_reads_writes_and_lists(store: StoredPath) -> None:
    path = store / "a.bin"
    assert not path.exists()
    write_atomically(path, [b"one", b"two"], label="digest-")
    assert path.read_bytes() == b"onetwo"
    assert (path.is_file(), path.is_dir(), store.is_dir(), path.stat().st_size) == (
        True, False, True, 6,
    )  # fmt: skip
    with pytest.raises(InputError, match="exists"):
        write_atomically(path, b"three", replace=False)
    assert find_below(store) == {"a.bin": 6}
    assert list(store.iterdir()) == [path]
    path.unlink()
    path.unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError, match=r"memory://folder/a\.bin"):
        path.read_bytes()


def test_a_failed_write_leaves_nothing(store: StoredPath) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"one"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(store / "a.bin", pieces())
    assert find_below(store) == {}
    assert fsspec.filesystem("memory").find("/folder") == []


def test_a_missing_package_and_a_wrong_protocol_are_named() -> None:
    with pytest.raises(MissingPackageError, match="pip install 's3fs'"):
        to_path("s3://bucket/a.png").read_bytes()
    with pytest.raises(InputError, match="nothing://a"):
        to_path("nothing://a").read_bytes()


def test_python_takes_addresses(store: StoredPath) -> None:
    put_picture(store / "a.png")
    assert laconic.archive(str(store), effort=0)
    data = laconic.compress(f"{store}/a.png", lossless=True, effort=0)
    write_atomically(store / "a.lac", data)
    assert laconic.open(f"{store}/a.lac").info.width == 7
    assert laconic.decompress(f"{store}/a.lac").size == (7, 9)


def test_commands_take_addresses(store: StoredPath) -> None:
    for name in ("a.png", "b.png"):
        put_picture(store / name)
    done = run("compress", "--lossless", f"{store}/a.png", "--effort", 0)
    assert done.exit_code == 0, done.stderr
    assert run("compress", "--lossless", f"{store}/a.png").exit_code == 1
    assert json.loads(run("info", f"{store}/a.lac", "--json").stdout)["width"] == 7
    refused = run("decompress", f"{store}/a.lac", "-o", f"{store}/a.lac", "--force")
    assert "input" in refused.stderr or "image" in refused.stderr
    back = run("decompress", f"{store}/a.lac", "-o", f"{store}/back/c.png")
    assert back.exit_code == 0, back.stderr
    archived = run("compress", "--lossless", store, "-o", "memory://set.lac", "--effort", 0)
    assert archived.exit_code == 0, archived.stderr
    unpacked = run("decompress", "memory://set.lac", "-o", "memory://out/")
    assert unpacked.exit_code == 0, unpacked.stderr
    assert set(find_below(to_path("memory://out"))) == {"a.png", "b.png", "back/c.png"}
    many = run("compress", store, "-o", "memory://small/", "--jobs", 1, "--coder", "importance")
    assert many.exit_code == 0, many.stderr
    assert set(find_below(to_path("memory://small"))) == {"a.lac", "b.lac"}
    missing = run("info", f"{store}/missing.lac")
    assert (missing.exit_code, missing.stderr.count("\n")) == (1, 1)


def test_evaluate_takes_an_address(store: StoredPath) -> None:
    put_picture(store / "a.png")
    done = run("evaluate", store, "--quality", 50, "--against", "jpeg", "--json", f"{store}/e.json")
    assert done.exit_code == 0, done.stderr
    assert json.loads((store / "e.json").read_bytes())["curves"]
