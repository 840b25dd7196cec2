"""Puts the embedded models into the wheel: decoded by this package, in a form read quickly."""

import hashlib
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HERE = Path(__file__).parent
SOURCE = HERE.parent / "src" / "laconic" / "pretrained"


class Models(BuildHookInterface):  # type: ignore[type-arg]
    """Decodes every model of the main package, about a minute at the first build."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the models to the wheel."""
        sys.path.insert(0, str(HERE))
        from laconic_decoder.models import MODELS, decode_weights, keep

        for path in sorted(SOURCE.glob("*.lac")):
            data = path.read_bytes()
            name = f"{path.stem}-{hashlib.sha256(data).hexdigest()[:16]}.npz"
            made = HERE / "build" / name
            if not made.is_file():
                weights = decode_weights(".lac", data)
                if weights[0]["name"] not in MODELS:
                    continue  # No file of a picture needs it.
                keep(weights, made)
            build_data["force_include"][str(made)] = f"laconic_decoder/weights/{name}"
