"""The command line with the ladder without weights in place of the embedded model."""

import pytest

from laconic import pretrained
from laconic.models.pyramid import Pyramid


@pytest.fixture(autouse=True)
def _pyramid(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: object = pretrained.DEFAULT) -> pretrained.Pretrained:
        return pretrained.Pretrained(Pyramid(), "pyramid", b"pyramid, sixteen", 0)

    monkeypatch.setattr(pretrained, "load", load)
