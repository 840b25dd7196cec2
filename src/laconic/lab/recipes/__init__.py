"""Recipes: what is trained and measured, one file for each kind, one table."""

from collections.abc import Mapping
from typing import Any

from laconic.errors import ConfigError
from laconic.lab.contract import Recipe
from laconic.lab.recipes.channels import ChannelsRecipe
from laconic.lab.recipes.classifier import ClassifierRecipe
from laconic.lab.recipes.functions import ProcessRecipe
from laconic.lab.recipes.latent import LatentRecipe
from laconic.lab.recipes.photographs import PhotographsRecipe
from laconic.lab.recipes.weights import WeightsRecipe

RECIPES: dict[str, type[Recipe]] = {
    kind.kind: kind
    for kind in (
        LatentRecipe,
        ClassifierRecipe,
        WeightsRecipe,
        ProcessRecipe,
        ChannelsRecipe,
        PhotographsRecipe,
    )
}
"""By the name that the key `recipe` of a YAML file gives."""


def read_recipe(config: Mapping[str, Any], usual: type[Recipe] = LatentRecipe) -> Recipe:
    """A recipe of any kind from the mapping of a YAML file.

    Args:
        config: its key `recipe` names the kind.
        usual: the kind without that key.

    Raises:
        ConfigError: an unknown kind, an unknown or missing key, or a value that cannot be.
    """
    settings = dict(config)
    kind = settings.pop("recipe", usual.kind)
    if kind not in RECIPES:
        raise ConfigError(f"recipe: '{kind}' is not one of {', '.join(RECIPES)}")
    return RECIPES[kind].read(settings)
