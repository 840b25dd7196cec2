"""Points in their folders: whole, read back, and never mixed with others."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from laconic.errors import ConfigError, InputError
from laconic.evaluation.plane import points as plane
from laconic.lab import points
from laconic.lab.points import read_point, refuse_changes, write_point


def test_the_plane_reads_what_is_written() -> None:
    """Two packages side by side, one format."""
    assert (points.FORMAT, points.RESULT) == (plane.FORMAT, plane.RESULT)


def test_what_is_no_point_is_named(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"format": "laconic rd point 0"}'):
        (tmp_path / "result.json").write_text(text)
        with pytest.raises(InputError, match=r"result\.json"):
            read_point(tmp_path)


def test_a_point_is_written_whole_and_read_back(tmp_path: Path) -> None:
    assert read_point(tmp_path) is None
    measures = {"rate_nats": {"value": 1.0, "error": 0.5}}
    bare = SimpleNamespace(measures=measures, files={}, grids={})
    written = write_point(tmp_path, {"name": "a"}, bare)
    assert written == {"format": "laconic rd point 1", "name": "a", "measures": measures}
    assert read_point(tmp_path) == written
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    full = SimpleNamespace(measures=measures, files={"a": {}}, grids={"inputs": np.zeros(3)})
    assert write_point(tmp_path, {"name": "a"}, full)["files"] == {"a": {}}
    assert (read_point(tmp_path) or {})["grids"] == "grids.npz"
    broken = SimpleNamespace(measures={"rate_nats": float("nan")}, files={}, grids={})
    with pytest.raises(ValueError, match="JSON"):
        write_point(tmp_path, {"name": "b"}, broken)
    assert (read_point(tmp_path) or {})["name"] == "a"


def test_the_first_change_is_named() -> None:
    told = {"loop": {"steps": 3, "log_steps": 1}, "beta": 1.0}
    refuse_changes(told, {"loop": {"steps": 3, "log_steps": 9}, "beta": 1}, "run", "stop")
    for wanted, change in (
        ({"loop": {"steps": 4}, "beta": 1.0}, "loop.steps was 3, is now 4"),
        ({"loop": {"steps": 3}}, "beta was 1.0, is now None"),
    ):
        with pytest.raises(ConfigError, match=f"run was made with other settings: {change}; stop"):
            refuse_changes(told, wanted, "run", "stop")
    with pytest.raises(ConfigError, match="beta was None"):
        refuse_changes(None, {"beta": 1.0}, "run", "stop")
