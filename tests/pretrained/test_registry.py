"""The registry of embedded models: listed, found by fingerprint, never replaced."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from laconic import pretrained
from laconic.cli import app
from laconic.codecs.base import ModelId
from laconic.errors import UnsupportedFileError
from laconic.pretrained import registry
from laconic.pretrained.registry import find_earlier, list_models


def test_every_embedded_model_is_listed_with_its_card() -> None:
    known = {model.name: model for model in list_models() if model.present}
    assert {pretrained.DEFAULT, pretrained.LOSSLESS_DEFAULT} <= set(known)
    for model in known.values():
        data = (registry.folder() / f"{model.name}.lac").read_bytes()
        assert hashlib.sha256(data).hexdigest().startswith(model.fingerprint)
        assert model.size_bytes == len(data)
        assert model.card.startswith("# Model card")
        assert model.steps > 0


def test_earlier_models_are_what_their_names_say() -> None:
    for path in registry.folder().glob("*-" + 16 * "[0-9a-f]" + ".lac"):
        assert path.stem.endswith(hashlib.sha256(path.read_bytes()).hexdigest()[:16])


def test_an_earlier_model_is_found_by_its_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = registry.folder() / "pixels.lac"
    fingerprint = hashlib.sha256(source.read_bytes()).digest()[:8]
    written = ModelId("replaced", fingerprint)
    with pytest.raises(UnsupportedFileError, match="laconic models"):
        pretrained.load_for(written)
    path = tmp_path / f"replaced-{fingerprint.hex()}.lac"
    shutil.copy(source, path)
    monkeypatch.setattr(registry, "folder", lambda: tmp_path)
    assert find_earlier(written) == path
    assert find_earlier(ModelId("replaced", bytes(8))) is None
    assert pretrained.load_for(written).id.fingerprint == fingerprint
    (only,) = list_models()
    assert (only.name, only.present, only.kind) == ("replaced", False, "pixels")


def test_the_command_lists_models_and_shows_cards() -> None:
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["models", *arguments])
        assert result.exit_code == 0
        return result.stdout

    assert "sliced" in run()
    found = json.loads(run("--json"))["models"]
    assert {"name", "fingerprint", "size_bytes", "kind", "steps", "present"} <= set(found[0])
    assert run("pixels").startswith("# Model card: `pixels`")
    wrong = CliRunner().invoke(app, ["models", "nonsense"])
    assert wrong.exit_code == 1
    names = sorted(model["name"] for model in found)
    assert f"choose from {', '.join(names)}" in wrong.stderr
