"""What a shell knows of the command: completion in three shells, and the manual page."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = "import sys; sys.argv[0] = 'laconic'; from laconic.cli import main; main()"


def complete(words: str, **more: str) -> str:
    """What the command prints when a shell calls it for completion."""
    environment = os.environ | {"_LACONIC_COMPLETE": words} | more
    done = subprocess.run(
        [sys.executable, "-c", RUN], env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_script(shell: str) -> None:
    script = complete(f"source_{shell}")
    assert "laconic" in script
    assert f"complete_{shell}" in script


def test_commands_and_options_are_completed() -> None:
    found = complete("complete_bash", COMP_WORDS="laconic dec", COMP_CWORD="1")
    assert found.split() == ["decompress"]
    found = complete("complete_bash", COMP_WORDS="laconic decompress --cr", COMP_CWORD="2")
    assert "--crop" in found


def test_the_manual_page_is_that_of_the_commands(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, repository / ".ci" / "manual", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert ".SH LACONIC DECOMPRESS" in (repository / "docs" / "laconic.1").read_text()


def test_the_wheel_has_the_manual_page(repository: Path) -> None:
    import tomllib

    project = tomllib.loads((repository / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["shared-data"] == {"docs/laconic.1": "share/man/man1/laconic.1"}
