"""Latent-variable models: ladders of latents behind one contract (`models.base`)."""

from typing import Any

from laconic.models.base import LatentVariableModel
from laconic.models.sliced import SlicedConfig, SlicedLadder

MODELS: dict[str, tuple[type[Any], type[LatentVariableModel]]] = {
    "sliced": (SlicedConfig, SlicedLadder),
}
"""By name: the dataclass of its sizes and the class."""
