"""Every objective by its name in configurations.

```yaml
objective: elbo                                     # a name, or
objective: {name: rate-distortion, beta: 0.5}       # a name with settings
```
"""

from collections.abc import Callable, Mapping
from typing import Any

from laconic.errors import ConfigError
from laconic.training.config import build
from laconic.training.objectives.base import Objective
from laconic.training.objectives.bounds import Iwae
from laconic.training.objectives.elbo import OBJECTIVES, FreeBits, RateDistortion
from laconic.training.objectives.rate_target import TargetRate, TargetRateConfig
from laconic.training.objectives.score import Reinforce, ReinforceConfig
from laconic.training.objectives.structural import Structural, Taste


def _itself(settings: Objective) -> Objective:
    return settings


SETTABLE: dict[str, tuple[type[Any], Callable[[Any], Objective]]] = {
    "rate-distortion": (RateDistortion, _itself),
    "target-rate": (TargetRateConfig, TargetRate),
    "free-bits": (FreeBits, _itself),
    "iwae": (Iwae, _itself),
    "reinforce": (ReinforceConfig, Reinforce),
    "structural": (Structural, _itself),
    "taste": (Taste, _itself),
}
"""By name: the dataclass of the settings, and what makes the objective of them."""


def choose(chosen: str | Mapping[str, Any], structure: Mapping[str, Any] | None) -> Objective:
    """The objective of a configuration.

    Args:
        chosen: the section `objective`: a name, or a mapping with the name and settings.
        structure: the section `structure`, settings of the structural objective.

    Raises:
        ConfigError: an unknown name or setting, or a value out of range.
    """
    settings = dict(chosen) if isinstance(chosen, Mapping) else {"name": chosen}
    name = settings.pop("name", None)
    if name in OBJECTIVES and not settings:
        return OBJECTIVES[name]
    if name in OBJECTIVES:
        raise ConfigError(
            f"objective.{next(iter(settings))}: unknown key; '{name}' has no settings, "
            "rate-distortion has beta"
        )
    if name not in SETTABLE:
        known = ", ".join([*OBJECTIVES, *SETTABLE])
        raise ConfigError(f"objective: '{name}' is not one of {known}")
    if name == "structural" and structure:
        settings = {**structure, **settings}
    kind, make = SETTABLE[name]
    return make(build(kind, settings, "objective"))
