"""From a network in floats to the same network in integers: other layers, the same wiring."""

import copy
from typing import Any, TypeVar, cast

from torch import nn

from laconic.networks.arithmetic import Network
from laconic.networks.causal import CausalConvolution
from laconic.networks.fixed_point.affine import FixedDepthwise, FixedLinear
from laconic.networks.fixed_point.arithmetic import FIXED_POINT, from_float, leaky_relu
from laconic.networks.fixed_point.convolution import FixedConvolution
from laconic.networks.fixed_point.gated import DownConvolution, UpConvolution, gate
from laconic.networks.gated import Gate
from laconic.networks.residual import Head

Net = TypeVar("Net")


def to_fixed_point(network: Net) -> Net:
    """A copy of a network that computes in integers; later changes of the weights are not seen.

    Args:
        network: made of `Network`s, containers and layers that have an integer form; float32 or
            float64.

    Raises:
        ConfigError: the weights are too large for exact arithmetic.
    """
    return cast(Net, _copy(network))


def _copy(part: Any) -> Any:
    """Parts become plain attributes of the copy: it can be called, but cannot list its parts."""
    made = _fixed_layer(part)
    if made is None and isinstance(part, nn.ModuleList | list):
        made = [_copy(item) for item in part]
    if made is None and part is not None:
        made = copy.copy(part)
        parts = {name: _copy(item) for name, item in part._modules.items()}
        made.__dict__ |= _fixed_attributes(part) | parts | {"_modules": parts}
    return made


def _fixed_attributes(network: nn.Module) -> dict[str, Any]:
    """The arithmetic, and the network's own parameters in units of 2^-16."""
    own = network.named_parameters(recurse=False)
    fixed: dict[str, Any] = {name: from_float(parameter.detach()) for name, parameter in own}
    return fixed | ({"arithmetic": FIXED_POINT} if isinstance(network, Network) else {})


def _fixed_layer(layer: Any) -> Any:
    """The integer form of a layer; None for a part that is made of other parts."""
    if isinstance(layer, Head):
        return FixedConvolution(layer.project)
    if isinstance(layer, CausalConvolution):
        return FixedConvolution(layer)
    if isinstance(layer, nn.Linear):
        return FixedLinear(layer)
    if isinstance(layer, nn.LeakyReLU):
        return leaky_relu
    if isinstance(layer, Gate):
        return gate
    if isinstance(layer, nn.ConvTranspose2d):
        return UpConvolution(layer)
    if isinstance(layer, nn.Conv2d):
        return _fixed_convolution(layer)
    return None


def _fixed_convolution(layer: nn.Conv2d) -> FixedConvolution | FixedDepthwise | DownConvolution:
    if layer.groups > 1:
        return FixedDepthwise(layer)
    half = tuple((side - 1) / 2 for side in layer.kernel_size)
    if layer.stride == (1, 1) and layer.padding == half:
        return FixedConvolution(layer)
    return DownConvolution(layer)
