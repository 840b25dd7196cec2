"""A converted network as a .lac file that keeps its predictive distribution.

Scales come first, as rounded logarithms. Means follow, each in units of its own decoded scale: a
weight that is uncertain takes few bits. The receiver converts an ordinary network of the same
architecture, and predicts with draws as before.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Final

import torch
from torch import Tensor, nn

from laconic.codecs.network.codec import named, shrink
from laconic.codecs.network.file import NetworkFile
from laconic.errors import InputError, UnsupportedFileError
from laconic.progress import Progress, silent
from laconic.weights import METHODS, Penalty
from laconic.weights.base import Coded
from laconic.weights.storage import Recipe, give, layers_of, tensors_of

NOTE: Final = "laconic.posterior"
"""Name of the file's note that says how the network was converted."""

MEAN_STEP: Final = 0.125
"""Step of a mean in standard deviations: rounding costs about step² / 24 nats for each weight.

These add up over weights. With the 266,610 weights of LeNet-300-100 (mean-field, 3 passes over
MNIST) a step of 0.5 raised the NLL from 0.165 to 0.225 nats, one of 0.25 to 0.179.
"""

OTHER_STEP: Final = 0.02
"""Step of all other numbers of a posterior, in root mean squares of the tensor."""


def shrink_distribution(
    net: nn.Module, step_scale: float = 1.0, progress: Progress = silent
) -> bytes:
    """The .lac file of a converted network with its distribution.

    Args:
        net: a network that was converted by a method whose posteriors are `Coded`.
        step_scale: factor on the steps of means and of numbers without a scale: above 1 for a
            smaller file.
        progress: called with tensors done and tensors in all.

    Raises:
        InputError: the network is not converted, a posterior cannot be coded, or the scale is not
            above 0.
    """
    if not 0 < step_scale < float("inf"):
        raise InputError(f"the scale of steps is {step_scale}, give a number above 0")
    recipe, net = Recipe.of(net), deepcopy(net)
    posteriors, tensors = dict(_posteriors(net)), tensors_of(net)
    for place, posterior in posteriors.items():
        prefixes = tuple(place + one for one in posterior.training_only)
        for name in [name for name in tensors if name.startswith(prefixes)]:
            del tensors[name]
    steps = _round_scales(posteriors, tensors)
    for place, posterior in posteriors.items():
        for name, unit in posterior.code_scales().items():
            tensors[place + name] = tensors[place + name] / unit
            steps[place + name] = step_scale * MEAN_STEP
        for name, tensor in tensors.items():
            if name.startswith(place) and name not in steps:
                rms = float(tensor.double().square().mean().sqrt())
                steps[name] = step_scale * OTHER_STEP * rms
    steps = {name: step for name, step in steps.items() if step > 0}
    return shrink(named(tensors), {NOTE: recipe.text()}, 0.0, progress, steps)


@torch.no_grad()
def _round_scales(
    posteriors: Mapping[str, Coded], tensors: Mapping[str, Tensor]
) -> dict[str, float]:
    """Give the logarithms of scales the values that a file has; returns their steps by name.

    Args:
        posteriors: by the prefix of their names.
        tensors: which share memory with the posteriors.
    """
    steps = {
        place + name: step
        for place, posterior in posteriors.items()
        for name, step in posterior.scale_steps.items()
        if place + name in tensors
    }
    scales = {name: tensors[name] for name in steps}
    if scales:
        file = NetworkFile.read(shrink(named(scales), {}, 0.0, silent, steps))
        for entry, tensor in file.tensors():
            scales[entry.name].copy_(tensor)
    return steps


def holds_distribution(file: NetworkFile) -> bool:
    """Whether a file was written by `shrink_distribution`."""
    return NOTE in file.metadata


def expand_distribution(file: NetworkFile, net: nn.Module) -> Penalty:
    """Convert an ordinary network, and give it the distribution of a file, in place.

    Parameters that only training needs stay as conversion made them.

    Args:
        file: that `shrink_distribution` wrote.
        net: of the same architecture, not converted.

    Raises:
        CorruptFileError: a tensor is damaged.
        InputError: the network is of another architecture.
        UnsupportedFileError: the file holds no distribution.
    """
    if not holds_distribution(file):
        raise UnsupportedFileError("the file holds weights and no distribution over them")
    recipe = Recipe.parse(file.metadata[NOTE], "the file")
    tensors = {entry.name: tensor for entry, tensor in file.tensors()}
    trial = deepcopy(net)
    for target in (trial, net):  # Whatever is wrong shows before the network is changed.
        penalty = recipe.convert(target, METHODS)
        _fill(target, tensors)
    return penalty


@torch.no_grad()
def _fill(net: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a converted network the tensors of a file, means by their scales."""
    own = tensors_of(net)
    posteriors = dict(_posteriors(net))
    kept = {
        name: tensor
        for name, tensor in own.items()
        if any(
            name.startswith(place) and name.removeprefix(place).startswith(one.training_only)
            for place, one in posteriors.items()
        )
    }
    give(net, {**kept, **tensors}, "the file")
    for place, posterior in posteriors.items():
        for name, unit in posterior.code_scales().items():
            own[place + name].mul_(unit)


def _posteriors(net: nn.Module) -> Iterator[tuple[str, Coded]]:
    """Posteriors with the prefix of their parameters' names.

    Raises:
        InputError: one cannot be coded.
    """
    for name, layer in layers_of(net).items():
        if not isinstance(layer.posterior, Coded):
            raise InputError(
                f"layer {name!r}: a {type(layer.posterior).__name__} is stored as its weights "
                "alone: leave out distribution=True"
            )
        yield f"{name}.posterior.", layer.posterior
