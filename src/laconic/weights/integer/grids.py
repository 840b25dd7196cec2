"""Layers whose weights are integers times a step: of a converted network, or of its file.

A file says the steps of inputs, but only the weights themselves; a step of which all of them are
multiples is found again from their values, in most cases to the bit.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from laconic.distributions.relaxed_grid import RelaxedGrid, Rounding
from laconic.errors import InputError
from laconic.weights.layers import ProbabilisticLayer
from laconic.weights.methods.relaxed_quantization import BITS, RelaxedPosterior

LARGEST = 2 ** (BITS[-1] - 1)
"""No weight is a larger multiple of its step."""

OFF_GRID = 0.01
"""Weights may be so far from a multiple, in steps: float32 rounds by a quarter of it at most."""


@dataclass(frozen=True, eq=False)
class GridLayer:
    """A linear or convolutional layer on a grid.

    Attributes:
        layer: its kind, stride and padding; its numbers do not count.
        weight: integers in float64, the layer's shape.
        step: their unit.
        bias: on a grid or not, shape `(outputs,)`.
        inputs: the grid that inputs are rounded to, if they are.
        gain: of a batch norm behind it, on the products but not the bias; shape `(outputs,)`.
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
            raise InputError(f"no integer version of {norm}: it must have statistics of its own")
        if self.gain is not None:
            raise InputError(f"no integer version of {norm}: one stands right before it")
        # Root and quotient, which every machine rounds alike; an rsqrt need not be.
        gain = 1 / (variance.double() + norm.eps).sqrt()
        shift = -mean.double() * gain
        if norm.affine:
            weight, bias = norm.weight.double(), norm.bias.double()
            gain, shift = weight * gain, weight * shift + bias
        own = 0.0 if self.bias is None else self.bias.double()
        return replace(self, bias=own * gain + shift, gain=gain)


@torch.no_grad()
def grid_layer(module: nn.Module, rounding: Rounding | None = None) -> GridLayer:
    """What is known of a layer.

    Args:
        module: a converted layer, or an ordinary one with multiples of a step.
        rounding: what stands before an ordinary one.

    Raises:
        InputError: it was converted by another method, or its weights are on no grid.
    """
    if not isinstance(module, ProbabilisticLayer):
        assert isinstance(module.weight, Tensor)
        integers, step = multiples(module.weight)
        if not step:
            raise InputError(
                f"the weights of {module} are on no grid: convert and train with 'rq' first"
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
    """Write numbers as integers times the largest step that they share.

    Args:
        weight: floats of any shape.

    Returns:
        Integers in float64 and the step: 1 where all are zero, 0 where they share none of which
        they are multiples of at most `LARGEST`.
    """
    values = torch.unique(weight.double().abs())
    values = values[values > 0]
    if not len(values):
        return torch.zeros_like(weight, dtype=torch.float64), 1.0
    # The smallest is a multiple, too, so that the step is a whole part of it.
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
    """The step whose products are these very values, if the type has one; else the nearest."""
    step = (values[-1] / counts[-1]).to(dtype)
    ends = torch.full_like(step, -torch.inf), torch.full_like(step, torch.inf)
    for one in (step, *(torch.nextafter(step, end) for end in ends)):
        if torch.equal(counts.to(dtype) * one, values.to(dtype)):
            return float(one)
    return float(values[-1] / counts[-1])
