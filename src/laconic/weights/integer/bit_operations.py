"""Bit operations of a network: the cost of its multiplications on hardware for few bits.

A converted network has grids. In an ordinary one, as `laconic.expand` gives it, weights that are
multiples of one step take the bits of the largest multiple, perhaps fewer than training allowed;
inputs take the bits of the rounding before the layer.

Source: Baskin et al. 2018 (UNIQ), the count that Louizos 8.4.2 compares networks by.
"""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from laconic.distributions.relaxed_grid import Rounding
from laconic.errors import InputError
from laconic.training.modes import evaluation
from laconic.weights.base import FORWARD, TRANSPOSED
from laconic.weights.integer.grids import multiples
from laconic.weights.layers import ProbabilisticLayer, replaced
from laconic.weights.methods.relaxed_quantization import RelaxedPosterior

FULL_PRECISION = 32
"""Bits of a number that is not quantised."""

COUNTED: tuple[type[nn.Module], ...] = (*FORWARD, *TRANSPOSED)
"""Layers that multiply."""


@dataclass(frozen=True)
class LayerCost:
    """One layer, for one example.

    Attributes:
        multiply_adds: number of products.
        fan_in: number of products in one sum.
        weight_bits: bits of a weight.
        activation_bits: bits of an input.
    """

    multiply_adds: int
    fan_in: int
    weight_bits: int = FULL_PRECISION
    activation_bits: int = FULL_PRECISION

    @property
    def bit_operations(self) -> float:
        """Formula: multiply_adds (b_w b_a + b_w + b_a + log2 fan_in).

        A product of b_w by b_a bits, and an addition to a sum with as many bits as it can need.
        """
        weight, activation = self.weight_bits, self.activation_bits
        adder = weight + activation + math.log2(self.fan_in)
        return self.multiply_adds * (weight * activation + adder)


@torch.no_grad()
def layer_costs(
    net: nn.Module, example: Tensor, input_bits: int = FULL_PRECISION
) -> dict[str, LayerCost]:
    """The cost of every linear and convolutional layer for one example.

    Args:
        net: ordinary or converted.
        example: a batch of inputs.
        input_bits: bits of the network's own input, 8 for a picture. It is taken to be the input of
            the layer that was registered first, unless that layer quantises its input.

    Returns:
        Costs by the layer's name; for a layer in several places their sum.

    Raises:
        InputError: the network has no such layer.
    """
    layers: dict[str, nn.Module] = {
        name: module
        for name, module in net.named_modules()
        if isinstance(replaced(module), COUNTED) and not name.endswith(".shell")
    }
    if not layers:
        raise InputError("the network has no linear or convolutional layer to count")
    costs: dict[str, LayerCost] = {}
    first = next(iter(layers))

    rounded: tuple[Tensor | None, int] = (None, FULL_PRECISION)

    def see(module: Rounding, given: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal rounded
        rounded = output, _bits(float(module.low), float(module.high))

    def count(name: str, layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        fan_in, weight_bits, activation_bits = _precision(layer)
        if given[0] is rounded[0]:
            activation_bits = rounded[1]
        if name == first and activation_bits == FULL_PRECISION:
            activation_bits = input_bits
        before = costs[name].multiply_adds if name in costs else 0
        outputs = output.numel() // len(output)
        products = outputs * fan_in
        if isinstance(replaced(layer), TRANSPOSED):  # Every input is multiplied by a row.
            products = given[0].numel() // len(given[0]) * fan_in
            fan_in = max(1, round(products / outputs))
        costs[name] = LayerCost(before + products, fan_in, weight_bits, activation_bits)

    handles = [layer.register_forward_hook(partial(count, name)) for name, layer in layers.items()]
    handles += [m.register_forward_hook(see) for m in net.modules() if isinstance(m, Rounding)]
    with evaluation(net):
        try:
            net(example)
        finally:
            for handle in handles:
                handle.remove()
    return costs


def bit_operations(net: nn.Module, example: Tensor, input_bits: int = FULL_PRECISION) -> float:
    """Bit operations of a network for one example; see `layer_costs`."""
    costs = layer_costs(net, example, input_bits)
    return sum(cost.bit_operations for cost in costs.values())


def _precision(layer: nn.Module) -> tuple[int, int, int]:
    """Numbers in a row of the weight, bits of a weight, bits of an input."""
    if not isinstance(layer, ProbabilisticLayer):
        assert isinstance(layer.weight, Tensor)
        integers, step = multiples(layer.weight)
        bits = _bits(float(integers.min()), float(integers.max())) if step else FULL_PRECISION
        return layer.weight[0].numel(), bits, FULL_PRECISION
    posterior = layer.posterior
    fan_in = layer.point().weight[0].numel()
    if not isinstance(posterior, RelaxedPosterior):
        return fan_in, FULL_PRECISION, FULL_PRECISION
    weights, inputs = posterior.weight_grid, posterior.input_grid
    return (
        fan_in,
        FULL_PRECISION if weights is None else weights.bits,
        FULL_PRECISION if inputs is None else inputs.bits,
    )


def _bits(low: float, high: float) -> int:
    """The fewest bits of a signed grid that holds both, or of an unsigned one if `low` is 0."""
    if low >= 0:
        return max(1, math.ceil(math.log2(high + 1)))
    return 1 + math.ceil(math.log2(max(-low, high + 1)))
