"""Released joint systems for photographs: weights as our network codec packs them."""

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Final

import torch

from laconic.channels.systems.photographs import PhotographConfig, PhotographSystem
from laconic.codecs.network.codec import named, shrink
from laconic.codecs.network.file import NetworkFile
from laconic.errors import ConfigError, LaconicError
from laconic.training.config import build

EMBEDDED: Final = "photographs"
"""Name of the embedded system, if there is one."""
META: Final = "photographs"
"""The file's note that holds the system's sizes, as JSON."""
EXACT: Final = ("transform.variance",)
"""Tensors of which every bit is kept."""


def load_system(name: str | Path | None = None) -> PhotographSystem:
    """A released system, in evaluation mode; cached.

    Args:
        name: path of a .lac file; None for the embedded system.

    Raises:
        ConfigError: there is no such file, or it is not such a system.
    """
    return _load(None if name is None else str(name))


@lru_cache(maxsize=2)
def _load(name: str | None) -> PhotographSystem:
    if name is None:
        path = Path(str(resources.files("laconic.pretrained") / f"{EMBEDDED}.lac"))
        if not path.is_file():
            raise ConfigError(
                "no joint system is embedded in this version: give --model FILE, such as "
                "experiments/channels/photographs/photographs.lac"
            )
    else:
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"{path}: no such file; give the .lac file of a joint system")
    try:
        packed = NetworkFile.read(path.read_bytes())
        sizes = json.loads(packed.metadata[META])
        system = PhotographSystem(build(PhotographConfig, _tuples(sizes), META))
        system.load_state_dict({entry.name: tensor.float() for entry, tensor in packed.tensors()})
    except (OSError, LaconicError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: not a joint system for photographs ({error})") from error
    return system.eval().requires_grad_(False)


def pack_system(
    sizes: Mapping[str, object], state: Mapping[str, torch.Tensor], tolerance: float
) -> bytes:
    """The .lac file of a system.

    Args:
        sizes: of `PhotographConfig`, JSON-able.
        state: its weights by name.
        tolerance: relative error of any large tensor.
    """
    tolerances = {"*": tolerance, **dict.fromkeys(EXACT, 0.0)}
    notes = {META: json.dumps(dict(sizes), sort_keys=True)}
    return shrink(named(dict(state)), notes, tolerances)


def _tuples(sizes: Mapping[str, object]) -> dict[str, object]:
    return {key: tuple(one) if isinstance(one, list) else one for key, one in sizes.items()}
