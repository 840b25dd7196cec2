"""Latent-variable models: ladders of latents behind one contract (`models.base`)."""

from collections.abc import Mapping
from typing import Any

from laconic.errors import ConfigError
from laconic.models.base import LatentVariableModel
from laconic.models.dense.networks import DenseConfig
from laconic.models.dense.vae import DenseVAE
from laconic.models.families.family import Family
from laconic.models.families.networks import FamilyConfig
from laconic.models.markov.ladder import MarkovLadder
from laconic.models.markov.networks import MarkovConfig
from laconic.models.pixel_ladder.ladder import PixelLadder
from laconic.models.pixel_ladder.networks import PixelLadderConfig
from laconic.models.pln import PLN, PLNConfig
from laconic.models.sliced.config import SlicedConfig
from laconic.models.sliced.ladder import SlicedLadder
from laconic.models.vae import VAE, VAEConfig
from laconic.training.config import build

MODELS: dict[str, tuple[type[Any], type[LatentVariableModel]]] = {
    "vae": (VAEConfig, VAE),
    "pln": (PLNConfig, PLN),
    "sliced": (SlicedConfig, SlicedLadder),
    "pixels": (PixelLadderConfig, PixelLadder),
    "markov": (MarkovConfig, MarkovLadder),
    "dense": (DenseConfig, DenseVAE),
    "family": (FamilyConfig, Family),
}
"""By name: the dataclass of its sizes and the class."""


def make_model(settings: Mapping[str, Any]) -> LatentVariableModel:
    """Build an untrained model from `{"name": ..., **sizes}`.

    Raises:
        ConfigError: unknown name or size.
    """
    sizes = dict(settings)
    name = sizes.pop("name", None)
    if name not in MODELS:
        raise ConfigError(f"model.name: '{name}' is not one of {', '.join(MODELS)}")
    config_kind, model_kind = MODELS[name]
    model: LatentVariableModel = model_kind(build(config_kind, sizes, "model"))
    return model
