"""The studio over HTTP: what it answers, what it refuses, what it stops."""

import io
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from laconic.studio.guard import HEADERS, Rate
from laconic.studio.settings import Limits, Settings

Png = Callable[..., bytes]
Start = Callable[..., Iterator[Any]]
QUALITY = {"quality": 40, "effort": 0}
LONG = {"quality": 40, "effort": 9}
"""Of stub workers: a minute."""
HANGING = {"bpp": 1, "effort": 0}
"""Of stub workers: no report of progress after the first."""


@contextmanager
def running(start: Start, settings: Settings, **limits: object) -> Iterator[Any]:
    """A studio of its own, with other limits."""
    yield from start(replace(settings, limits=replace(settings.limits, **limits)))


def test_the_page_and_its_files(stub: Any) -> None:
    tab = stub.tab()
    page = tab.send("GET", "/")
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    assert b"Laconic" in page.body
    for name in ("main.js", "style.css", "icon.svg"):
        assert f"/static/{name}".encode() in page.body or name == "icon.svg"
        assert tab.send("GET", f"/static/{name}").status == 200


@pytest.mark.parametrize(
    "path",
    ["/static/..%2fapp.py", "/static/../app.py", "/static/%2e%2e/app.py", "/static/nothing.js",
     "/etc/passwd", "/static//etc/passwd", "/static/", "/api/results/..%2f..%2fpyproject.toml"],
)  # fmt: skip
def test_no_path_of_a_browser_is_opened(
    stub: Any, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a file was opened")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    monkeypatch.setattr("laconic.studio.app.read_bytes", refuse)
    assert stub.tab().send("GET", path).status in (404, 410)


def test_headers_forbid_everything_from_elsewhere(stub: Any) -> None:
    for path in ("/", "/static/main.js", "/api/about", "/nothing"):
        headers = stub.tab().send("GET", path).headers
        assert {name: headers[name.lower()] for name in HEADERS} == HEADERS
        assert "server" not in headers
    policy = HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy


def test_work_from_upload_to_files(studio: Any, png: Png) -> None:
    tab = studio.tab()
    opened = tab.upload(png()).result
    assert (opened["kind"], opened["width"]) == ("picture", 64)
    made = tab.order("encode", opened["source"], **QUALITY).result
    file = tab.blob(made["file"])
    assert len(file) == made["bytes"]
    level = tab.order("level", made["file"], level=1).result
    shown = tab.send("GET", f"/api/results/{level['shown']}")
    assert shown.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(shown.body)).size == (64, 64)
    assert tab.order("bits", made["file"], level=None).result["peak"] > 0
    jpeg = tab.order("compare", opened["source"], name="jpeg", bytes=made["bytes"]).result
    assert jpeg["label"] == "JPEG"
    again = tab.upload(file).result
    assert (again["kind"], again["bytes"]) == ("lac", len(file))


def test_pictures_of_the_command_line(
    start_studio: Start, quick: Settings, tmp_path: Path, png: Png
) -> None:
    paths = tuple(tmp_path / f"{number}.png" for number in range(2))
    paths[1].write_bytes(png())
    for studio in start_studio(quick, paths):
        tab = studio.tab()
        assert tab.send("GET", "/api/about").json["given"] == ["0.png", "1.png"]
        opened = tab.send("POST", "/api/given/1").result
        assert tab.blob(opened["source"]) == png()
        missing = tab.send("POST", "/api/given/0")
        assert (missing.status, "0.png" in missing.json["error"]) == (400, True)
        for path in ("/api/given/2", "/api/given/-1", "/api/given/..%2f0", "/api/given/1.png"):
            assert tab.send("POST", path).status == 404


def test_faults_of_a_request_are_named(stub: Any, png: Png) -> None:
    tab = stub.tab()
    assert "not an image" in tab.upload(b"rubbish").last["error"]
    assert "please report" in tab.upload(b"fault").last["error"]
    source = tab.upload(png()).result["source"]
    bad = tab.order("encode", source, quality=1000)
    assert (bad.status, "quality" in bad.json["error"]) == (400, True)
    for body in (b"", b"{", b"[" * 4000, b"\xff\xfe"):
        assert tab.send("POST", "/api/orders", body).status == 400
    assert tab.send("POST", "/api/orders", b" " * 5000).status == 413
    assert tab.order("encode", "0" * 24, **QUALITY).status == 410
    assert tab.send("GET", "/api/pictures").status == 405
    assert tab.send("POST", "/api/pictures", b"", X_Session=None).status == 400
    assert tab.send("POST", "/api/pictures", b"", X_Session="../x").status == 400


def test_a_tab_cannot_reach_files_of_another(stub: Any, png: Png) -> None:
    source = stub.tab().upload(png()).result["source"]
    other = stub.tab()
    assert other.order("encode", source, **QUALITY).status == 410
    assert other.send("GET", f"/api/results/{source}").status == 410


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost:1"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "navigate"}, 403),
        ({"Sec_Fetch_Site": "same-origin"}, 200),
    ],
)
def test_other_sites_are_refused(stub: Any, headers: dict[str, str], status: int) -> None:
    assert stub.tab().send("GET", "/api/about", **headers).status == status


def test_the_page_itself_may_be_opened_from_elsewhere(stub: Any) -> None:
    headers = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
    assert stub.tab().send("GET", "/", **headers).status == 200
    own = {"Origin": f"http://127.0.0.1:{stub.port}", "Host": f"127.0.0.1:{stub.port}"}
    assert stub.tab().send("GET", "/api/about", **own).status == 200


def test_broken_requests_get_an_answer(stub: Any) -> None:
    for text in (b"GET / HTTP/1.1\r\nHost: 127.0.0.1:x\r\n\r\n", b"rubbish\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", stub.port), 10) as line:
            line.sendall(text)
            assert line.recv(12) in (b"HTTP/1.1 200", b"HTTP/1.1 400")
    assert stub.tab().send("GET", "/").status == 200


def test_uploads_are_bounded(start_studio: Start, quick: Settings) -> None:
    with running(start_studio, quick, upload_bytes=1000) as studio:
        tab = studio.tab()
        assert tab.upload(bytes(1001)).status == 413
        chunked = tab.begin("POST", "/api/pictures", None, Transfer_Encoding="chunked")
        chunked.connection.send(b"3ea\r\n" + bytes(1002) + b"\r\n")
        assert chunked.finish().status == 413


def test_the_rate_of_requests_is_bounded() -> None:
    now = 0.0
    rate = Rate(replace(Limits(), requests_per_second=2, burst_requests=3), lambda: now)
    assert [rate.allows("a") for _ in range(4)] == [True, True, True, False]
    assert rate.allows("b")
    now = 0.5
    assert [rate.allows("a") for _ in range(2)] == [True, False]


def test_too_many_requests_are_refused(start_studio: Start, quick: Settings) -> None:
    with running(start_studio, quick, requests_per_second=0.001, burst_requests=2) as studio:
        tab = studio.tab()
        answers = [tab.send("GET", "/") for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert answers[2].headers["retry-after"]


def test_a_token_is_required(start_studio: Start, quick: Settings) -> None:
    for studio in start_studio(replace(quick, token="secret")):
        tab = studio.tab()
        for path in ("/", "/static/main.js", "/api/about", "/?token=wrong", "/?token=%ff"):
            assert tab.send("GET", path).status == 401
        assert tab.send("POST", "/api/pictures", b"x").status == 401
        opened = tab.send("GET", "/?token=secret")
        assert (opened.status, opened.headers["location"]) == (303, "/")
        cookie = opened.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        given = cookie.partition(";")[0]
        assert tab.send("GET", "/", Cookie=given).status == 200
        assert tab.send("GET", "/", Cookie=given, Host="10.0.0.7:1").status == 200
        assert tab.send("GET", "/", Cookie=given, Host="evil.example").status == 403


def begin(tab: Any, source: str, **settings: object) -> Any:
    """Begin work, and wait until it reports progress."""
    order = json.dumps({"task": "encode", "source": source, **settings}).encode()
    pending = tab.begin("POST", "/api/orders", order)
    assert "progress" in pending.wait()
    return pending


def worker(studio: Any) -> psutil.Process:
    (number,) = studio.desk.pool.process_ids
    return psutil.Process(number)


def test_work_stops_where_the_browser_leaves(stub: Any, png: Png) -> None:
    tab, counts = stub.tab(), stub.desk.pool.counts
    source, before = tab.upload(png()).result["source"], dict(counts)
    begin(tab, source, **LONG).close()
    stub.wait(lambda: counts["stopped"] == before["stopped"] + 1, 5)
    assert counts["killed"] == before["killed"]


def test_a_newer_request_ends_the_older(stub: Any, png: Png) -> None:
    tab, counts = stub.tab(), stub.desk.pool.counts
    source, before = tab.upload(png()).result["source"], dict(counts)
    older = begin(tab, source, **LONG)
    start = time.monotonic()
    assert tab.order("encode", source, **QUALITY).result["bytes"] > 0
    assert time.monotonic() - start < 5
    assert older.finish().last["cancelled"]
    assert counts["stopped"] == before["stopped"] + 1
    assert counts["killed"] == before["killed"]


def test_two_users_do_not_disturb_each_other(stub: Any, png: Png) -> None:
    """The second waits for the first, and both get what is theirs."""
    first, second = stub.tab(), stub.tab()
    sources = first.upload(png(1)).result["source"], second.upload(png(2)).result["source"]
    waiting = begin(first, sources[0], quality=30, effort=2)
    made = second.order("encode", sources[1], **QUALITY).result
    other = waiting.finish().result
    assert (other["quality"], made["quality"]) == (30, 40)
    for tab, result in ((first, other), (second, made)):
        assert len(tab.blob(result["file"])) == result["bytes"]


def test_two_workers_work_at_the_same_time(start_studio: Start, quick: Settings, png: Png) -> None:
    for studio in start_studio(replace(quick, workers=2)):
        tabs = [studio.tab() for _ in range(2)]
        pending = [begin(tab, tab.upload(png()).result["source"], **LONG) for tab in tabs]
        assert len(studio.desk.pool.process_ids) == 2
        for one in pending:
            one.close()


def test_work_without_reports_is_ended_with_its_process(
    start_studio: Start, quick: Settings, png: Png
) -> None:
    with running(start_studio, quick, grace_seconds=0.2) as studio:
        tab, counts = studio.tab(), studio.desk.pool.counts
        source = tab.upload(png()).result["source"]
        old = worker(studio)
        begin(tab, source, **HANGING).close()
        studio.wait(lambda: counts["killed"] == 1)
        assert tab.order("encode", source, **QUALITY).result["bytes"] > 0
        assert worker(studio).pid != old.pid
        assert not old.is_running()


def test_a_process_that_ends_is_replaced(start_studio: Start, quick: Settings, png: Png) -> None:
    for studio in start_studio(quick):
        tab = studio.tab()
        source = tab.upload(png()).result["source"]
        waiting = begin(tab, source, **LONG)
        worker(studio).kill()
        assert "has ended" in waiting.finish().last["error"]
        assert tab.order("encode", source, **QUALITY).result["bytes"] > 0
        process = worker(studio)
    assert not process.is_running()


def test_work_takes_a_bounded_time(start_studio: Start, quick: Settings, png: Png) -> None:
    with running(start_studio, quick, job_seconds=2.0) as studio:
        tab = studio.tab()
        source = tab.upload(png()).result["source"]
        assert "2 seconds" in tab.order("encode", source, **HANGING).last["error"]
        assert tab.order("encode", source, **QUALITY).result["bytes"] > 0


def test_a_bounded_number_of_requests_waits(start_studio: Start, quick: Settings, png: Png) -> None:
    with running(start_studio, quick, waiting_jobs=1) as studio:
        tabs = [studio.tab() for _ in range(3)]
        sources = [tab.upload(png()).result["source"] for tab in tabs]
        pending = [begin(tabs[0], sources[0], **LONG)]
        order = json.dumps({"task": "encode", "source": sources[1], **QUALITY}).encode()
        pending.append(tabs[1].begin("POST", "/api/orders", order))
        studio.wait(lambda: studio.desk.pool._waiting == 1)
        assert "too many" in tabs[2].order("encode", sources[2], **QUALITY).last["error"]
        for one in pending:
            one.close()


def test_workers_end_with_their_input_alone(start_studio: Start, quick: Settings, png: Png) -> None:
    """So they end with a server that was killed; Ctrl-C, which reaches them, too, does nothing."""
    with running(start_studio, quick) as studio:
        tab = studio.tab()
        tab.upload(png())
        process = worker(studio)
        os.kill(process.pid, signal.SIGINT)
        tab.upload(png())
        assert worker(studio).pid == process.pid
        (one,) = studio.desk.pool._all
        one.process.stdin.close()
        studio.wait(lambda: not studio.desk.pool.process_ids)
