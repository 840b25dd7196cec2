"""The embedded models: weights, as our own network codec packs them, and how to rebuild them.

Released weights are a safetensors file in half precision; `experiments/embedded/pack.py` makes of
it the .lac file that is embedded.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from laconic.codecs.base import LoadedModel
from laconic.codecs.network.file import NetworkFile
from laconic.data.weights.tensors import open_weights
from laconic.errors import ConfigError, LaconicError, UnsupportedFileError
from laconic.models import make_model

DEFAULT = "default"
"""Name of the model that `laconic compress` uses."""
LOSSLESS_DEFAULT = "pixels"
"""Name of the model that `laconic compress --lossless` uses."""


@dataclass(frozen=True)
class Pretrained(LoadedModel):
    """An embedded or released model; its fingerprint is the first 16 bytes of its file's SHA-256.

    Attributes:
        steps: training iterations behind the weights.
    """

    steps: int


def load(name: str | Path = DEFAULT) -> Pretrained:
    """Load an embedded model by name, or any released weights by path; cached.

    Raises:
        ConfigError: no such model, or the file is damaged.
    """
    return _load(str(name))


def load_for(written: str, given: str | Path | None = None) -> Pretrained:
    """The model that a file names.

    Args:
        written: the name that was written into the file.
        given: name or path of a model to take instead.

    Raises:
        UnsupportedFileError: the file names a model that is not embedded.
        ConfigError: no such model is given.
    """
    if given is not None:
        return load(given)
    if not written.replace("-", "_").isidentifier():
        raise UnsupportedFileError(
            f"the file names the model {written!r}, which is no embedded model"
        )
    try:
        return load(written)
    except ConfigError as error:
        raise UnsupportedFileError(
            f"the file was written with the model {written!r}, which this laconic does not have; "
            "name the model's file"
        ) from error


@lru_cache(maxsize=2)
def _load(name: str) -> Pretrained:
    path = Path(name)
    if path.suffix not in (".safetensors", ".lac"):
        path = Path(str(resources.files("laconic.pretrained") / f"{name}.lac"))
    if not path.is_file():
        raise ConfigError(
            f"{name}: no such model; give an embedded model's name, a .lac or a .safetensors file"
        )
    try:
        state, notes = _read_weights(path)
        meta = json.loads(notes["meta"])
        model = make_model(meta["model"])
        model.load_state_dict(state)
    except (OSError, LaconicError, KeyError, RuntimeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path}: not released weights ({error})") from error
    fingerprint = hashlib.sha256(path.read_bytes()).digest()[:16]
    return Pretrained(model.eval().requires_grad_(False), path.stem, fingerprint, int(meta["step"]))


def _read_weights(path: Path) -> tuple[dict[str, torch.Tensor], Mapping[str, str]]:
    """Tensors in float32, and the file's notes."""
    if path.suffix == ".lac":
        packed = NetworkFile.read(path.read_bytes())
        return {entry.name: tensor.float() for entry, tensor in packed.tensors()}, packed.metadata
    source, notes = open_weights(path)
    return {name: fetch().float() for name, (_, fetch) in source.items()}, notes


def release(checkpoint: Path, path: Path) -> None:
    """Turn a training checkpoint into released weights: the averaged weights in half precision.

    Raises:
        ConfigError: the checkpoint is damaged.
    """
    from laconic.training.checkpoints import load_average

    average, meta = load_average(checkpoint)
    state = {name: value.contiguous().to(_stored_dtype(name)) for name, value in average.items()}
    _check_finite(state, checkpoint)
    facts: dict[str, Any] = {key: meta[key] for key in ("model", "step")}
    save_file(state, path, metadata={"meta": json.dumps(facts, sort_keys=True)})


def _stored_dtype(name: str) -> torch.dtype:
    # Variances span five orders of magnitude and are few.
    return torch.float32 if name.endswith(".variance") else torch.float16


def _check_finite(state: dict[str, torch.Tensor], source: Path) -> None:
    broken = [name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise ConfigError(
            f"{source}: {broken[0]} does not fit half precision; train on or lower the rate"
        )
