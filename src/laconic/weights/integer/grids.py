"""Layers whose weights are integers times a step, of a converted network or of an expanded file.

An expanded file has the steps of inputs, but of weights only their values. The step that all of
them are multiples of is found from these values, in most cases exactly.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from laconic.distributions.relaxed_grid import RelaxedGrid, Rounding
from laconic.errors import InputError
from laconic.weights.layers import ProbabilisticLayer
from laconic.weights.methods.relaxed_quantization import BITS, RelaxedPosterior

LARGEST = 2 ** (BITS[-1] - 1)
"""Largest multiple of its step that a weight may be."""

OFF_GRID = 0.01
"""Largest distance of a weight from a multiple, in steps; float32 needs a quarter of it."""


@dataclass(frozen=True, eq=False)
class GridLayer:
    """A linear or convolutional layer on a grid.

    Attributes:
        layer: its kind, stride and padding; its numbers are not used.
        weight: integers in float64, the layer's shape.
        step: unit of the integers.
        bias: on a grid or not, shape `(outputs,)`.
        inputs: the grid that inputs are rounded to, or None.
        gain: factor of a batch norm behind the layer on the products, not on the bias; shape
            `(outputs,)`.
    """

    layer: nn.Module
    weight: Tensor
    step: float
    bias: Tensor | None
    inputs: RelaxedGrid | Rounding | None
    gain: Tensor | None = None

    @torch.no_grad()
    def normed(self, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> "GridLayer":
        """This layer and a batch norm in evaluation mode as one layer.

        Raises:
            InputError: the norm has no statistics, or there is a norm already.
        """
        mean, variance = norm.running_mean, norm.running_var
        if mean is None or variance is None:
            raise InputError(f"no integer version of {norm}: it must have running statistics")
        if self.gain is not None:
            raise InputError(f"no integer version of {norm}: another batch norm is right before it")
        # All machines round a root and a quotient alike, but not an rsqrt.
        gain = 1 / (variance.double() + norm.eps).sqrt()
        shift = -mean.double() * gain
        if norm.affine:
            weight, bias = norm.weight.double(), norm.bias.double()
            gain, shift = weight * gain, weight * shift + bias
        own = 0.0 if self.bias is None else self.bias.double()
        return replace(self, bias=own * gain + shift, gain=gain)


@torch.no_grad()
def grid_layer(module: nn.Module, rounding: Rounding | None = None) -> GridLayer:
    """The integers and grids of a layer.

    Args:
        module: a converted layer, or an ordinary one with multiples of a step.
        rounding: rounding of the inputs before an ordinary layer.

    Raises:
        InputError: it was converted by another method, or its weights are not on a grid.
    """
    if not isinstance(module, ProbabilisticLayer):
        assert isinstance(module.weight, Tensor)
        integers, step = multiples(module.weight)
        if not step:
            raise InputError(
                f"the weights of {module} are not multiples of a step: train with 'rq' first"
            )
        bias = module.bias if isinstance(module.bias, Tensor) else None
        return GridLayer(module, integers, step, bias, rounding)
    posterior = module.posterior
    if not isinstance(posterior, RelaxedPosterior):
        raise InputError("a layer was converted by another method than 'rq'")
    grid = posterior.weight_grid
    if grid is None:
        raise InputError("a layer's weights are not quantised: convert with weight_bits")
    weight = grid.integers(posterior.mean).double()
    bias = posterior.point().bias
    return GridLayer(module.shell, weight, float(grid.step), bias, posterior.input_grid)


@torch.no_grad()
def multiples(weight: Tensor) -> tuple[Tensor, float]:
    """Numbers as integers times the largest step that they are all multiples of.

    Args:
        weight: floats of any shape.

    Returns:
        Integers in float64 and the step. The step is 1 if all numbers are zero, and 0 if there is
        no step with multiples of at most `LARGEST`.
    """
    values = torch.unique(weight.double().abs())
    values = values[values > 0]
    if not len(values):
        return torch.zeros_like(weight, dtype=torch.float64), 1.0
    # The smallest number is a multiple, too: the step is the number over an integer.
    for part in range(1, LARGEST + 1):
        scaled = values * (part / values[0])
        counts = scaled.round()
        if float(counts[-1]) > LARGEST:
            break
        if bool(((scaled - counts).abs() <= OFF_GRID).all()):
            step = _exact(values, counts, weight.dtype)
            return (weight.double() / step).round(), step
    return torch.zeros_like(weight, dtype=torch.float64), 0.0


def _exact(values: Tensor, counts: Tensor, dtype: torch.dtype) -> float:
    """The step whose products are exactly these values, if there is one; else the nearest."""
    step = (values[-1] / counts[-1]).to(dtype)
    ends = torch.full_like(step, -torch.inf), torch.full_like(step, torch.inf)
    for one in (step, *(torch.nextafter(step, end) for end in ends)):
        if torch.equal(counts.to(dtype) * one, values.to(dtype)):
            return float(one)
    return float(values[-1] / counts[-1])
