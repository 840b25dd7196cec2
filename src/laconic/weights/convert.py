"""Conversion of a network's layers into probabilistic ones, and back.

The rule of training is the same for every method: minimise

    mean negative log-likelihood of the batch + warm-up x penalty() / N,

N the number of training examples, the penalty in nats and summed over all weights. The commonest
fault of published code is a KL that is averaged over weights, layers or batches.
"""

import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from laconic.errors import InputError
from laconic.weights.base import (
    SUPPORTED,
    LayerInfo,
    SharedPrior,
    Storable,
    WeightMethod,
    refuse_numbers,
)
from laconic.weights.layers import ProbabilisticLayer


class UntouchedModules(UserWarning):
    """Some modules of a converted network keep ordinary parameters."""


class NotTraining(UserWarning):
    """A converted network is trained in evaluation mode, where its layers have no gradients."""


class Penalty:
    """The penalty of a converted network, with what training must call after each step.

    Attributes:
        layers: the converted layers by name.
        untouched: names of the modules with parameters that were left as they are.
        prior: parameters that all layers share, if the method has any.
        rate_factors: relative learning rates by prefix of a parameter's name, in the network and in
            `nn.ModuleDict({"net": net, "prior": penalty.prior})`.
    """

    def __init__(
        self,
        layers: Mapping[str, ProbabilisticLayer],
        untouched: tuple[str, ...],
        prior: SharedPrior,
        rate_factors: Mapping[str, float],
    ) -> None:
        self.layers, self.untouched, self.prior = dict(layers), untouched, prior
        self.rate_factors = dict(rate_factors)

    def __call__(self) -> Tensor:
        """Nats of the whole network: add it, divided by the number of examples, to the loss.

        Warns:
            NotTraining: gradients are enabled, but every layer is in evaluation mode.
        """
        layers = self.layers.values()
        if torch.is_grad_enabled() and layers and not any(layer.training for layer in layers):
            warnings.warn(
                "the network is in evaluation mode, where only the penalty has gradients: call "
                "net.train() to train it, or wrap this call in torch.no_grad()",
                NotTraining,
                stacklevel=2,
            )
        total: Tensor = self.prior()
        return total

    def constrain(self) -> None:
        """Call this after every step of the optimiser."""
        self.prior.constrain()

    def quantise(self) -> None:
        """Call this once after training, before the network is stored."""
        self.prior.quantise()


def convert(
    net: nn.Module,
    method: WeightMethod,
    skip: tuple[str, ...] = (),
) -> Penalty:
    """Replace linear and convolutional layers, transposed ones too, and embeddings, in place.

    A layer that is used in several places is converted once and stays shared. These layers are left
    as they are: layers whose weight is not their own parameter (`weight_norm`, `prune`), layers
    with hooks or a forward pass of their own, layers whose weight another module reads (attention's
    last layer), layers with a frozen parameter (`requires_grad` is False), which stay frozen, and
    embeddings whose weight another module shares.

    Args:
        net: the network; posteriors start from its weights.
        method: the method.
        skip: names of modules to be left as they are, with all modules in them.

    Returns:
        The penalty to train with.

    Raises:
        InputError: there is nothing to convert, or all of it is frozen; two layers share a weight
            and one would be converted; a weight has NaN or infinite values or no shape yet; the
            network was converted before; a name in `skip` is unknown.

    Warns:
        UntouchedModules: other modules have parameters; the warning names them.
    """
    modules = dict(net.named_modules())
    tied = _refuse(net, modules, skip)
    fitting = {
        name: module
        for name, module in modules.items()
        if _convertible(module) and not _within(name, skip) and name not in tied
    }
    found = {name: module for name, module in fitting.items() if not _frozen(module)}
    if not found:
        raise InputError(_nothing_to_convert(fitting))
    names = list(found)
    layers: dict[str, ProbabilisticLayer] = {}
    for name, module in found.items():
        info = LayerInfo(name, module, name == names[0], name == names[-1])
        layers[name] = ProbabilisticLayer(module, method.posterior(info)).train(module.training)
        layers[name].method = method
    prior = method.shared({name: layer.posterior for name, layer in layers.items()})
    # Errors of the method are raised above: the network is not changed, or converted completely.
    for name, module in found.items():
        replace_everywhere(net, module, layers[name])
    untouched = tuple(
        name
        for name, module in modules.items()
        if name not in found and any(True for _ in module.parameters(recurse=False))
    )
    if untouched:
        message = _left_alone({name: modules[name] for name in untouched}, fitting)
        warnings.warn(message, UntouchedModules, stacklevel=2)
    factors = {
        f"{name}.posterior.{prefix}": factor
        for name in layers
        for prefix, factor in method.rates().items()
    }
    factors |= {f"net.{prefix}": factor for prefix, factor in factors.items()}
    factors |= {f"prior.{prefix}": factor for prefix, factor in prior.rate_factors.items()}
    return Penalty(layers, untouched, prior, factors)


def stored_layers(net: nn.Module) -> dict[str, ProbabilisticLayer]:
    """The converted layers of a network by name; a layer in several places has several names.

    Raises:
        InputError: a layer has no point to be stored.
    """
    named = net.named_modules(remove_duplicate=False)
    layers = {name: module for name, module in named if isinstance(module, ProbabilisticLayer)}
    for name, layer in layers.items():
        if not isinstance(layer.posterior, Storable):
            raise InputError(
                f"layer {name!r} cannot be stored: a {type(layer.posterior).__name__} predicts and "
                "has no point. Convert with a method that has one, such as 'sparse-vd'"
            )
    return layers


def plain(net: nn.Module) -> nn.Module:
    """A copy of a converted network with ordinary layers that hold the stored numbers.

    In evaluation mode both compute the same.

    Raises:
        InputError: the network cannot be copied, or a posterior is not stored.
    """
    stored_layers(net)
    try:
        copy = deepcopy(net)
    except RuntimeError as error:
        raise InputError(
            "the network cannot be copied. Remove torch.nn.utils.prune or weight_norm from its "
            f"layers first, as by prune.remove(layer, 'weight'): {error}"
        ) from error
    for module in list(copy.modules()):
        if isinstance(module, ProbabilisticLayer):
            replace_everywhere(copy, module, module.plain().train(module.training))
    return copy


def replace_everywhere(net: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Replace the child `old` by `new` in all places."""
    for parent in list(net.modules()):
        for name, child in list(parent._modules.items()):  # `named_children` has each child once.
            if child is old:
                setattr(parent, name, new)


def _convertible(module: nn.Module) -> bool:
    """Whether a module is a supported layer and computes what such layers compute."""
    if not isinstance(module, SUPPORTED) or isinstance(module, NonDynamicallyQuantizableLinear):
        return False
    kind = next(kind for kind in SUPPORTED if isinstance(module, kind))
    passes = [(one.forward, getattr(one, "_conv_forward", None)) for one in (kind, type(module))]
    hooked = module._forward_hooks or module._forward_pre_hooks
    own = {"weight"} if kind is nn.Embedding else {"weight", "bias"}
    # An embedding with max_norm writes into its weight; posteriors have no sparse gradients.
    odd = isinstance(module, nn.Embedding) and (module.max_norm is not None or module.sparse)
    return passes[0] == passes[1] and set(module._parameters) == own and not hooked and not odd


def _frozen(module: nn.Module) -> bool:
    return not all(parameter.requires_grad for parameter in module.parameters())


def _left_alone(untouched: Mapping[str, nn.Module], fitting: Mapping[str, nn.Module]) -> str:
    names = [
        (name or "the network itself") + (" (frozen)" if name in fitting else "")
        for name in untouched
    ]
    recurrent = any(isinstance(one, nn.RNNBase | nn.RNNCellBase) for one in untouched.values())
    hint = ". Recurrent layers are converted after laconic.weights.linear_cells(net)"
    return f"left as they are: {', '.join(names)}{hint if recurrent else ''}"


def _nothing_to_convert(frozen: Mapping[str, nn.Module]) -> str:
    if frozen:
        return (
            f"every layer that could be converted is frozen ({', '.join(frozen)}): set "
            "requires_grad of its parameters to True, as by net.requires_grad_(True)"
        )
    kinds = ", ".join(kind.__name__ for kind in SUPPORTED)
    return f"the network has no layer to convert: none of {kinds}"


def _within(name: str, skip: tuple[str, ...]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in skip)


def _refuse(
    net: nn.Module, modules: Mapping[str, nn.Module], skip: tuple[str, ...]
) -> frozenset[str]:
    """Check a network before conversion; returns names of modules that share a tensor."""
    unknown = [name for name in skip if name not in modules]
    if unknown:
        raise InputError(f"skip: the network has no module {unknown[0]!r}")
    if isinstance(net, SUPPORTED):
        raise InputError("give a network, not a single layer: put it into nn.Sequential")
    owners: dict[int, list[tuple[str, str]]] = {}
    for name, module in modules.items():
        if isinstance(module, ProbabilisticLayer):
            raise InputError(f"{name!r} has been converted before")
        for part, parameter in module.named_parameters(recurse=False):
            owners.setdefault(id(parameter), []).append((name, part))
            refuse_numbers(f"{name}.{part}" if name else part, parameter)
    for places in owners.values():
        _refuse_tied(places, modules, skip)
    return frozenset(name for places in owners.values() if len(places) > 1 for name, _ in places)


def _refuse_tied(
    places: Sequence[tuple[str, str]], modules: Mapping[str, nn.Module], skip: tuple[str, ...]
) -> None:
    """Refuse a tensor of several layers, by layer and part, if one of them would be converted.

    A converted layer has its own posterior, so that the tie would be lost. Tied embeddings are not
    converted.
    """
    layers = [name for name, _ in places]
    lost = [
        name
        for name in layers
        if _convertible(modules[name])
        and not _within(name, skip)
        and not isinstance(modules[name], nn.Embedding)
    ]
    if len(layers) > 1 and lost:
        names = " and ".join(f"{name}.{part}" if name else part for name, part in places)
        raise InputError(
            f"{names} are one tensor in {len(layers)} layers, and a converted layer shares no "
            f"tensor: leave these layers as they are with skip={(*skip, *lost)!r}, or untie them"
        )
