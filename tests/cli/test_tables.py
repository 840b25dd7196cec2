"""Tables of commands: whole in a pipe, ruled on a terminal."""

import sys

import pytest

from laconic.cli.tables import table_lines

HEADS = ("name", "bits", "what")
ROWS = [("a[bold]b", "1,024", "long " * 60), ("c", "7", "")]


def test_a_pipe_gets_plain_columns() -> None:
    """One line a row, nothing cut off, no markup read."""
    assert table_lines(HEADS, ROWS) == [
        "name       bits  what",
        f"a[bold]b  1,024  {('long ' * 60).strip()}",
        "c             7",
    ]


def test_a_terminal_gets_rules_and_whole_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    lines = table_lines(HEADS, ROWS)
    assert max(map(len, lines)) <= 60
    assert "─" in lines[1]
    assert " ".join(lines).count("long") == 60
