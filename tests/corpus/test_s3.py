"""A corpus in a store that speaks S3: a server of the package moto on this machine."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from laconic.cli import app
from laconic.paths import find_below, to_path

BUCKET = "s3://pictures"
FAST = ("--lossless", "--effort", "0", "--jobs", "1")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A bucket; the server keeps it until the tests end."""
    server_module = pytest.importorskip("moto.server", reason="needs moto[s3], flask, flask-cors")
    s3fs = pytest.importorskip("s3fs", reason="needs s3fs")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().makedirs("pictures", exist_ok=True)
    yield to_path(BUCKET)
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.mark.slow
def test_a_corpus_there_and_back(bucket: Path, tmp_path: Path) -> None:
    """With pictures of this machine as the reference; then a second run, and single files."""
    from tests.corpus.test_corpus import put_picture

    for root in (tmp_path, bucket):
        put_picture(root / "in" / "a.png", 10)
        put_picture(root / "in" / "b" / "c.png", 20)
        done = command("corpus", "compress", root / "in", root / "out", *FAST, "--json")
        assert done.exit_code == 0, done.stderr
        assert json.loads(done.stdout)["done"] == 2
        assert command("corpus", "evaluate", root / "in", root / "out", "--jobs", 1).exit_code == 0
    for name in ("a.png.lac", "b/c.png.lac"):
        assert (bucket / "out" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    assert list(find_below(bucket / "out")) == list(find_below(tmp_path / "out"))
    again = command("corpus", "compress", bucket / "in", bucket / "out", *FAST, "--json")
    assert (json.loads(again.stdout)["done"], json.loads(again.stdout)["before"]) == (0, 2)
    back = command("corpus", "decompress", bucket / "out", bucket / "back", "--jobs", 1)
    assert back.exit_code == 0, back.stderr
    assert (bucket / "back" / "b" / "c.png").read_bytes()
    shown = command("info", bucket / "out" / "a.png.lac", "--json")
    assert shown.exit_code == 0, shown.stderr
    alone = command("decompress", bucket / "out" / "a.png.lac", "-o", tmp_path / "a.png")
    assert alone.exit_code == 0, alone.stderr


@pytest.mark.slow
def test_a_store_that_refuses_is_one_line(bucket: Path) -> None:
    for address in ("s3://nowhere/in", "s3://nowhere/in/a.lac"):
        words = ("info", address) if address.endswith(".lac") else (
            "corpus", "compress", address, bucket / "out", *FAST,
        )  # fmt: skip
        refused = command(*words)
        assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1), refused.stderr
        assert address in refused.stderr
