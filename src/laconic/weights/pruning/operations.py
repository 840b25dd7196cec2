"""How many floating point operations a network takes, on average over what may be pruned.

A weight is worth its operations only if something comes in, something asks for what comes out, and
it is not zero itself. All three are probabilities here: one run through the network carries from
layer to layer how probable it is that a channel says anything, and a gradient carries back how
probable it is that a channel is asked for.

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

    Of a converted network on average over its gates, of an ordinary one by its zeros. Exact where
    gates are independent and each channel goes one way through modules (rectifiers, pooling,
    normalisation, flattening) or reshaping. Where ways meet, as in residual sums, a channel says
    something with at most the sum of the probabilities. What is not a linear or convolutional
    layer costs nothing, nor does an output that only constants reach.

    Args:
        net: the network; its mode is put back.
        example: a batch of inputs; only its shape and type count, after the first axis.

    Returns:
        Operations by the layer's name; 0 for a layer that is not used.

    Raises:
        InputError: the network has no layer to count, gives something else than a tensor, or
            changes numbers in place that its gradients need.

    Formula: places sum_o asked_o (2 products_o - said_o + said_o where there is a bias).
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
        raise InputError(f"the network gives a {type(result).__name__}, and not one tensor")
    counts = dict.fromkeys(layers, 0.0)
    for use, asked in zip(uses, _asked(uses, result), strict=True):
        counts[use.name] += use.operations(asked)
    return counts


@dataclass
class _Use:
    """One call of a layer.

    Attributes:
        name: the layer's.
        channel: axis of the channels in its input and output.
        said: probability that an input says anything, shape `(groups, inputs of a group)`.
        rows: expected open weights between channels, `(groups, outputs of a group, inputs of one)`.
        speaks: probability that an output is more than a constant, shape `(outputs,)`.
        demand: what the layer adds to the demand for what it was given; see `_asked`.
        output: stands for the output; its gradient is the demand for it.
        bias: whether one is added.
        places: how often every weight is used: at each position of the output, or of the input of
            a transposed convolution.
    """

    name: str
    channel: int
    said: Tensor
    rows: Tensor
    speaks: Tensor
    demand: Tensor
    output: Tensor
    bias: bool
    places: float

    def operations(self, asked: Tensor) -> float:
        """The formula of `expected_operations`; an output without a product is a constant."""
        products = torch.einsum("goi,gi->go", self.rows, self.said)
        outputs = self.output.numel() / self.output.shape[self.channel]
        first = 0 if self.bias else outputs * self.speaks
        return float((asked * (2 * self.places * products.flatten() - first)).sum())


def _use(name: str, layer: nn.Module, x: Tensor, output: Tensor) -> _Use:
    nonzero, shape, bias, groups = _numbers(layer)
    channel = -1 if len(shape) == 2 else 1
    said = _over_channels(x.detach(), channel).amax(1).clamp(0, 1).double()
    said = said.view(groups, shape[1])
    # Gates that weights share must count once: they are combined before they are spread out.
    closed = torch.log1p(-nonzero.clamp(max=CERTAIN))
    speaks = _speaks(closed, said, shape)
    parts = groups if len(closed) > 1 else 1
    wanted = -closed.reshape(parts, -1, closed.shape[1], closed[0, 0].numel()).sum((1, 3))
    demand = (_over_channels(x, channel).mean(1) * wanted.expand_as(said).flatten()).sum()
    rows = nonzero.expand(shape).reshape(groups, -1, shape[1], shape[2:].numel()).sum(3)
    spread = [1] * output.dim()
    spread[channel] = -1
    stand_in = speaks.to(output).view(spread).expand_as(output).clone().requires_grad_()
    counted = x if isinstance(replaced(layer), TRANSPOSED) else output
    places = counted.numel() / counted.shape[channel]
    return _Use(name, channel, said, rows, speaks, demand, stand_in, bias, places)


def _speaks(closed: Tensor, said: Tensor, shape: torch.Size) -> Tensor:
    """Probability that an open weight meets an input that says something, shape `(outputs,)`.

    Args:
        closed: log P(w = 0), as far as it is spread out.
        said: of the inputs, which are taken as independent; shape `(groups, inputs of a group)`.
        shape: of the weight.
    """
    opens = -torch.expm1(closed.reshape(len(closed), closed.shape[1], -1).sum(2))
    if opens.shape[1] < shape[1]:  # one gate for all inputs of an output
        return opens.flatten() * _any(said).repeat_interleave(shape[0] // len(said))
    if len(opens) < shape[0]:  # gates on inputs: all outputs alike
        return _any(opens * said).expand(shape[0])
    return _any(opens.view(len(said), -1, shape[1]) * said[:, None]).flatten()


def _asked(uses: list[_Use], result: Tensor) -> list[Tensor]:
    """Probability that somebody asks for an output, per channel.

    Whoever asks with probability p adds -log(1 - p) to a sum: then the sum's gradients add up, and
    1 - exp(-gradient) is the probability that anybody asks. The network's user asks for certain.
    """
    outputs = [use.output for use in uses]
    total = torch.stack([use.demand for use in uses]).sum()
    inner = _gradients(total, torch.ones_like(total), outputs)
    # Uneven weights: a softmax would let nothing through for even ones.
    weights = torch.linspace(1, 2, result.numel()).to(result).view_as(result)
    outer = _gradients(result, weights, outputs)
    asked = []
    for use, within, without in zip(uses, inner, outer, strict=True):
        share = -torch.expm1(-_over_channels(within, use.channel).sum(1).double())
        user = _over_channels(without, use.channel).abs().sum(1) > 0
        asked.append(torch.where(user, 1.0, share))
    return asked


def _gradients(value: Tensor, weights: Tensor, outputs: list[Tensor]) -> list[Tensor]:
    if not value.requires_grad:
        return [torch.zeros_like(output) for output in outputs]
    try:
        found = torch.autograd.grad(value, outputs, weights, retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        raise InputError(
            "the network changes numbers in place that its gradients need, so that it could not be "
            f"trained either: write these operations without in-place changes ({error})"
        ) from error
    return [
        torch.zeros_like(output) if gradient is None else gradient
        for gradient, output in zip(found, outputs, strict=True)
    ]


@contextmanager
def _probabilities(
    net: nn.Module, modules: dict[str, nn.Module], layers: dict[str, nn.Module], uses: list[_Use]
) -> Iterator[None]:
    """While this lasts, probabilities go through the network in place of numbers."""

    def count(name: str, layer: nn.Module, given: tuple[Any, ...], output: Tensor) -> Tensor:
        uses.append(_use(name, layer, given[0], output))
        return uses[-1].output.clone()  # which functions may change in place

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
    """What other modules do to a probability: those that keep the shape, nothing at all."""
    if not isinstance(output, Tensor) or not given or not isinstance(given[0], Tensor):
        return output
    if output.shape == given[0].shape:
        return given[0]
    has_numbers = any(True for _ in module.parameters())
    return torch.ones_like(output) if has_numbers else output


def _outer_modules(net: nn.Module) -> dict[str, nn.Module]:
    """All modules but the parts of converted layers."""
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
    """P(w != 0) as far as it is spread out, the weight's shape, whether biased, groups."""
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
    """Shape `(channels, all the rest)`."""
    return x.movedim(channel, 0).flatten(1)


def _any(probabilities: Tensor) -> Tensor:
    """Probability that one or more of independent events happen, over the last axis."""
    return -torch.expm1(torch.log1p(-probabilities.clamp(max=CERTAIN)).sum(-1))
