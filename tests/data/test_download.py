"""Downloads of data sets, from a server on this machine that can fail."""

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from laconic.cli import app
from laconic.data import datasets, download
from laconic.data.datasets import DataSet, RemoteFile, data_sets
from laconic.data.download import fetch
from laconic.errors import InputError

CONTENT = bytes(range(256)) * 2000


@dataclass
class Upstream:
    """A server of one file.

    Attributes:
        url: of the file.
        cut: bytes after which the next answer breaks off; 0: never.
        ranges: the range of each request.
        knows_ranges: whether parts are served.
        status: of every answer, where it is an error.
    """

    url: str = ""
    cut: int = 0
    ranges: list[str | None] = field(default_factory=list)
    knows_ranges: bool = True
    status: int = 200


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    state = Upstream()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers["Range"]
            state.ranges.append(wanted)
            first = 0
            if wanted and state.knows_ranges:
                first = int(wanted.removeprefix("bytes=").rstrip("-"))
            status = 206 if first else 200
            if first >= len(CONTENT):
                status = 416
            self.send_response(state.status if state.status != 200 else status)
            self.send_header("Content-Length", str(len(CONTENT) - first))
            self.end_headers()
            self.wfile.write(CONTENT[first : state.cut or None])
            state.cut = 0

        def log_message(self, *arguments: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}/file.bin"
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def known(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> RemoteFile:
    """The only file of the only data set "set"."""
    digest = hashlib.sha256(CONTENT).hexdigest()
    file = RemoteFile(digest, len(CONTENT), "set/file.bin", upstream.url)
    brought = DataSet("mine", "pictures", instructions="copy pictures there.")
    table = {"set": DataSet("set", "bytes", (file,)), "mine": brought}
    for module in (datasets, download):
        monkeypatch.setattr(module, "data_sets", lambda: table)
    return file


def test_the_table_is_sound() -> None:
    for name, one in data_sets().items():
        assert one.name == name
        assert bool(one.files) != bool(one.instructions)
        for file in one.files:
            assert len(bytes.fromhex(file.sha256)) == 32
            assert file.path.startswith(f"{name}/")
            assert file.url.rpartition("/")[2] == file.path.rpartition("/")[2]


def test_files_of_the_data_root_are_those_of_the_table(data_root: Path) -> None:
    """A checksum that was mistyped, or a local copy that differs, would show here."""
    small = [f for one in data_sets().values() for f in one.files if f.size_bytes < 1_000_000]
    here = [file for file in small if (data_root / file.path).exists()]
    if not here:
        pytest.skip("none of the small files is here")
    for file in here:
        data = (data_root / file.path).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (file.sha256, file.size_bytes)


def test_a_download_is_checked_and_not_repeated(
    upstream: Upstream, known: RemoteFile, tmp_path: Path
) -> None:
    counts: list[tuple[int, int]] = []
    path = tmp_path / known.path
    assert fetch("set", tmp_path, lambda *count: counts.append(count)) == [path]
    assert path.read_bytes() == CONTENT
    assert counts[-1] == (len(CONTENT), len(CONTENT))
    assert counts == sorted(counts)
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]
    assert fetch("set", tmp_path) == []
    assert len(upstream.ranges) == 1


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_broken_download_goes_on(
    upstream: Upstream, known: RemoteFile, tmp_path: Path, knows_ranges: bool
) -> None:
    upstream.cut, upstream.knows_ranges = 200_000, knows_ranges
    with pytest.raises(InputError, match=r"file\.bin cannot be downloaded .*connection broke"):
        fetch("set", tmp_path)
    path = tmp_path / known.path
    assert not path.exists()
    have = path.with_name(".file.bin.part").stat().st_size
    assert 0 < have <= 200_000
    fetch("set", tmp_path)
    assert upstream.ranges == [None, f"bytes={have}-"]
    assert path.read_bytes() == CONTENT


def test_a_complete_part_is_checked(upstream: Upstream, known: RemoteFile, tmp_path: Path) -> None:
    """The process may have been killed between the last byte and the renaming."""
    path = tmp_path / known.path
    path.parent.mkdir()
    path.with_name(".file.bin.part").write_bytes(CONTENT)
    fetch("set", tmp_path)
    assert path.read_bytes() == CONTENT


def test_other_bytes_are_refused_and_begun_anew(
    upstream: Upstream, known: RemoteFile, tmp_path: Path
) -> None:
    path = tmp_path / known.path
    path.parent.mkdir()
    path.with_name(".file.bin.part").write_bytes(b"of another file")
    with pytest.raises(InputError, match=r"was not written: .* sends another file"):
        fetch("set", tmp_path)
    assert list(path.parent.iterdir()) == []
    fetch("set", tmp_path)
    assert path.read_bytes() == CONTENT


def test_a_file_of_the_user_is_kept(upstream: Upstream, known: RemoteFile, tmp_path: Path) -> None:
    path = tmp_path / known.path
    path.parent.mkdir()
    path.write_bytes(b"mine")
    with pytest.raises(InputError, match=r"is not the published file.*--force"):
        fetch("set", tmp_path)
    assert path.read_bytes() == b"mine"
    fetch("set", tmp_path, force=True)
    assert path.read_bytes() == CONTENT


def test_a_server_that_refuses(upstream: Upstream, known: RemoteFile, tmp_path: Path) -> None:
    upstream.status = 404
    with pytest.raises(InputError, match="the server answers 404 Not Found"):
        fetch("set", tmp_path)
    assert not (tmp_path / known.path).exists()


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["data", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_offline_is_one_line(
    known: RemoteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = RemoteFile(known.sha256, known.size_bytes, known.path, "http://127.0.0.1:9/file.bin")
    monkeypatch.setattr(download, "data_sets", lambda: {"set": DataSet("set", "bytes", (closed,))})
    status, out, error = run("fetch", "set", "--data", tmp_path)
    assert (status, out) == (1, "")
    assert error == (
        f"laconic: error: {tmp_path / 'set' / 'file.bin'} cannot be downloaded from "
        "http://127.0.0.1:9/file.bin: the server cannot be reached. Check the network and start "
        "the command again: it goes on where it was\n"
    )


def test_fetch_and_list(upstream: Upstream, known: RemoteFile, tmp_path: Path) -> None:
    assert run("list", "--data", tmp_path)[1].splitlines() == [
        f"data root: {tmp_path}",
        "name  here  download        what",
        "set   no    0.5 MB          bytes",
        "mine  no    bring your own  pictures",
    ]
    assert run("fetch", "set", "--data", tmp_path) == (
        0, f"{tmp_path / 'set'}: 1 files downloaded\n", ""
    )  # fmt: skip
    assert run("fetch", "set", "--data", tmp_path)[1] == f"{tmp_path / 'set'}: complete already\n"
    found = json.loads(run("list", "--data", tmp_path, "--json")[1])
    assert found["root"] == str(tmp_path)
    assert found["sets"][0]["present"]
    assert found["sets"][0]["download_bytes"] == len(CONTENT)
    assert not found["sets"][1]["present"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("mine", "mine cannot be downloaded. To bring your own: copy"), ("no", "known are set, mine")],
)
def test_what_cannot_be_fetched(known: RemoteFile, tmp_path: Path, name: str, said: str) -> None:
    status, out, error = run("fetch", name, "--data", tmp_path)
    assert (status, out) == (1, "")
    assert said in error
    assert len(error.splitlines()) == 1
