"""Distributions over the weights of any network, and smaller networks made from them.

```python
penalty = laconic.weights.convert(net, "sparse-vd")   # in place; starts from the trained weights
loss = cross_entropy(net(x), y) + penalty() / len(training_set)
...                                                    # penalty.constrain() after every step
small = laconic.weights.smaller(net, example)          # an ordinary, dense network
data = laconic.shrink(net)                             # a .lac file
```
"""

from typing import Any

from torch import nn

from laconic.errors import ConfigError
from laconic.training.config import build
from laconic.weights.base import WeightMethod
from laconic.weights.convert import NotTraining, Penalty, UntouchedModules, plain
from laconic.weights.convert import convert as _convert
from laconic.weights.layers import sampling
from laconic.weights.methods import METHODS
from laconic.weights.methods.soft_sharing import NotSettled
from laconic.weights.prediction import predict
from laconic.weights.pruning.magnitude import keep_largest
from laconic.weights.pruning.smaller import KeptWhole, smaller, widths
from laconic.weights.recurrent import linear_cells
from laconic.weights.storage import load_posterior, save_posterior

__all__ = [
    "METHODS",
    "KeptWhole",
    "NotSettled",
    "NotTraining",
    "Penalty",
    "UntouchedModules",
    "convert",
    "keep_largest",
    "linear_cells",
    "load_posterior",
    "make_method",
    "plain",
    "predict",
    "sampling",
    "save_posterior",
    "smaller",
    "widths",
]


def make_method(name: str, **settings: Any) -> WeightMethod:
    """A method by its name.

    Args:
        name: one of `METHODS`.
        settings: of the method.

    Raises:
        ConfigError: the name or a setting is unknown.
    """
    if name not in METHODS:
        raise ConfigError(f"method: '{name}' is not one of {', '.join(METHODS)}")
    method: WeightMethod = build(METHODS[name], settings, name)
    return method


def convert(
    net: nn.Module, method: str | WeightMethod, skip: tuple[str, ...] = (), **settings: Any
) -> Penalty:
    """Make the linear and convolutional layers of a network probabilistic, in place.

    Args:
        net: the network; posteriors start from its weights.
        method: a name in `METHODS`, or a method with its settings.
        skip: names of modules to be left as they are.
        settings: of a method given by name.

    Returns:
        The penalty: add it to the mean negative log-likelihood, divided by the number of examples.

    Raises:
        ConfigError: the method or a setting is unknown.
        InputError: see `laconic.weights.convert.convert`.

    Example:
        `penalty = convert(net, "sparse-vd", threshold=2.5)`
    """
    chosen = make_method(method, **settings) if isinstance(method, str) else method
    return _convert(net, chosen, skip)
