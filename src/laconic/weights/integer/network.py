"""A network trained by relaxed quantisation, in integers: the same output bits on every machine.

Weights and activations are the integers of their grids, in float64 tensors. Sums of products stay
below 2^53, so that float64 adds them exactly and in any order. Between two layers a sum is
multiplied by an integer and shifted to the next grid. No float decides a rounding.

A sum is scaled to the next grid immediately, together with the batch norm behind it, and before the
rectifier and the pooling that follow. Both orders give the same result, since rounding is monotone
and keeps zero.

Source: Louizos 8.2 (grids without an offset); `networks/fixed_point` has networks that were not
trained on grids.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from laconic.distributions.relaxed_draw import round_half_up
from laconic.distributions.relaxed_grid import Rounding
from laconic.errors import ConfigError, InputError
from laconic.networks.fixed_point.arithmetic import EXACT
from laconic.weights.base import FORWARD
from laconic.weights.integer.grids import GridLayer, grid_layer
from laconic.weights.layers import ProbabilisticLayer
from laconic.weights.pruning.smaller import Select

LAYERS: tuple[type[nn.Module], ...] = (ProbabilisticLayer, *FORWARD)
NORMS = nn.BatchNorm1d | nn.BatchNorm2d
IDLE = nn.Identity | nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d
"""Modules that change nothing in evaluation mode."""

LOGIT_BITS = 16
"""Logits are in units of 2^-16 of the last layer's product of steps, for a precise bias."""

TOLERANCE = 2.0**-10
"""Largest error, in steps of the next grid, of a number before it is rounded."""

OFF_GRID = 1e-3
"""Largest distance of an input from a multiple of its step, in steps; float32 rounds, too."""

PIECE = 2**24
"""Numbers of an unfolded convolution in memory at a time; does not change the result."""


@dataclass(frozen=True, eq=False)
class Scale:
    """Integers to integers: clip, multiply, add, shift, round half up, clip.

    Attributes:
        factor: integers, one for all outputs or one for each.
        offset: integers, one for every output; includes half a unit for the rounding.
        shift: number of bits.
        limit: sums are first clipped to +-limit, one for all outputs or one for each; for larger
            sums the result is at an end of its range.
        low: smallest result.
        high: largest result.
    """

    factor: Tensor
    offset: Tensor
    shift: int
    limit: Tensor
    low: float
    high: float

    @classmethod
    def to_grid(
        cls, ratio: Tensor, offset: Tensor, low: float, high: float, largest_sum: float = math.inf
    ) -> "Scale":
        """The most precise `clip(round(ratio x + offset))` that float64 computes exactly.

        Args:
            ratio: units of x over units of the result, shape `(1,)` or `(outputs,)`; with a batch
                norm it may be negative or 0.
            offset: in units of the result, shape `(outputs,)`.
            low: smallest result, finite.
            high: largest result.
            largest_sum: bound on the size of x, if known.

        Raises:
            ConfigError: a result could err by more than `TOLERANCE` before it is rounded.
        """
        largest = float(offset.abs().max())
        limit = torch.ceil((max(-low, high) + largest + 2) / ratio.abs())
        limit = torch.where(ratio == 0, 0.0, limit)
        # A quarter of the exact range, since factor and offset are rounded.
        reach = float((limit * ratio.abs()).max())
        shift = math.frexp(EXACT / 4 / (reach + largest + 1))[1] - 1
        counting = min(float(limit.max()), largest_sum)
        if counting * 2.0 ** -(shift + 1) > TOLERANCE:
            raise ConfigError(
                f"a layer's sums of up to {counting:.3g} that count cannot be taken to a grid from "
                f"{low:.0f} to {high:.0f} in exact integers: use fewer bits"
            )
        whole = round_half_up(offset * 2.0**shift) + 2.0 ** (shift - 1)
        return cls(round_half_up(ratio * 2.0**shift), whole, shift, limit, low, high)

    @classmethod
    def to_logits(cls, offset: Tensor) -> "Scale":
        """`x + offset` in 2^-LOGIT_BITS of the unit of x; the offset is rounded to that."""
        factor, limit = offset.new_full((1,), 2.0**LOGIT_BITS), offset.new_full((1,), math.inf)
        whole = round_half_up(offset * 2.0**LOGIT_BITS)
        return cls(factor, whole, 0, limit, -math.inf, math.inf)

    def __call__(self, x: Tensor) -> Tensor:
        """`(batch, outputs, ...)` to the same shape."""
        shape = -1, *[1] * (x.ndim - 2)
        factor, offset, limit = (one.view(shape) for one in (self.factor, self.offset, self.limit))
        scaled = x.clamp(-limit, limit) * factor + offset
        return torch.floor(scaled * 2.0**-self.shift).clamp(self.low, self.high)


@dataclass(frozen=True, eq=False)
class IntegerLayer:
    """A linear layer or a convolution, and the scaling to the next grid.

    Attributes:
        layer: its kind, stride and padding; its numbers are not used.
        weight: integers, the layer's shape.
        scale: of sums to the next grid, or to logits.
    """

    layer: nn.Linear | nn.Conv2d
    weight: Tensor
    scale: Scale

    def __call__(self, x: Tensor) -> Tensor:
        """Integers `(batch, inputs, ...)` to integers of the next grid."""
        if isinstance(self.layer, nn.Linear):
            return self.scale(x @ self.weight.T)
        unfolded = x[0].numel() * self.weight[0, 0].numel()
        pieces = torch.split(x, max(1, PIECE // unfolded))
        return torch.cat([self.scale(_convolve(self.layer, self.weight, x)) for x in pieces])


@dataclass(frozen=True)
class Inputs:
    """The grid of a network's inputs.

    Attributes:
        step: unit of the inputs.
        low: smallest input in units.
        high: largest input in units.
        snap: whether inputs are rounded and clipped, as the first layer does; otherwise they must
            be on the grid.
    """

    step: float
    low: float
    high: float
    snap: bool

    def units(self, x: Tensor) -> Tensor:
        """Floats to integers.

        Raises:
            InputError: inputs are not on the grid.
        """
        scaled = x.double() / self.step
        units = round_half_up(scaled)
        if self.snap:
            return units.clamp(self.low, self.high)
        if not bool(((scaled - units).abs() <= OFF_GRID).all()):
            raise InputError(
                f"inputs are not multiples of {self.step:.6g}: give their step as input_step, or "
                "train with input_bits"
            )
        if bool((units < self.low).any()) or bool((units > self.high).any()):
            raise InputError(
                f"inputs are not in {self.low * self.step:.6g} to {self.high * self.step:.6g}: "
                "raise input_limit"
            )
        return units


@dataclass(frozen=True, eq=False)
class IntegerNetwork:
    """A sequence of layers in integers; made by `integer_network`.

    Attributes:
        inputs: grid of its inputs.
        steps: layers, and the rectifiers, poolings and flattenings between them.
        unit: unit of the logits.
    """

    inputs: Inputs
    steps: tuple[IntegerLayer | nn.Module, ...]
    unit: float

    @torch.no_grad()
    def integers(self, x: Tensor) -> Tensor:
        """Logits in units, integers in float64.

        Args:
            x: input of the quantised network.

        Raises:
            InputError: inputs are not on their grid.
        """
        x = self.inputs.units(x)
        for step in self.steps:
            x = step(x)
        return x

    def __call__(self, x: Tensor) -> Tensor:
        """Logits in float64: integers times the unit, rounded once."""
        return self.integers(x) * self.unit


def integer_network(
    net: nn.Module, input_step: float = 1 / 255, input_limit: int = 255
) -> IntegerNetwork:
    """The integer network that computes what a quantised network computes in evaluation mode.

    Activations are the same, except where a float of the quantised network is within its rounding
    error of the middle between two points of a grid. Then logits are equal within 2^-17 of the
    product of the last layer's two steps.

    Args:
        net: `nn.Sequential`, nested or not, of linear layers, 2-D convolutions, batch norms right
            behind them, ReLU, MaxPool2d, Flatten and dropout, converted by relaxed quantisation
            with bits for weights and activations; or an ordinary network with the tensors of its
            file (`laconic.expand`); or the result of `smaller` on either.
        input_step: inputs are multiples of this, 1 / 255 for bytes over 255. Not used if the first
            layer quantises its input.
        input_limit: largest size of an input, in these steps.

    Raises:
        InputError: there are other modules, or layers or inputs that are not quantised.
        ConfigError: sums could be too large for exact integers in float64.

    Example:
        `logits = integer_network(net)(pictures)`
    """
    modules = _in_a_row(net)
    layers = [module for module in modules if isinstance(module, GridLayer)]
    if not layers:
        raise InputError("the network has no layer on a grid: convert and train it with 'rq' first")
    inputs = (
        Inputs(input_step, -float(input_limit), float(input_limit), snap=False)
        if layers[0].inputs is None
        else _as_inputs(layers[0])
    )
    grids = [inputs, *(_as_inputs(layer) for layer in layers[1:])]
    steps: list[IntegerLayer | nn.Module] = []
    unit, count = 1.0, 0
    for module in modules:
        if isinstance(module, GridLayer):
            after = grids[count + 1] if count + 1 < len(grids) else None
            unit = grids[count].step * module.step
            steps.append(_integer_layer(module, grids[count], after))
            count += 1
        else:
            steps.append(module)
    return IntegerNetwork(inputs, tuple(steps), unit * 2.0**-LOGIT_BITS)


@torch.no_grad()
def _integer_layer(module: GridLayer, given: Inputs, after: Inputs | None) -> IntegerLayer:
    shell, weight, bias = module.layer, module.weight, module.bias
    assert isinstance(shell, nn.Linear | nn.Conv2d)
    unit = given.step * module.step
    offset = weight.new_zeros(len(weight)) if bias is None else bias.detach().double()
    worst = float(weight.abs().flatten(1).sum(1).max()) * max(-given.low, given.high)
    largest = float(offset.abs().max()) / unit
    sums = worst if after is not None else (worst + largest) * 2.0**LOGIT_BITS
    if not sums < EXACT / 2:
        raise ConfigError(
            f"a layer's sums reach 2^{math.log2(sums):.0f}, too large for exact integers: use "
            "fewer bits"
        )
    if after is None:
        if module.gain is not None:
            raise InputError("no integer version of a batch norm behind the last layer")
        return IntegerLayer(shell, weight, Scale.to_logits(offset / unit))
    gain = weight.new_ones(1) if module.gain is None else module.gain
    scale = Scale.to_grid(
        gain * unit / after.step, offset / after.step, after.low, after.high, worst
    )
    return IntegerLayer(shell, weight, scale)


def _convolve(layer: nn.Conv2d, weight: Tensor, x: Tensor) -> Tensor:
    """A convolution as a matrix product: other algorithms do not keep integers exact."""
    x = functional.pad(x, layer._reversed_padding_repeated_twice)
    columns = functional.unfold(x, layer.kernel_size, layer.dilation, 0, layer.stride)
    columns = columns.view(len(x), layer.groups, -1, columns.shape[-1])
    sums = weight.reshape(layer.groups, -1, columns.shape[2]) @ columns
    size = [
        (length - dilation * (kernel - 1) - 1) // stride + 1
        for length, dilation, kernel, stride in zip(
            x.shape[2:], layer.dilation, layer.kernel_size, layer.stride, strict=True
        )
    ]
    return sums.reshape(len(x), -1, *size)


def _in_a_row(net: nn.Module) -> list[nn.Module | GridLayer]:
    """The modules of a network in order; a rounding is part of the layer behind it."""
    found: list[nn.Module | GridLayer] = []
    rounding: Rounding | None = None
    for module in _leaves(net):
        if isinstance(module, Rounding):
            rounding = module
        elif isinstance(module, LAYERS):
            found.append(grid_layer(module, rounding))
            rounding = None
        elif rounding is not None and not isinstance(module, Select):
            raise InputError(f"no integer version of a rounding before {type(module).__name__}")
        elif isinstance(module, NORMS):
            before = found.pop() if found else None
            if not isinstance(before, GridLayer):
                raise InputError(f"no integer version of {module}: there is no layer before it")
            found.append(before.normed(module))
        else:
            found.append(module)
    return found


def _leaves(net: nn.Module) -> list[nn.Module]:
    """The modules of nested sequences in order; refuses those without an integer version."""
    if isinstance(net, nn.Sequential):
        return [module for part in net for module in _leaves(part)]
    if isinstance(net, IDLE):
        return []
    if isinstance(net, LAYERS):
        shell = net.shell if isinstance(net, ProbabilisticLayer) else net
        zeros = isinstance(shell, nn.Conv2d) and shell.padding_mode == "zeros"
        if isinstance(shell, nn.Linear) or zeros:
            return [net]
        raise InputError(f"no integer version of {shell}: only Linear, and Conv2d padded by zeros")
    if isinstance(net, nn.ReLU | nn.Flatten | Rounding | Select | NORMS):
        return [net]
    if isinstance(net, nn.MaxPool2d) and not net.return_indices:
        return [net]
    raise InputError(
        f"no integer version of {type(net).__name__}: the network must be nn.Sequential of "
        "converted Linear and Conv2d layers, batch norms, ReLU, MaxPool2d, Flatten and dropout"
    )


def _as_inputs(layer: GridLayer) -> Inputs:
    grid = layer.inputs
    if grid is None:
        raise InputError("a layer's inputs are not quantised: convert with activation_bits")
    low, high = float(grid.low), float(grid.high)
    if not high > low:
        raise InputError("the range of a layer's inputs is not known yet: train or calibrate first")
    return Inputs(float(grid.step.detach()), low, high, snap=True)
