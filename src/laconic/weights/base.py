"""Distributions over the weights of one layer: the contract of every method.

A method replaces the numbers of a layer by a `WeightPosterior`; what the layer does with them, its
stride or padding, stays. Training mode draws, evaluation computes with the `Point` that is stored.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from laconic.errors import InputError

Apply = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""What a layer does: input, weight and bias to output; linear in each, but for indices as input."""

Sizes = list[int] | None
"""Sizes of a transposed convolution's output, where several are possible."""

FORWARD: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers whose weights have an output in every row."""

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
"""Convolutions whose weights have an input in every row."""

SUPPORTED: tuple[type[nn.Module], ...] = (*FORWARD, *TRANSPOSED, nn.Embedding)
"""Layers that methods are made for."""


@dataclass(frozen=True)
class Point:
    """What is left of a posterior when a network is stored: numbers, and how fine they must be.

    Attributes:
        weight: shape of the layer's weight; exact zeros where it is pruned.
        bias: shape `(outputs,)`, or None.
        weight_step: spacing of the quantiser that `weight` bears, 0 where the method says nothing.
        bias_step: the same for `bias`; None where every bit of it must be kept.
    """

    weight: Tensor
    bias: Tensor | None
    weight_step: float = 0.0
    bias_step: float | None = 0.0


def refuse_numbers(name: str, parameter: Tensor) -> None:
    """Make sure that there are numbers to start from.

    Raises:
        InputError: the parameter has no shape yet, is on the meta device, or has NaN or infinite
            values.
    """
    if is_lazy(parameter):
        raise InputError(f"{name} has no shape yet: run the network on an example first")
    if parameter.is_meta:
        raise InputError(f"{name} is on the meta device and has no numbers: load the network first")
    if not bool(parameter.isfinite().all()):
        raise InputError(f"{name} has NaN or infinite values")


def step_of(variance: Tensor, scale: float = 1.0) -> float:
    """The quantiser's step that does as much harm as a posterior's own noise.

    Args:
        variance: of the weights that are kept; any shape, may be empty.
        scale: factor on the step.

    Formula: scale sqrt(12 / mean(1 / variance)). A posterior's variance is about the inverse
    curvature of the loss, and uniform noise of width s has variance s² / 12: it adds s² / (24
    variance) nats a weight, on average half a nat here, as the posterior's noise does.
    """
    if not variance.numel():
        return 0.0
    precision = float((1 / variance.detach().double()).mean())
    return scale * math.sqrt(12 / precision)


def squared(x: Tensor) -> Tensor:
    """The squares of a layer's inputs, which variances of weights are multiplied by.

    An index stands for a vector with a single 1 in its place, which is its own square.
    """
    return x.square() if x.is_floating_point() else x


def scale_channels(values: Tensor, z: Tensor, positions: int) -> Tensor:
    """Multiply channels by one number each, or by some for each example.

    Args:
        values: `(batch, ..., channels, *positions)`, or without a batch.
        z: `(channels,)` or `(batch, channels)`.
        positions: how many axes there are behind the channels.
    """
    batch, inner = z.shape[:-1], values.dim() - positions - z.dim()
    return values * z.view(*batch, *[1] * inner, z.shape[-1], *[1] * positions)


def draw_outputs(mean: Tensor, variance: Tensor) -> Tensor:
    """Draw a layer's outputs, not its weights: independent Gaussians, far less noisy gradients.

    Args:
        mean: of the outputs.
        variance: the same shape; above 0, since its root has no gradient there.

    Source: Kingma, Salimans & Welling 2015 (the local reparametrisation).
    """
    noise = torch.empty_like(mean)
    # In the order of memory: torch takes ten times as long for any other.
    noise.as_strided((noise.numel(),), (1,)).normal_()
    return mean + torch.sqrt(variance) * noise


class WeightPosterior(nn.Module, ABC):
    """q(w) of one layer, and what telling it costs under its prior."""

    @abstractmethod
    def forward(self, x: Tensor, apply: Apply) -> Tensor:
        """The layer's output under a draw of the weights, in training mode only."""

    @abstractmethod
    def penalty(self) -> Tensor:
        """KL(q || p), or what the method has in its place, in nats; a scalar with gradients."""

    @abstractmethod
    def point(self) -> Point:
        """What is stored, without gradients."""

    def constrain(self) -> None:
        """Called after every step of the optimiser: bounds of variances and the like."""

    def nonzero(self) -> Tensor:
        """P(w != 0) of every weight, broadcastable to it; here 0 or 1, as the point says."""
        return (self.point().weight != 0).float()

    def evaluate(self, x: Tensor, apply: Apply) -> Tensor:
        """The layer's output with the stored numbers."""
        point = self.point()
        return apply(x, point.weight, point.bias)

    def finish(self, layer: nn.Module) -> nn.Module:
        """What `plain` puts in place of the ordinary layer with the stored numbers: that layer.

        Methods that change more than weights add it here, so that both compute the same.
        """
        return layer


class ProbabilisticLayer(nn.Module):
    """A layer whose numbers are a distribution.

    Args:
        layer: what is replaced; its numbers are let go.
        posterior: what takes their place.
    """

    def __init__(self, layer: nn.Module, posterior: WeightPosterior) -> None:
        super().__init__()
        shell = deepcopy(layer)
        for name in list(shell._parameters):
            shell.register_parameter(name, None)
        self.shell, self.posterior = shell, posterior

    def __getattr__(self, name: str) -> Any:
        """Let modules that read the weight of a part, as encoders of transformers do, evaluate."""
        if name in ("weight", "bias"):
            if self.training or type(self.posterior).evaluate is not WeightPosterior.evaluate:
                raise AttributeError(
                    f"a converted layer has no {name} while it trains, nor where it rounds its "
                    "inputs: call the layer, or leave it alone with convert(..., skip=...). What "
                    "torch's encoders need is torch.backends.mha.set_fastpath_enabled(False)"
                )
            return getattr(self.posterior.point(), name)
        return super().__getattr__(name)

    def apply_layer(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, output_size: Sizes = None
    ) -> Tensor:
        """What the replaced layer did, with other numbers."""
        shell = self.shell
        if isinstance(shell, nn.Linear):
            return nn.functional.linear(x, weight, bias)
        if isinstance(shell, nn.Embedding):
            return nn.functional.embedding(x, weight, shell.padding_idx)
        if isinstance(shell, TRANSPOSED):
            return _transposed(shell, x, weight, bias, output_size)
        # The one place that knows all padding modes.
        result: Tensor = shell._conv_forward(x, weight, bias)  # type: ignore[operator]
        return result

    def forward(self, x: Tensor, output_size: Sizes = None) -> Tensor:
        """A draw in training mode, the stored numbers otherwise.

        Args:
            x: as the layer takes it.
            output_size: of a transposed convolution, as torch's takes it.
        """
        run = self.posterior if self.training else self.posterior.evaluate
        apply = partial(self.apply_layer, output_size=output_size) if output_size else None
        result: Tensor = run(x, apply or self.apply_layer)
        return result

    def plain(self) -> nn.Module:
        """The ordinary layer with the stored numbers."""
        layer, point = deepcopy(self.shell), self.posterior.point()
        layer.register_parameter("weight", nn.Parameter(point.weight.detach().clone()))
        if point.bias is not None:
            layer.register_parameter("bias", nn.Parameter(point.bias.detach().clone()))
        return self.posterior.finish(layer)


def _transposed(
    shell: nn.Module, x: Tensor, weight: Tensor, bias: Tensor | None, output_size: Sizes
) -> Tensor:
    assert isinstance(shell, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
    assert not isinstance(shell.padding, str)
    axes = weight.dim() - 2
    run = getattr(nn.functional, f"conv_transpose{axes}d")
    stride, padding, kernel, dilation = (
        list(one) for one in (shell.stride, shell.padding, shell.kernel_size, shell.dilation)
    )
    extra = shell._output_padding(x, output_size, stride, padding, kernel, axes, dilation)
    result: Tensor = run(
        x, weight, bias, shell.stride, shell.padding, extra, shell.groups, shell.dilation
    )
    return result


def replaced(layer: nn.Module) -> nn.Module:
    """The layer that a converted one has taken the place of, without numbers; others themselves."""
    return layer.shell if isinstance(layer, ProbabilisticLayer) else layer


@dataclass(frozen=True)
class LayerInfo:
    """What a method is told about a layer that it is made for.

    Attributes:
        name: the layer's name in the network.
        layer: the layer, with its weights.
        first: whether no other converted layer stands before it, in order of registration.
        last: whether none stands behind it.
    """

    name: str
    layer: nn.Module
    first: bool
    last: bool

    @property
    def weight(self) -> Tensor:
        """A copy of the layer's weight."""
        weight = self.layer.weight
        assert isinstance(weight, Tensor)
        return weight.detach().clone()

    @property
    def bias(self) -> Tensor | None:
        """A copy of the layer's bias."""
        bias = getattr(self.layer, "bias", None)
        return bias.detach().clone() if isinstance(bias, Tensor) else None

    @property
    def group_axis(self) -> int:
        """The weight's axis that has an entry for every group.

        A group is an input of a linear layer or of a transposed convolution, a filter of another
        convolution, a feature of an embedding.

        Source: Louizos 6.3 and 7.4; Ullrich 3.3.
        """
        return 1 if isinstance(self.layer, nn.Linear | nn.Embedding) else 0

    @property
    def groups_are_inputs(self) -> bool:
        """Whether groups are inputs of the layer; otherwise outputs, with their biases."""
        return isinstance(self.layer, (nn.Linear, *TRANSPOSED))


class WeightMethod(ABC):
    """One way to be unsure about weights: settings, and what it puts in a layer's place.

    Subclasses are frozen dataclasses of their settings.

    Attributes:
        name: in `convert(net, method=name)`.
        rate_factors: prefixes of a posterior's parameters' names, and how much faster than the
            rest they should learn.
    """

    name: ClassVar[str]
    rate_factors: ClassVar[Mapping[str, float]] = {}

    @abstractmethod
    def posterior(self, info: LayerInfo) -> WeightPosterior:
        """The distribution that takes the place of a layer's numbers."""

    def rates(self) -> Mapping[str, float]:
        """`rate_factors`, unless they depend on the settings."""
        return self.rate_factors

    def shared(self, posteriors: Mapping[str, WeightPosterior]) -> "SharedPrior":
        """What belongs to the network as a whole; here only the sum over its layers."""
        return SharedPrior(posteriors)


class SharedPrior(nn.Module):
    """The penalty of a whole network; subclasses have parameters that all layers share.

    The optimiser reaches those through `nn.ModuleDict({"net": net, "prior": penalty.prior})`.

    Attributes:
        rate_factors: prefixes of its own parameters' names, and how much faster than the rest they
            should learn.

    Args:
        posteriors: of the layers by name; they stay the network's own.
    """

    rate_factors: ClassVar[Mapping[str, float]] = {}

    def __init__(self, posteriors: Mapping[str, WeightPosterior]) -> None:
        super().__init__()
        self._posteriors = dict(posteriors)

    @property
    def posteriors(self) -> Mapping[str, WeightPosterior]:
        """Of the layers, by name."""
        return self._posteriors

    def forward(self) -> Tensor:
        """Nats of the whole network."""
        return torch.stack([posterior.penalty() for posterior in self._posteriors.values()]).sum()

    def constrain(self) -> None:
        """Called after every step of the optimiser."""
        for posterior in self._posteriors.values():
            posterior.constrain()

    def quantise(self) -> None:
        """Called once after training: put the numbers on the values that are stored, if need be."""
