"""The weights that a file names: found, checked, decoded once, and kept (docs/format.md, "Models").

A folder of models has files NAME.lac or NAME.safetensors, whose SHA-256 begins with the fingerprint
that .lac files name, or what this package made of one: NAME-FINGERPRINT.npz.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from .container import ELSEWHERE, Array, LacError, need, open_lac
from .image import Sliced
from .network import decode_network, to_float32
from .pixels import Dense, PixelLadder

Weights = tuple[dict[str, Any], dict[str, Array]]


MODELS: dict[str, Callable[..., Any]] = {
    "sliced": Sliced,
    "pixels": PixelLadder,
    "dense": Dense,
}
"""Classes of models by the names in their configurations."""


def make_model(config: dict[str, Any], tensors: dict[str, Array]) -> Any:
    """The model of a configuration and its weights."""
    name = str(config.get("name"))
    if name not in MODELS:
        raise LacError(f"the file needs a model of class {name!r}: {ELSEWHERE}")
    return MODELS[name](config, tensors)


def model_finder(folders: Sequence[Path]) -> Callable[[str, bytes], Any]:
    """A function from a model's name and fingerprint to the model."""

    def find(name: str, fingerprint: bytes) -> Any:
        need(name.replace("-", "_").isidentifier(), f"the file names the model {name!r}")
        return make_model(*find_weights(name, fingerprint, folders))

    return find


def default_folders() -> list[Path]:
    """Where models lie: in this package, in the cache, and in an installed package `laconic`."""
    found = [Path(__file__).parent / "weights", cache_folder()]
    spec = find_spec("laconic")
    for place in spec.submodule_search_locations or [] if spec else []:
        found.append(Path(place) / "pretrained")
    return found


def cache_folder() -> Path:
    """Where decoded weights are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "laconic-decoder"


def find_weights(name: str, fingerprint: bytes, folders: Sequence[Path]) -> Weights:
    """The configuration and the tensors of the model that a file names."""
    kept = f"{name}-{fingerprint.hex()}.npz"
    for folder in folders:
        if (folder / kept).is_file():
            return load_kept(folder / kept)
    for folder in folders:
        names = (f"{name}.lac", f"{name}-{fingerprint.hex()}.lac", f"{name}.safetensors")
        for path in (folder / one for one in names):
            data = path.read_bytes() if path.is_file() else b""
            if hashlib.sha256(data).digest()[:8] == fingerprint:
                weights = decode_weights(path.suffix, data)
                keep(weights, cache_folder() / kept)
                return weights
    raise LacError(
        f"the file needs the model {name!r} with the fingerprint {fingerprint.hex()}, which is not "
        "here; name a folder that has it with --models"
    )


def decode_weights(suffix: str, data: bytes) -> Weights:
    """The weights in a network file or a safetensors file."""
    if suffix == ".lac":
        network = decode_network(open_lac(data))
        notes, tensors = network.notes, network.arrays()
    else:
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        notes = header.pop("__metadata__", {})
        tensors = {}
        for name, about in header.items():
            first, last = (8 + size + offset for offset in about["data_offsets"])
            values = to_float32(about["dtype"], data[first:last])
            tensors[name] = values.reshape(about["shape"])
    try:
        return dict(json.loads(notes["meta"])["model"]), tensors
    except (KeyError, ValueError, TypeError) as error:
        raise LacError(f"a model's file does not say what model it is: {error}") from error


def keep(weights: Weights, path: Path) -> None:
    """Write weights in a form that is read quickly; without a word where that is not possible."""
    config, tensors = weights
    small = {name: value.astype(np.float16) for name, value in tensors.items()}
    stored: dict[str, Array] = {
        name: small[name] if np.array_equal(small[name].astype(np.float32), value) else value
        for name, value in tensors.items()
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            np.savez_compressed(file, __config__=np.array(json.dumps(config)), **stored)
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
    except OSError:
        return


def load_kept(path: Path) -> Weights:
    """What `keep` wrote."""
    try:
        with np.load(path, allow_pickle=False) as file:
            tensors = {name: file[name].astype(np.float32) for name in file if name != "__config__"}
            return dict(json.loads(str(file["__config__"]))), tensors
    except (OSError, ValueError, KeyError) as error:
        raise LacError(f"{path} is damaged: delete it ({error})") from error
