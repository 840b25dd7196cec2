"""Pruning by magnitude: a layer keeps its largest outputs.

For methods that do not prune (`miracle`): first make the network narrow, then train and shrink it.

Source: Ullrich, part I, "Neural network compression" (small weights; whole structures);
for filters Li, Kadav, Durdanovic, Samet & Graf, "Pruning filters for efficient ConvNets", 2017.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from laconic.errors import InputError
from laconic.weights.base import FORWARD, refuse_numbers


@torch.no_grad()
def keep_largest(net: nn.Module, outputs: Mapping[str, int]) -> None:
    """Set all but the largest outputs of some layers to zero, in place; `smaller` removes them.

    Args:
        net: an ordinary network, trained.
        outputs: number of outputs to keep, by the layer's name. Where a sum adds several layers'
            outputs, each layer keeps its own largest, and `smaller` keeps those of all.

    Raises:
        InputError: there is no such layer, it is neither linear nor convolutional, it has no weight
            of its own or none yet, or it has fewer outputs. Then no layer is changed.

    Formula: an output's size is the Euclidean norm of the weights that make it.

    Example:
        `keep_largest(net, {"conv1": 10, "conv2": 25}); small = smaller(net, example)`
    """
    kept = {name: _largest(net, name, count) for name, count in outputs.items()}
    for name, mask in kept.items():
        layer = net.get_submodule(name)
        for tensor in (layer.weight, layer.bias):
            if isinstance(tensor, Tensor):
                tensor[~mask] = 0


def _largest(net: nn.Module, name: str, count: int) -> Tensor:
    try:
        layer = net.get_submodule(name)
    except AttributeError as error:
        raise InputError(f"{name!r}: the network has no such layer") from error
    if not isinstance(layer, FORWARD):
        raise InputError(f"{name!r} is a {type(layer).__name__}: only linear and convolutional "
                         "layers have outputs to keep")  # fmt: skip
    if not isinstance(layer._parameters.get("weight"), Tensor):
        raise InputError(f"the weight of {name!r} is computed from others, as by weight_norm or "
                         "prune: make it a parameter of its own first")  # fmt: skip
    assert isinstance(layer.weight, Tensor)
    refuse_numbers(f"{name}.weight", layer.weight)
    if not (type(count) is int and 1 <= count <= len(layer.weight)):
        raise InputError(f"{name!r} has {len(layer.weight)} outputs: it cannot keep {count}")
    mask = torch.zeros(len(layer.weight), dtype=torch.bool, device=layer.weight.device)
    mask[layer.weight.flatten(1).norm(dim=1).topk(count).indices] = True
    return mask
