"""A network with weight posteriors -> the tensors that are stored, and how fine."""

import math
from collections.abc import Iterable, Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

from laconic.codecs.network.codec import named, shrink
from laconic.codecs.network.loading import original_name
from laconic.codecs.network.miracle import shrink_drawn
from laconic.coding.tensors.codebook import LARGEST
from laconic.errors import InputError
from laconic.progress import Progress
from laconic.weights.convert import plain, stored_layers
from laconic.weights.layers import ProbabilisticLayer
from laconic.weights.methods.miracle import MiraclePosterior

SHARE_OF_DEVIATION = 0.25
"""Step where a method gives none, in root mean squares of the nonzero values: about 5 bits."""


def is_converted(net: nn.Module) -> bool:
    """Whether a network has layers with posteriors."""
    return any(isinstance(module, ProbabilisticLayer) for module in net.modules())


def is_drawn(net: nn.Module) -> bool:
    """Whether a network's weights are stored as draws."""
    return any(isinstance(module, MiraclePosterior) for module in net.modules())


def shrink_posterior(
    net: nn.Module, step_scale: float, metadata: Mapping[str, str], progress: Progress
) -> bytes:
    """The .lac file of a converted network: its `plain` copy's tensors, as `net` named them before.

    Weights and biases are quantised in the steps that their posteriors allow. Where a method gives
    no step, they are kept bit for bit if they have few distinct values, and otherwise the step is a
    quarter of their root mean square. Weights of the method "miracle" are stored as draws. All
    other tensors are kept bit for bit.

    Args:
        net: a converted network.
        step_scale: factor on all steps: above 1 for a smaller file.
        metadata: free text by name, kept.
        progress: called with tensors done and tensors in all.

    Raises:
        InputError: the network is not converted, or has NaN or infinite values; the scale is no
            positive number, or makes steps that single precision does not hold.
    """
    if not is_converted(net):
        raise InputError("the network is not converted: give its state_dict, or convert it first")
    if is_drawn(net):
        if step_scale != 1:
            raise InputError("draws have no steps: the budget of bytes is set in training")
        return shrink_drawn(deepcopy(net), metadata=metadata)
    if not (math.isfinite(step_scale) and step_scale > 0):
        raise InputError(f"the scale of steps is {step_scale}, give a number above 0")
    steps = {name: step_scale * step for name, step in steps_of(net).items() if step}
    names = stored_names(net, steps)
    steps = {names[name]: step for name, step in steps.items()}
    return shrink(named(stored_tensors(net)), metadata, 0.0, progress, steps)


def stored_tensors(net: nn.Module) -> dict[str, Tensor]:
    """The tensors of any network as files hold them, by name: those of its `plain` copy."""
    stored = plain(net).state_dict()
    names = stored_names(net, stored)
    return {names[name]: tensor for name, tensor in stored.items()}


def stored_names(net: nn.Module, names: Iterable[str]) -> dict[str, str]:
    """What files call tensors, as the network did before it was converted.

    Args:
        net: converted, or not: its names stay.
        names: in the network's `plain` copy.
    """
    modules = net.named_modules(remove_duplicate=False)
    layers = {name for name, module in modules if isinstance(module, ProbabilisticLayer)}
    return {name: original_name(name, layers) for name in names}


def steps_of(net: nn.Module) -> dict[str, float]:
    """The quantiser's step of every weight and bias that has a posterior; 0: keep every bit."""
    steps = {}
    for name, module in stored_layers(net).items():
        point = module.point()
        # The ordinary layer may be behind a rounding, under a longer name.
        stored = module.plain().state_dict()
        own = {key.rpartition(".")[2]: f"{name}.{key}" for key in stored}
        steps[own["weight"]] = _step(point.weight, point.weight_step)
        if point.bias is not None:
            steps[own["bias"]] = _step(point.bias, point.bias_step)
    return steps


def _step(tensor: Tensor, step: float | None) -> float:
    """A method's step for a tensor, or a default where the method gives none."""
    if step is not None:
        return step
    kept = tensor.detach()[tensor != 0]
    distinct = torch.unique(kept)
    if len(distinct) <= min(LARGEST, tensor.numel() // 4):
        return 0.0
    return SHARE_OF_DEVIATION * math.sqrt(float(kept.square().mean()))
