"""Posteriors as files: safetensors with a note in JSON; nothing is unpickled.

A file holds the parameters of a converted network, the method's name and its settings. Loading
converts an ordinary network of the same architecture.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from laconic.errors import ConfigError, InputError
from laconic.training import checkpoints
from laconic.training.config import build
from laconic.weights.base import WeightMethod
from laconic.weights.convert import Penalty
from laconic.weights.convert import convert as convert_with
from laconic.weights.layers import ProbabilisticLayer
from laconic.weights.methods import METHODS

FORMAT = "laconic posterior 1"
PRIOR = "prior."
"""Prefix of the names of parameters that all layers share."""


@dataclass(frozen=True)
class Recipe:
    """What a converted network was made with.

    Attributes:
        method: its name.
        settings: of the method, JSON-able.
        layers: names of the converted layers.
    """

    method: str
    settings: Mapping[str, Any]
    layers: tuple[str, ...]

    @classmethod
    def of(cls, net: nn.Module) -> Self:
        """The recipe of a converted network.

        Raises:
            InputError: the network is not converted.
        """
        layers = layers_of(net)
        methods = [layer.method for layer in layers.values() if layer.method is not None]
        if not methods:
            raise InputError(
                "the network is not converted: laconic.weights.convert makes its layers "
                "probabilistic; an ordinary network is saved by its state_dict"
            )
        return cls(methods[0].name, asdict(methods[0]), tuple(layers))  # type: ignore[call-overload]

    @classmethod
    def parse(cls, text: str, origin: str) -> Self:
        """What a note in JSON says.

        Raises:
            InputError: it is damaged, or of another format.
        """
        try:
            return cls.read(json.loads(text), origin)
        except ValueError as error:
            raise InputError(f"{origin} does not say how its network was converted") from error

    @classmethod
    def read(cls, note: Mapping[str, Any], origin: str) -> Self:
        """What a note says.

        Raises:
            InputError: entries are missing, or it is of another format.
        """
        try:
            if note["format"] != FORMAT:
                raise InputError(
                    f"{origin} has the format {note['format']!r}, this laconic reads {FORMAT!r}"
                )
            return cls(str(note["method"]), dict(note["settings"]), tuple(note["layers"]))
        except (KeyError, TypeError) as error:
            raise InputError(f"{origin} does not say how its network was converted") from error

    @property
    def note(self) -> dict[str, Any]:
        """This as JSON-able data."""
        return {"format": FORMAT, **asdict(self)}

    def text(self) -> str:
        """This as JSON."""
        return json.dumps(self.note, sort_keys=True)

    def convert(self, net: nn.Module, methods: Mapping[str, type[WeightMethod]]) -> Penalty:
        """Convert an ordinary network in the same way, in place.

        Args:
            net: the network.
            methods: by name.

        Raises:
            InputError: the network has not these layers, or the method is unknown.
        """
        modules = dict(net.named_modules())
        missing = [name for name in self.layers if name not in modules]
        if missing:
            raise InputError(
                f"the network has no layer {missing[0]!r}, which the file has: give one of the "
                "same architecture"
            )
        if self.method not in methods:
            raise InputError(f"the file's method {self.method!r} is unknown to this laconic")
        try:
            method: WeightMethod = build(methods[self.method], dict(self.settings), self.method)
        except ConfigError as error:
            raise InputError(f"the file's settings cannot be used: {error}") from error
        within = {name for layer in self.layers for name in modules if name.startswith(f"{layer}.")}
        ends = {
            name
            for name, module in modules.items()
            if name and not list(module.children()) and name not in self.layers
        }
        return convert_with(net, method, tuple(sorted(ends - within)))


def layers_of(net: nn.Module) -> dict[str, ProbabilisticLayer]:
    """The converted layers of a network by name, each once."""
    return {
        name: module
        for name, module in net.named_modules()
        if isinstance(module, ProbabilisticLayer)
    }


def tensors_of(net: nn.Module) -> dict[str, Tensor]:
    """Parameters and stored buffers of a network by name, each once."""
    kept = net.state_dict().keys()
    named = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    return {name: tensor.detach() for name, tensor in named.items() if name in kept}


def save_posterior(
    net: nn.Module, path: str | PathLike[str], penalty: Penalty | None = None
) -> None:
    """Write a converted network's posterior to a safetensors file.

    Args:
        net: the network.
        path: of the file; replaced in one step.
        penalty: of the network, if the method has parameters that all layers share ("miracle",
            "sws") and they are to be kept for more training.

    Raises:
        InputError: the network is not converted.
    """
    recipe = Recipe.of(net)
    shared = {} if penalty is None else tensors_of(penalty.prior)
    tensors = tensors_of(net) | {PRIOR + name: tensor for name, tensor in shared.items()}
    checkpoints.save(Path(path), tensors, recipe.note)


def load_posterior(path: str | PathLike[str], net: nn.Module) -> Penalty:
    """Convert an ordinary network and give it the posterior of a file, in place.

    Args:
        path: of the file.
        net: a network of the same architecture, not converted.

    Returns:
        The penalty, to train on.

    Raises:
        InputError: the file cannot be read or holds no posterior, or the network is of another
            architecture.
    """
    try:
        tensors, note = checkpoints.load(Path(path))
    except ConfigError as error:
        raise InputError(
            f"{path} holds no posterior that can be read: save_posterior writes such files"
        ) from error
    penalty = Recipe.read(note, str(path)).convert(net, METHODS)
    shared = {name: tensors.pop(name) for name in list(tensors) if name.startswith(PRIOR)}
    give(net, tensors, str(path))
    if shared:
        give(penalty.prior, {k.removeprefix(PRIOR): v for k, v in shared.items()}, str(path))
    return penalty


@torch.no_grad()
def give(net: nn.Module, tensors: Mapping[str, Tensor], origin: str) -> None:
    """Copy tensors into a module.

    Raises:
        InputError: the names or the shapes differ.
    """
    own = tensors_of(net)
    for name in own.keys() ^ tensors.keys():
        where = "the network" if name in own else origin
        raise InputError(f"only {where} has {name!r}: the architectures differ")
    for name, tensor in tensors.items():
        if own[name].shape != tensor.shape:
            raise InputError(
                f"{name!r} has shape {tuple(tensor.shape)} in {origin} and "
                f"{tuple(own[name].shape)} in the network"
            )
    for name, tensor in tensors.items():
        own[name].copy_(tensor)
