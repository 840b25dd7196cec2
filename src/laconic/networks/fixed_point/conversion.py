"""From a network in floats to the same network in integers: other layers, the same wiring."""

import copy
from collections.abc import Callable
from typing import Any, TypeVar, cast

from torch import nn

from laconic.networks.arithmetic import Network
from laconic.networks.causal import CausalConvolution
from laconic.networks.fixed_point.arithmetic import FIXED_POINT, from_float
from laconic.networks.fixed_point.convolution import FixedConvolution
from laconic.networks.residual import Head

Net = TypeVar("Net", bound=nn.Module)


def to_fixed_point(network: Net) -> Net:
    """A copy of a network that computes in integers; later changes of the weights are not seen.

    Args:
        network: made of `Network`s, containers and layers that have an integer form; float32 or
            float64.

    Raises:
        ConfigError: the weights are too large for exact arithmetic.
    """
    return cast(Net, _copy(network, _fixed_layer, _fixed_attributes))


def with_layers(network: Net, replace: Callable[[Any], Any]) -> Net:
    """A copy of a network with other layers; it shares everything else.

    Parts are plain attributes of the copy, found without the search of `nn.Module`, which would
    take a third of a decoder's time. So the copy can be called, but it cannot list its parts.

    Args:
        network: is left as it is.
        replace: from a part to what takes its place, or None to copy it part by part.
    """
    return cast(Net, _copy(network, replace, lambda part: {}))


def _copy(
    part: Any, replace: Callable[[Any], Any], attributes: Callable[[Any], dict[str, Any]]
) -> Any:
    """`attributes`: from a network to further attributes of its copy."""
    made = replace(part)
    if made is None and isinstance(part, nn.ModuleList | list):
        made = [_copy(item, replace, attributes) for item in part]
    if made is None and part is not None:
        made = copy.copy(part)
        parts = {name: _copy(item, replace, attributes) for name, item in part._modules.items()}
        made.__dict__ |= attributes(part) | parts | {"_modules": parts}
    return made


def _fixed_attributes(network: nn.Module) -> dict[str, Any]:
    """The arithmetic, and the network's own parameters in units of 2^-16."""
    own = network.named_parameters(recurse=False)
    fixed: dict[str, Any] = {name: from_float(parameter.detach()) for name, parameter in own}
    return fixed | ({"arithmetic": FIXED_POINT} if isinstance(network, Network) else {})


def _fixed_layer(module: Any) -> FixedConvolution | None:
    """The integer form of a layer; None for a module that is made of other modules."""
    if isinstance(module, Head):
        return FixedConvolution(module.project)
    if isinstance(module, nn.Conv2d | CausalConvolution):
        return FixedConvolution(module)
    return None
