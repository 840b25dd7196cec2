"""Recipes: what is trained and measured, one file for each kind, one table."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from laconic.errors import ConfigError
from laconic.lab.contract import Recipe

RECIPES: Final[Mapping[str, str]] = {
    "latent": "laconic.lab.recipes.latent.LatentRecipe",
    "classifier": "laconic.lab.recipes.classifier.ClassifierRecipe",
    "weights": "laconic.lab.recipes.weights.WeightsRecipe",
    "process": "laconic.lab.recipes.functions.ProcessRecipe",
    "channels": "laconic.lab.recipes.channels.ChannelsRecipe",
    "photographs": "laconic.lab.recipes.photographs.PhotographsRecipe",
    "uncertainty": "laconic.lab.recipes.uncertainty.UncertaintyRecipe",
}
"""Every recipe's class by what the key `recipe` of a YAML file says; imported when it is read."""


def find_recipe(kind: str) -> type[Recipe]:
    """The class of a kind of recipe.

    Raises:
        ConfigError: there is no such kind.
    """
    if kind not in RECIPES:
        raise ConfigError(f"recipe: '{kind}' is not one of {', '.join(RECIPES)}")
    module, _, name = RECIPES[kind].rpartition(".")
    found: type[Recipe] = getattr(import_module(module), name)
    return found


def read_recipe(config: Mapping[str, Any], usual: str = "latent") -> Recipe:
    """A recipe of any kind from the mapping of a YAML file.

    Args:
        config: its key `recipe` names the kind.
        usual: the kind without that key.

    Raises:
        ConfigError: an unknown kind, an unknown or missing key, or a value that cannot be.
    """
    settings = dict(config)
    return find_recipe(settings.pop("recipe", usual)).read(settings)
