"""Expected floating point operations of a network, over the gates of its pruning method.

A weight takes operations only if it is not zero, its input is not constant and its output is
needed. All three are probabilities here. One forward pass propagates from layer to layer the
probability that a channel varies; one backward pass propagates the probability that a channel is
needed.

Source: Louizos 7.4 and figure 20; the published counts leave out groups and pruned inputs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from laconic.errors import InputError
from laconic.training.modes import evaluation
from laconic.weights.base import FORWARD, TRANSPOSED
from laconic.weights.layers import ProbabilisticLayer, replaced
from laconic.weights.pruning.cut_layer import groups_of, in_groups

CERTAIN = 1 - 1e-12
"""Probabilities are at most this where the complements of many are multiplied."""


def expected_operations(net: nn.Module, example: Tensor) -> dict[str, float]:
    """Multiplications and additions for one example, by layer; their sum is the network's.

    For a converted network the mean over its gates, for an ordinary one the count of its nonzero
    weights. Exact if gates are independent and every channel has one path through modules
    (rectifiers, pooling, normalisation, flattening) or reshaping. Where paths meet, as in residual
    sums, the probability that a channel varies is at most the sum of the paths'. Other modules than
    linear and convolutional layers cost nothing, and neither do constant outputs.

    Args:
        net: the network; its modules keep their modes.
        example: a batch of inputs; only its type and its shape behind the first axis count.

    Returns:
        Operations by the layer's name; 0 for a layer that is not used.

    Raises:
        InputError: the network has no layer to count, returns something else than a tensor, or
            changes numbers in place that its gradients need; or a converted layer has no point.

    Formula: places sum_o needed_o (2 products_o - varies_o + varies_o if there is a bias).
    """
    modules = _outer_modules(net)
    layers = {
        name: module
        for name, module in modules.items()
        if isinstance(replaced(module), (*FORWARD, *TRANSPOSED))
    }
    if not layers:
        raise InputError("the network has no linear or convolutional layer to count")
    uses: list[_Use] = []
    with _probabilities(net, modules, layers, uses), torch.enable_grad():
        start = torch.ones_like if example.is_floating_point() else torch.zeros_like  # an index
        result = net(start(example[:1]))
    if not isinstance(result, Tensor):
        raise InputError(
            f"the network returns a {type(result).__name__}: operations are counted for networks "
            "that return one tensor"
        )
    counts = dict.fromkeys(layers, 0.0)
    for use, needed in zip(uses, _needed(uses, result), strict=True):
        counts[use.name] += use.operations(needed)
    return counts


@dataclass
class _Use:
    """One call of a layer.

    Attributes:
        name: the layer's name.
        channel: axis of the channels in its input and output.
        inputs_vary: probability that an input varies, shape `(groups, inputs of a group)`.
        rows: expected nonzero weights between channels, shape `(groups, outputs of a group, inputs
            of a group)`.
        varies: probability that an output varies, shape `(outputs,)`.
        demand: what the layer adds to the demand for its input; see `_needed`.
        output: a copy of the output; its gradient is the demand for it.
        bias: whether a bias is added.
        places: number of positions where each weight is used: those of the output, or those of the
            input of a transposed convolution.
    """

    name: str
    channel: int
    inputs_vary: Tensor
    rows: Tensor
    varies: Tensor
    demand: Tensor
    output: Tensor
    bias: bool
    places: float

    def operations(self, needed: Tensor) -> float:
        """The formula of `expected_operations`; an output without products is constant."""
        products = torch.einsum("goi,gi->go", self.rows, self.inputs_vary)
        outputs = self.output.numel() / self.output.shape[self.channel]
        first = 0 if self.bias else outputs * self.varies
        return float((needed * (2 * self.places * products.flatten() - first)).sum())


def _use(name: str, layer: nn.Module, x: Tensor, output: Tensor) -> _Use:
    nonzero, shape, bias, groups = _numbers(layer)
    channel = -1 if len(shape) == 2 else 1
    inputs_vary = _over_channels(x.detach(), channel).amax(1).clamp(0, 1).double()
    inputs_vary = inputs_vary.view(groups, shape[1])
    # A gate that several weights share counts once: combine gates before they are expanded.
    closed = torch.log1p(-nonzero.clamp(max=CERTAIN))
    varies = _outputs_vary(closed, inputs_vary, shape)
    parts = groups if len(closed) > 1 else 1
    demanded = -closed.reshape(parts, -1, closed.shape[1], closed[0, 0].numel()).sum((1, 3))
    demand = (_over_channels(x, channel).mean(1) * demanded.expand_as(inputs_vary).flatten()).sum()
    rows = nonzero.expand(shape).reshape(groups, -1, shape[1], shape[2:].numel()).sum(3)
    spread = [1] * output.dim()
    spread[channel] = -1
    stand_in = varies.to(output).view(spread).expand_as(output).clone().requires_grad_()
    counted = x if isinstance(replaced(layer), TRANSPOSED) else output
    places = counted.numel() / counted.shape[channel]
    return _Use(name, channel, inputs_vary, rows, varies, demand, stand_in, bias, places)


def _outputs_vary(closed: Tensor, inputs_vary: Tensor, shape: torch.Size) -> Tensor:
    """Probability that a nonzero weight multiplies an input that varies, shape `(outputs,)`.

    Args:
        closed: log P(w = 0), before it is expanded to all weights.
        inputs_vary: probability that an input varies, inputs taken as independent; shape `(groups,
            inputs of a group)`.
        shape: of the weight.
    """
    opens = -torch.expm1(closed.reshape(len(closed), closed.shape[1], -1).sum(2))
    if opens.shape[1] < shape[1]:  # One gate for all inputs of an output.
        return opens.flatten() * _any(inputs_vary).repeat_interleave(shape[0] // len(inputs_vary))
    if len(opens) < shape[0]:  # Gates on inputs: the same for all outputs.
        return _any(opens * inputs_vary).expand(shape[0])
    return _any(opens.view(len(inputs_vary), -1, shape[1]) * inputs_vary[:, None]).flatten()


def _needed(uses: list[_Use], result: Tensor) -> list[Tensor]:
    """Probability that an output is needed, per channel.

    A layer that needs an input with probability p adds -log(1 - p) to a sum. The gradients of this
    sum add up, and 1 - exp(-gradient) is the probability that any layer needs the channel. The
    network's own output is needed with certainty.
    """
    outputs = [use.output for use in uses]
    total = torch.stack([use.demand for use in uses]).sum()
    inner = _gradients(total, torch.ones_like(total), outputs)
    # Unequal weights: equal ones have no gradient through a softmax.
    weights = torch.linspace(1, 2, result.numel()).to(result).view_as(result)
    outer = _gradients(result, weights, outputs)
    needed = []
    for use, within, without in zip(uses, inner, outer, strict=True):
        share = -torch.expm1(-_over_channels(within, use.channel).sum(1).double())
        user = _over_channels(without, use.channel).abs().sum(1) > 0
        needed.append(torch.where(user, 1.0, share))
    return needed


def _gradients(value: Tensor, weights: Tensor, outputs: list[Tensor]) -> list[Tensor]:
    if not value.requires_grad:
        return [torch.zeros_like(output) for output in outputs]
    try:
        found = torch.autograd.grad(value, outputs, weights, retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        raise InputError(
            "the network changes numbers in place that its gradients need, which training cannot "
            f"do either: write these operations without in-place changes ({error})"
        ) from error
    return [
        torch.zeros_like(output) if gradient is None else gradient
        for gradient, output in zip(found, outputs, strict=True)
    ]


@contextmanager
def _probabilities(
    net: nn.Module, modules: dict[str, nn.Module], layers: dict[str, nn.Module], uses: list[_Use]
) -> Iterator[None]:
    """Within this block, the network propagates probabilities in place of numbers."""

    def count(name: str, layer: nn.Module, given: tuple[Any, ...], output: Tensor) -> Tensor:
        uses.append(_use(name, layer, given[0], output))
        return uses[-1].output.clone()  # Functions may change it in place.

    in_place = [module for module in modules.values() if getattr(module, "inplace", None) is True]
    handles = [
        layer.register_forward_hook(partial(count, name)) for name, layer in layers.items()
    ] + [
        module.register_forward_hook(_pass_on)
        for name, module in modules.items()
        if name not in layers
        and (isinstance(module, ProbabilisticLayer) or not any(True for _ in module.children()))
    ]
    try:
        for module in in_place:
            module.inplace = False  # type: ignore[assignment]
        with evaluation(net):
            yield
    finally:
        for module in in_place:
            module.inplace = True  # type: ignore[assignment]
        for handle in handles:
            handle.remove()


def _pass_on(module: nn.Module, given: tuple[Any, ...], output: Any) -> Any:
    """Propagate probabilities through other modules: those that keep the shape change nothing."""
    if not isinstance(output, Tensor) or not given or not isinstance(given[0], Tensor):
        return output
    if output.shape == given[0].shape:
        return given[0]
    has_numbers = any(True for _ in module.parameters())
    return torch.ones_like(output) if has_numbers else output


def _outer_modules(net: nn.Module) -> dict[str, nn.Module]:
    """All modules except the parts of converted layers."""
    parts = {
        part
        for module in net.modules()
        if isinstance(module, ProbabilisticLayer)
        for part in module.modules()
        if part is not module
    }
    return {name: module for name, module in net.named_modules() if module not in parts}


@torch.no_grad()
def _numbers(layer: nn.Module) -> tuple[Tensor, torch.Size, bool, int]:
    """P(w != 0) before it is expanded, the weight's shape, whether there is a bias, groups."""
    if isinstance(layer, ProbabilisticLayer):
        point, nonzero = layer.point(), layer.posterior.nonzero().double()
        shape, bias, layer = point.weight.shape, point.bias is not None, layer.shell
    else:
        assert isinstance(layer.weight, Tensor)
        nonzero, shape = (layer.weight != 0).double(), layer.weight.shape
        bias = layer.bias is not None
    groups = groups_of(layer)
    if isinstance(layer, TRANSPOSED):
        if groups > 1:
            nonzero = nonzero.expand(shape)
            nonzero = in_groups(layer, nonzero).flatten(0, 1)
        else:
            nonzero = nonzero.transpose(0, 1)
        shape = torch.Size([groups * shape[1], shape[0] // groups, *shape[2:]])
    return nonzero, shape, bias, groups


def _over_channels(x: Tensor, channel: int) -> Tensor:
    """A view of shape `(channels, all other axes)`."""
    return x.movedim(channel, 0).flatten(1)


def _any(probabilities: Tensor) -> Tensor:
    """Probability that at least one of independent events happens, over the last axis."""
    return -torch.expm1(torch.log1p(-probabilities.clamp(max=CERTAIN)).sum(-1))
