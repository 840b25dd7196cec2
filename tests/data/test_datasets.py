"""The data root: where data sets are looked for."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from laconic.cli import app
from laconic.data.datasets import data_root


def test_the_variable_names_the_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LACONIC_DATA", str(tmp_path))
    assert data_root() == tmp_path


@pytest.mark.parametrize("value", [None, ""])
def test_without_the_variable_the_root_is_the_users(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is None:
        monkeypatch.delenv("LACONIC_DATA", raising=False)
    else:
        monkeypatch.setenv("LACONIC_DATA", value)
    assert data_root().is_absolute()
    assert data_root().name == "laconic"


def test_the_option_wins_over_the_variable_while_the_command_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The recipe finds its folder inside the root of the option, and says so."""
    monkeypatch.setenv("LACONIC_DATA", str(tmp_path / "variable"))
    (tmp_path / "option").mkdir()
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: {name: dense}\ndata: {kind: digits, folder: mnist}\n")
    command = ["train", str(recipe), "--data", str(tmp_path / "option")]
    result = CliRunner().invoke(app, [*command, "--set", f"folder={tmp_path / 'run'}"])
    assert result.exit_code == 1
    assert f"there is no folder {tmp_path / 'option' / 'mnist'}" in result.stderr
    assert data_root() == tmp_path / "variable"


def test_the_option_names_a_folder(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    result = CliRunner().invoke(app, ["bench", "entropy", "--data", missing])
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"--data: there is no folder {missing}" in result.stderr
