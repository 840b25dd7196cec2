"""Released joint systems for photographs: weights as our network codec packs them."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

import torch

from laconic.channels.systems.photographs import PhotographConfig, PhotographSystem
from laconic.codecs.network.codec import named, shrink
from laconic.errors import ConfigError, LaconicError
from laconic.pretrained import unpack
from laconic.pretrained.registry import folder
from laconic.training.config import build

EMBEDDED: Final = "joint"
"""Name of the embedded system."""
KIND: Final = "photographs"
"""Its kind in the file's notes."""
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
    path = folder() / f"{EMBEDDED}.lac" if name is None else Path(name)
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; give the .lac file of a joint system")
    try:
        state, notes = unpack(path.read_bytes())
        sizes = json.loads(notes["meta"])["model"]
        if sizes.pop("name") != KIND:
            raise ConfigError("it is a model of another kind")
        system = PhotographSystem(build(PhotographConfig, _tuples(sizes), KIND))
        system.load_state_dict(state)
    except (OSError, LaconicError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: not a joint system for photographs ({error})") from error
    return system.eval().requires_grad_(False)


def pack_system(
    sizes: Mapping[str, object],
    state: Mapping[str, torch.Tensor],
    tolerance: float,
    steps: int = 0,
) -> bytes:
    """The .lac file of a system.

    Args:
        sizes: of `PhotographConfig`, JSON-able.
        state: its weights by name.
        tolerance: relative error of any large tensor.
        steps: training iterations behind the weights.
    """
    tolerances = {"*": tolerance, **dict.fromkeys(EXACT, 0.0)}
    meta = {"model": {"name": KIND, **sizes}, "step": steps}
    notes = {"meta": json.dumps(meta, sort_keys=True)}
    return shrink(named(dict(state)), notes, tolerances)


def _tuples(sizes: Mapping[str, object]) -> dict[str, object]:
    return {key: tuple(one) if isinstance(one, list) else one for key, one in sizes.items()}
