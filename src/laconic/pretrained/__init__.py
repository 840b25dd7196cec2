"""The embedded models: weights in half precision with what is needed to rebuild their network."""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from laconic.errors import ConfigError
from laconic.models import make_model
from laconic.models.base import LatentVariableModel

DEFAULT = "default"
"""Name of the model that `laconic compress` uses."""


@dataclass(frozen=True)
class Pretrained:
    """A model with its identity.

    Attributes:
        model: ready for inference, in float32.
        name: short name, written into files.
        fingerprint: first 16 bytes of the SHA-256 of the weights' file.
        steps: training iterations behind the weights.
    """

    model: LatentVariableModel
    name: str
    fingerprint: bytes
    steps: int


def load(name: str | Path = DEFAULT) -> Pretrained:
    """Load an embedded model by name, or any released weights by path; cached.

    Raises:
        ConfigError: no such model, or the file is damaged.
    """
    return _load(str(name))


@lru_cache(maxsize=2)
def _load(name: str) -> Pretrained:
    path = Path(name)
    if path.suffix != ".safetensors":
        path = Path(str(resources.files("laconic.pretrained") / f"{name}.safetensors"))
    if not path.is_file():
        raise ConfigError(
            f"{name}: no such model; give an embedded model's name or a .safetensors file"
        )
    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
            meta = json.loads((file.metadata() or {})["meta"])
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path}: not released weights ({error})") from error
    model = make_model(meta["model"])
    model.load_state_dict(state)
    fingerprint = hashlib.sha256(path.read_bytes()).digest()[:16]
    return Pretrained(model.eval().requires_grad_(False), path.stem, fingerprint, int(meta["step"]))


def release(checkpoint: Path, path: Path) -> None:
    """Turn a training checkpoint into released weights: the averaged weights in half precision.

    Raises:
        ConfigError: the checkpoint is damaged.
    """
    from laconic.training.checkpoints import load as load_checkpoint

    tensors, meta = load_checkpoint(checkpoint)
    prefix = "average."
    state = {
        name.removeprefix(prefix): tensor.contiguous().to(_stored_dtype(name))
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
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
