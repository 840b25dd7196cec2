"""The tensors of a file -> a network: prefixes of wrappers, tied tensors, roundings of inputs."""

import warnings
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Final

import torch
from torch import Tensor, nn

from laconic.codecs.network.file import NetworkFile
from laconic.errors import InputError
from laconic.types import shape_in_torch
from laconic.weights.methods.relaxed_quantization import STEP_NAME, add_roundings

NAMED: Final = 5
"""Tensors of a kind that a message names."""

COMPILED: Final = "_orig_mod"
PARALLEL: Final = "module"
"""What `torch.compile` and `nn.DataParallel` put into names: before any part, and at the front."""


class LeftOut(UserWarning):
    """Some tensors of a file were not loaded, or some of a network stayed as they were."""


def expand_into(file: NetworkFile, net: nn.Module, strict: bool = True) -> dict[str, Tensor]:
    """Give a network the tensors of a file, and the roundings of inputs that the file has.

    Names may differ by what `torch.compile`, `nn.DataParallel` and its kin put before them, in the
    file or in the network. A tensor that the network ties to another one needs to be in the file
    once; a note "dropped name: kept name", as `safetensors.torch.save_model` writes it, counts.

    Args:
        file: of a network of this architecture.
        net: takes them for its own; left as it was where anything is wrong.
        strict: whether every tensor of either must be in the other.

    Returns:
        The file's tensors by name.

    Raises:
        CorruptFileError: a tensor is damaged.
        InputError: the network has other tensors than the file, with `strict=False`: tensors of
            other shapes or none of the file's; or it ties tensors that differ in the file.

    Warns:
        LeftOut: with `strict=False`: some tensors are only in the file, or only in the network.
    """
    rounded = _rounded_layers([entry.name for entry in file.entries], net)
    trial = deepcopy(net) if rounded else net
    add_roundings(trial, rounded)
    state = _tensors_of(trial)
    places = match_names(state, [entry.name for entry in file.entries], file.metadata)
    _check_layout(file, state, places, strict)
    tensors = {entry.name: tensor for entry, tensor in file.tensors()}
    _check_ties(state, places, tensors)
    add_roundings(net, rounded)
    net.load_state_dict({own: tensors[name] for own, name in places.items()}, strict=False)
    return tensors


def original_name(name: str, rounded: Container[str]) -> str:
    """The name of a layer's tensor before a rounding of inputs was put in front of the layer.

    Args:
        name: such as "x.layer.weight", which becomes "x.weight".
        rounded: names of layers that are two modules, "x.rounding" and "x.layer".
    """
    layer, _, part = name.rpartition(".layer.")
    return f"{layer}.{part}" if layer in rounded else name


def match_names(
    own: Iterable[str], there: Sequence[str], notes: Mapping[str, str]
) -> dict[str, str]:
    """The file's name by the network's, for all tensors of the network that the file has.

    Args:
        own: the network's names.
        there: the file's names.
        notes: the file's.
    """
    own, known = list(own), set(there)
    rounded = {
        _key(name.removesuffix(STEP_NAME)) for name in [*own, *there] if name.endswith(STEP_NAME)
    }
    same = known.intersection(own)
    mine = _by_key([name for name in own if name not in same], rounded)
    theirs = _by_key([name for name in there if name not in same], rounded)
    places = {name: name for name in own if name in same}
    places |= {mine[key]: theirs[key] for key in mine if key in theirs}
    dropped = {_key(name): kept for name, kept in notes.items() if kept in known}
    places |= {
        name: dropped[key] for key, name in mine.items() if name not in places and key in dropped
    }
    return places


def _by_key(names: Sequence[str], rounded: Container[str]) -> dict[str, str]:
    """Names by their keys, which lack the prefixes of wrappers; equal keys are left out."""
    keys = [_key(name, rounded) for name in names]
    counts = Counter(keys)
    return {key: name for key, name in zip(keys, names, strict=True) if counts[key] == 1}


def _key(name: str, rounded: Container[str] = ()) -> str:
    """The name without what wrappers put into it, as in the network that was converted."""
    parts = [part for part in name.split(".") if part != COMPILED]
    while len(parts) > 1 and parts[0] == PARALLEL:
        del parts[0]
    return original_name(".".join(parts), rounded)


def _rounded_layers(names: Iterable[str], net: nn.Module) -> list[str]:
    """Names as `add_roundings` takes them, of the network's own layers where prefixes differ."""
    layers = [name.removesuffix(STEP_NAME) for name in names if name.endswith(STEP_NAME)]
    if not layers:
        return []
    places = match_names(
        layers, [name for name, _ in net.named_modules(remove_duplicate=False)], {}
    )
    return [places.get(layer, layer) + STEP_NAME for layer in layers]


def _tensors_of(net: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name; tied ones are one object."""
    state = net.state_dict(keep_vars=True)
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _check_layout(
    file: NetworkFile, state: Mapping[str, Tensor], places: Mapping[str, str], strict: bool
) -> None:
    """Hold the file's tensors against those of a network; a few of each kind are named."""
    shapes = {entry.name: shape_in_torch(entry.shape, entry.dtype) for entry in file.entries}
    loaded, taken = {id(state[own]) for own in places}, set(places.values())
    lost = {
        "the file lacks": [own for own, value in state.items() if id(value) not in loaded],
        "the network lacks": [name for name in shapes if name not in taken],
    }
    wrong = [
        f"{own} {shapes[name]} for {tuple(state[own].shape)}"
        for own, name in places.items()
        if shapes[name] != tuple(state[own].shape)
    ]
    missed = any(lost.values())
    said = "; ".join(_some(kind, names) for kind, names in lost.items() if names)
    if wrong:
        said = "; ".join([*filter(None, [said]), _some("of other shapes", wrong)])
    elif missed and places and strict:
        said += "; strict=False loads what both have"
    if wrong or (missed and (strict or not places)):
        raise InputError(f"the file is of another network; {said}")
    if missed:
        warnings.warn(f"not all tensors are loaded; {said}", LeftOut, stacklevel=4)


def _some(kind: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{kind}: {', '.join(names[:NAMED])}{more}"


def _check_ties(
    state: Mapping[str, Tensor], places: Mapping[str, str], tensors: Mapping[str, Tensor]
) -> None:
    """Refuse two different tensors for one of the network: only the last would be loaded."""
    first: dict[int, str] = {}
    for own, name in places.items():
        other = first.setdefault(id(state[own]), name)
        if other != name and not _same_bits(tensors[other], tensors[name]):
            raise InputError(
                f"{other} and {name} are two different tensors in the file, and one in the "
                "network: untie them in the network"
            )


def _same_bits(first: Tensor, second: Tensor) -> bool:
    if first.dtype != second.dtype:
        return False
    return torch.equal(first.reshape(-1).view(torch.uint8), second.reshape(-1).view(torch.uint8))
