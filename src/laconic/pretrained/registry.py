"""The registry of embedded models: files are added, none is replaced.

NAME.lac is the present model of its name. When another one takes its place, the old file stays as
NAME-FINGERPRINT.lac, 16 hexadecimal digits, so that the files that it wrote decode for ever.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

from laconic.codecs.base import ModelId

_DIGITS: Final = 16


@dataclass(frozen=True)
class Registered:
    """An embedded model.

    Attributes:
        name: as files name it.
        fingerprint: as files have it, hexadecimal.
        present: whether the name alone means this model; else only its fingerprint does.
        size_bytes: of its file.
        kind: class of the model.
        steps: training iterations behind the weights.
        card: its card, Markdown; empty where it has none.
    """

    name: str
    fingerprint: str
    present: bool
    size_bytes: int
    kind: str
    steps: int
    card: str

    def to_dict(self) -> dict[str, Any]:
        """As `laconic models --json` prints it, without the card."""
        return {key: value for key, value in vars(self).items() if key != "card"}


def folder() -> Path:
    """Where the embedded models are."""
    return Path(str(resources.files("laconic.pretrained")))


def find_earlier(written: ModelId, place: Path | None = None) -> Path | None:
    """The file of an earlier model that a file names; None where that is not here.

    Args:
        written: name and fingerprint in the file.
        place: folder of models; None: the embedded ones.
    """
    path = (place or folder()) / f"{written.name}-{written.fingerprint.hex()}.lac"
    return path if path.is_file() else None


def list_models(place: Path | None = None) -> Iterator[Registered]:
    """All embedded models, by name, the present one of each name first.

    Args:
        place: folder of models; None: the embedded ones.
    """
    for path in sorted((place or folder()).glob("*.lac"), key=lambda path: path.stem):
        yield _describe(path)


def _describe(path: Path) -> Registered:
    from laconic.codecs.network.file import NetworkFile

    data = path.read_bytes()
    fingerprint = hashlib.sha256(data).hexdigest()[:_DIGITS]
    present = not path.stem.endswith(f"-{fingerprint}")
    meta = json.loads(NetworkFile.read(data).metadata["meta"])
    card = path.with_suffix(".md")
    return Registered(
        name=path.stem if present else path.stem[: -_DIGITS - 1],
        fingerprint=fingerprint,
        present=present,
        size_bytes=len(data),
        kind=meta["model"]["name"],
        steps=int(meta["step"]),
        card=card.read_text() if card.is_file() else "",
    )
