"""`laconic studio`: what it refuses before it serves, and what it prints."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from laconic.cli import app


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = CliRunner().invoke(app, ["studio", "--port", "0"])
    assert done.exit_code == 1
    assert "pip install 'laconic-codec[studio]'" in done.stderr


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["studio", str(tmp_path / "nothing.png")])
    assert done.exit_code == 1
    assert "nothing.png" in done.stderr


@pytest.mark.parametrize(("host", "has_token"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_other_hosts_print_an_address_with_a_token(
    host: str, has_token: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    uvicorn = pytest.importorskip("uvicorn")
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    done = CliRunner().invoke(app, ["studio", "--host", host, "--port", "0"])
    assert done.exit_code == 0
    assert f"http://{host}:" in done.stdout
    assert ("?token=" in done.stdout) is has_token
    assert ("encryption" in done.stdout) is has_token


def test_a_port_that_is_taken_is_named() -> None:
    pytest.importorskip("uvicorn")
    from laconic.studio.server import listen

    with listen("127.0.0.1", 0) as where:
        port = str(where.getsockname()[1])
        done = CliRunner().invoke(app, ["studio", "--port", port])
    assert done.exit_code == 1
    assert port in done.stderr
