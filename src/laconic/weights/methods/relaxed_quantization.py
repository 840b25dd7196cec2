"""Relaxed quantisation: networks are trained to have weights and activations on a coarse grid.

Every layer has a grid for its weights and one for its inputs; steps and noise are trained. Training
draws grid points, relaxed (RQ) or straight-through (RQ-ST); evaluation rounds. There is no penalty,
only the task's loss.

A layer's weights and its input are quantised. The source quantises the outputs of rectifiers.
Behind ReLU and pooling that gives the same input of the next layer, since rounding is monotone and
keeps zero, and inputs behind pooling need fewer draws. The network's input and its logits are not
quantised, as in the source.

Source: Louizos 8, appendix 10.6.1.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from laconic.distributions.relaxed_grid import (
    FULL_BITS,
    NOISE_RANGE,
    NOISE_START,
    RelaxedGrid,
    Rounding,
)
from laconic.errors import ConfigError, InputError
from laconic.training.modes import evaluation, restored_on_failure
from laconic.weights.base import SUPPORTED, Apply, LayerInfo, Point, StoredPosterior, WeightMethod
from laconic.weights.convert import replace_everywhere
from laconic.weights.layers import behind

BITS = range(2, 17)
"""Possible numbers of bits of a grid."""

STEP_NAME = ".rounding.step"
"""Suffix, behind the layer's name, of the tensor with the step of its inputs."""

LOW_BITS_RATE = 0.5
"""Relative learning rate of grids that are used in full, whose gradients are noisy (10.6.1)."""


@dataclass(frozen=True)
class RelaxedQuantization(WeightMethod):
    """Settings of relaxed quantisation.

    Attributes:
        weight_bits: bits of a weight; 0: weights are not quantised.
        activation_bits: bits of a layer's input, except the first layer's; 0: not quantised.
        input_bits: bits of the first layer's input; 0: not quantised.
        straight_through: RQ-ST: draw grid points, and take gradients from relaxed draws.
        quantise_bias: biases share the weights' grid, as in the source on MNIST.
        temperature: of the relaxation; None: the source's, 1 for 2 bits and 2 for more.
        learn_temperature: whether the temperature is a parameter.
        grid_rate: relative learning rate of steps and noise.
        noise: initial scale of the noise over the step. The source's third is for long training
            from scratch.
        narrow: the initial step is the one with the least rounding error. Otherwise it covers the
            whole range, as in the source. For few bits and trained networks.
    """

    name: ClassVar[str] = "rq"
    weight_bits: int = 4
    activation_bits: int = 0
    input_bits: int = 0
    straight_through: bool = False
    quantise_bias: bool = True
    temperature: float | None = None
    learn_temperature: bool = False
    grid_rate: float = 1.0
    noise: float = NOISE_START
    narrow: bool = False

    def __post_init__(self) -> None:
        for name in ("weight_bits", "activation_bits", "input_bits"):
            bits = getattr(self, name)
            if bits and bits not in BITS:
                raise ConfigError(f"{name}: {bits} is neither 0 nor {BITS[0]} to {BITS[-1]}")
        if self.temperature is not None and not self.temperature > 0:
            raise ConfigError(f"temperature: {self.temperature} is not above 0")
        if not NOISE_RANGE[0] <= self.noise <= NOISE_RANGE[1]:
            raise ConfigError(f"noise: {self.noise} is not in {NOISE_RANGE[0]} to {NOISE_RANGE[1]}")

    def rates(self) -> Mapping[str, float]:
        """Relative learning rates: lower for grids of few bits."""
        used = [bits for bits in (self.weight_bits, self.activation_bits) if bits]
        rate = LOW_BITS_RATE if min(used, default=FULL_BITS + 1) <= FULL_BITS else 1.0
        grids = rate * self.grid_rate
        return {"": rate, "weight_grid.": grids, "input_grid.": grids}

    def posterior(self, info: LayerInfo) -> "RelaxedPosterior":
        """A grid for the layer's weights and, if `activation_bits` is set, one for its inputs."""
        input_bits = self.input_bits if info.first else self.activation_bits
        if isinstance(info.layer, nn.Embedding):
            input_bits = 0  # Indices are not rounded.
        return RelaxedPosterior(info.weight, info.bias, input_bits, self)

    def grid(self, bits: int) -> RelaxedGrid | None:
        """A quantiser with these settings, or None for 0 bits."""
        if not bits:
            return None
        chosen = self.temperature or (1.0 if bits <= FULL_BITS else 2.0)
        return RelaxedGrid(bits, chosen, self.straight_through, self.learn_temperature, self.noise)


class RelaxedPosterior(StoredPosterior):
    """Logistic noise on every weight and input, then a draw of grid points.

    Args:
        weight: initial means.
        bias: shape `(outputs,)`, or None.
        input_bits: bits of the layer's input; 0: it is not quantised.
        settings: of the method.

    Attributes:
        collecting: whether the next inputs set the range of their grid.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, input_bits: int, settings: RelaxedQuantization
    ) -> None:
        super().__init__()
        self.settings = settings
        self.mean = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.weight_grid = settings.grid(settings.weight_bits)
        self.input_grid = settings.grid(input_bits)
        self.collecting = False
        if self.weight_grid is not None:
            numbers = weight.flatten()
            if bias is not None and self._bias_on_grid:
                numbers = torch.cat([numbers, bias])
            self.weight_grid.fit(numbers, True, 1 + 3 / 2**settings.weight_bits)
            if settings.narrow:
                self.weight_grid.narrow(numbers)

    @property
    def _bias_on_grid(self) -> bool:
        return self.bias is not None and self.settings.quantise_bias

    def forward(self, x: Tensor, apply: Apply) -> Tensor:
        """Draw inputs and weights; the first batch of training sets the inputs' range.

        Raises:
            InputError: in evaluation mode, the range of the inputs is not known yet.
        """
        if self.input_grid is not None:
            if not self.input_grid.fitted and self.training:
                self._fit_inputs(x, self.input_grid)
            _require_range(self.input_grid)
            x = self.input_grid(x)
        if self.weight_grid is None:
            return apply(x, self.mean, self.bias)
        bias = self.bias
        if bias is not None and self._bias_on_grid:
            bias = self.weight_grid(bias)
        return apply(x, self.weight_grid(self.mean), bias)

    def evaluate(self, x: Tensor, apply: Apply) -> Tensor:
        """Round inputs and weights.

        Raises:
            InputError: the range of the inputs is not known yet.
        """
        if self.input_grid is not None and self.collecting:
            self._fit_inputs(x, self.input_grid)
            self.collecting = False
        return super().evaluate(x, apply)

    def penalty(self) -> Tensor:
        """0."""
        return 0 * self.mean.sum()

    @torch.no_grad()
    def point(self) -> Point:
        """Multiples of the weights' step, and the rounding of the inputs.

        Raises:
            InputError: the range of the inputs is not known yet.
        """
        rounding = None
        if self.input_grid is not None:
            _require_range(self.input_grid)
            rounding = self.input_grid.plain()
        if self.weight_grid is None:
            return Point(self.mean, self.bias, rounding=rounding)
        step, weight = float(self.weight_grid.step), self.weight_grid.round(self.mean)
        if self.bias is None or not self._bias_on_grid:
            return Point(weight, self.bias, step, 0.0, rounding)
        return Point(weight, self.weight_grid.round(self.bias), step, step, rounding)

    @torch.no_grad()
    def constrain(self) -> None:
        """Keep the grids within bounds, and weights near the grid: others have no gradient."""
        for grid in (self.weight_grid, self.input_grid):
            if grid is not None:
                grid.constrain()
        if self.weight_grid is not None:
            grid = self.weight_grid
            low, high = (grid.low - 1) * grid.step, (grid.high + 1) * grid.step
            self.mean.clamp_(low, high)
            if self.bias is not None and self._bias_on_grid:
                self.bias.clamp_(low, high)

    def _fit_inputs(self, x: Tensor, grid: RelaxedGrid) -> None:
        """Set the inputs' range. Inputs without negative numbers get a grid that starts at zero."""
        if not bool(x.isfinite().all()):
            raise InputError(
                "the inputs of a layer have NaN or infinite values, so that their range cannot be "
                "set: check the batch and the weights of the layers before it"
            )
        points = 2**grid.bits
        widening = 1 + 3 / points if grid.bits > 4 else 1 + 3 / (2 * points)
        grid.fit(x, bool((x < 0).any()), 1.0 if grid.bits <= FULL_BITS else widening)
        if self.settings.narrow:
            grid.narrow(x)


@torch.no_grad()
def calibrate(net: nn.Module, inputs: Tensor) -> None:
    """Set the ranges of all activations of a converted network from one batch.

    The first batch of training does this, too. Call this to evaluate before training, or before the
    network is copied. If anything fails, all ranges keep their values.

    Args:
        net: converted by this method.
        inputs: a batch of training inputs.

    Raises:
        InputError: the inputs of a layer have NaN or infinite values.
    """
    posteriors = [module for module in net.modules() if isinstance(module, RelaxedPosterior)]
    with evaluation(net), restored_on_failure(posteriors):
        try:
            for posterior in posteriors:
                posterior.collecting = posterior.input_grid is not None
            net(inputs)
        finally:
            for posterior in posteriors:
                posterior.collecting = False


def add_roundings(net: nn.Module, names: Iterable[str]) -> None:
    """Add the roundings of a stored network to an ordinary one, in place.

    Args:
        net: of the architecture that was converted.
        names: of the stored network's tensors. A layer whose rounding is among them gets a
            rounding; its grid is to be loaded afterwards.
    """
    modules = dict(net.named_modules(remove_duplicate=False))
    done: set[nn.Module] = set()
    for name in names:
        layer = modules.get(name.removesuffix(STEP_NAME)) if name.endswith(STEP_NAME) else None
        if isinstance(layer, SUPPORTED) and layer not in done:
            assert isinstance(layer.weight, Tensor)
            step, low, high = layer.weight.detach().new_zeros(3)
            replace_everywhere(net, layer, behind(Rounding(step, low, high), layer))
            done.add(layer)


def _require_range(grid: RelaxedGrid) -> None:
    if not grid.fitted:
        raise InputError(
            "the range of a layer's inputs is not known yet: train first, or call "
            "laconic.weights.methods.relaxed_quantization.calibrate(net, inputs)"
        )
