"""Latent-variable models: ladders of latents behind one contract (`models.base`)."""

from typing import Any

from laconic.models.base import LatentVariableModel
from laconic.models.pln import PLN, PLNConfig
from laconic.models.sliced import SlicedConfig, SlicedLadder
from laconic.models.vae import VAE, VAEConfig

MODELS: dict[str, tuple[type[Any], type[LatentVariableModel]]] = {
    "vae": (VAEConfig, VAE),
    "pln": (PLNConfig, PLN),
    "sliced": (SlicedConfig, SlicedLadder),
}
"""By name: the dataclass of its sizes and the class."""
