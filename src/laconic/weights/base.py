"""Distributions over the weights of one layer: the contract of every method.

A method gives every layer a `WeightPosterior`. The layer keeps what it does with its weights, such
as its stride and padding. Training draws weights; evaluation does not.

A posterior that is also `Storable` has a `Point`: the numbers that a file holds. Such a posterior
evaluates with exactly these numbers (`StoredPosterior` does so), and only networks of such
posteriors can be written to a file, made `plain` or made `smaller`. A posterior without a point
can be trained and can predict.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from laconic.errors import InputError

Apply = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""What a layer computes from an input, a weight and a bias; linear in each of them, except that
the input of an embedding is a tensor of indices."""

FORWARD: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers whose weight has one output per row."""

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
"""Convolutions whose weight has one input per row."""

SUPPORTED: tuple[type[nn.Module], ...] = (*FORWARD, *TRANSPOSED, nn.Embedding)
"""Layers that can be converted."""


@dataclass(frozen=True)
class Point:
    """The numbers that a file holds of one layer, and how fine they must be.

    Attributes:
        weight: shape of the layer's weight; exact zeros where it is pruned.
        bias: shape `(outputs,)`, or None.
        weight_step: largest step, in units of the weight, that the file may quantise `weight` with.
            0: every bit is kept. None: the method does not know; the codec chooses a step.
        bias_step: the same for `bias`.
        rounding: what rounds the layer's inputs, or None.
    """

    weight: Tensor
    bias: Tensor | None
    weight_step: float | None = None
    bias_step: float | None = None
    rounding: nn.Module | None = None

    def compute(self, x: Tensor, apply: Apply) -> Tensor:
        """The layer's output with these numbers."""
        if self.rounding is not None:
            x = self.rounding(x)
        return apply(x, self.weight, self.bias)


@runtime_checkable
class Storable(Protocol):
    """A posterior whose layer can be stored. It evaluates with its point."""

    def point(self) -> Point:
        """What a file holds, without gradients."""
        ...


Draws = tuple[Tensor, Tensor | None]
"""Draws of a layer's weights, `(count, *weight)`, and of its biases, `(count, outputs)` or None."""


@runtime_checkable
class Drawable(Protocol):
    """A posterior whose weights can be drawn themselves, many at once, for predictions."""

    def draw_weights(self, count: int) -> Draws:
        """Independent draws; without a posterior of the bias, its value `count` times."""
        ...


@runtime_checkable
class Coded(Protocol):
    """A posterior that a file can hold as a distribution, and not as a point alone.

    Attributes:
        scale_steps: the quantiser's steps of parameters that are logarithms of scales or variances,
            by name: the file holds these first.
        training_only: prefixes of the parameters that predictions do not need.
    """

    scale_steps: ClassVar[Mapping[str, float]]
    training_only: ClassVar[tuple[str, ...]]

    def code_scales(self) -> Mapping[str, Tensor]:
        """Standard deviations of further parameters, by name, from the logarithms above.

        The file holds these parameters in units of their standard deviations.
        """
        ...


LOG_VARIANCE_STEP = 0.25
"""Step of a log variance: its rounding costs step² / 48 nats, which is 0.001."""


def step_of(variance: Tensor, scale: float = 1.0) -> float | None:
    """The quantiser's step that harms as much as the posterior's own noise.

    Args:
        variance: posterior variances of the weights that are kept; any shape.
        scale: factor on the step.

    Returns:
        The step in units of the weights, or None if `variance` is empty.

    Formula: scale sqrt(12 / mean(1 / variance)). The posterior's variance is about the inverse
    curvature of the loss. Uniform noise of width s has variance s² / 12 and adds s² / (24 variance)
    nats a weight: half a nat on average with this step, as the posterior's noise does.
    """
    if not variance.numel():
        return None
    precision = float((1 / variance.detach().double()).mean())
    return scale * math.sqrt(12 / precision)


class WeightPosterior(nn.Module, ABC):
    """q(w): a distribution over the weights of one layer."""

    @abstractmethod
    def forward(self, x: Tensor, apply: Apply) -> Tensor:
        """The layer's output under a draw of its weights."""

    @abstractmethod
    def penalty(self) -> Tensor:
        """KL(q || p), or the method's replacement of it, in nats; a scalar with gradients."""

    @abstractmethod
    def evaluate(self, x: Tensor, apply: Apply) -> Tensor:
        """The layer's output in evaluation mode; nothing is drawn."""

    def constrain(self) -> None:
        """Called after every step of the optimiser; keeps parameters within their bounds."""

    def nonzero(self) -> Tensor:
        """P(w != 0) of every weight, broadcastable to it."""
        return torch.ones(())


class StoredPosterior(WeightPosterior):
    """A posterior that is stored as a point, and evaluates with it.

    Subclasses define `forward`, `penalty` and `point`.
    """

    @abstractmethod
    def point(self) -> Point:
        """What a file holds, without gradients."""

    def evaluate(self, x: Tensor, apply: Apply) -> Tensor:
        """The layer's output with the numbers that a file holds."""
        return self.point().compute(x, apply)

    def nonzero(self) -> Tensor:
        """1 where the point's weight is not zero, else 0."""
        return (self.point().weight != 0).float()


def refuse_numbers(name: str, parameter: Tensor) -> None:
    """Check that a parameter has finite numbers.

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


@dataclass(frozen=True)
class LayerInfo:
    """What a method knows about a layer that it makes a posterior for.

    Attributes:
        name: the layer's name in the network.
        layer: the layer, with its weights.
        first: whether it is the first converted layer, in order of registration.
        last: whether it is the last.
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
        """Whether groups are inputs of the layer; otherwise they are outputs, with their biases."""
        return isinstance(self.layer, (nn.Linear, *TRANSPOSED))


class WeightMethod(ABC):
    """A kind of posterior with its settings. Subclasses are frozen dataclasses of the settings.

    Attributes:
        name: in `convert(net, method=name)`.
        rate_factors: learning rates of a posterior's parameters, relative to the network's, by
            prefix of the parameter's name.
    """

    name: ClassVar[str]
    rate_factors: ClassVar[Mapping[str, float]] = {}

    @abstractmethod
    def posterior(self, info: LayerInfo) -> WeightPosterior:
        """The distribution that replaces the numbers of a layer."""

    def rates(self) -> Mapping[str, float]:
        """Relative learning rates under these settings: `rate_factors`, if not overridden."""
        return self.rate_factors

    def shared(self, posteriors: Mapping[str, WeightPosterior]) -> "SharedPrior":
        """The penalty of the whole network: the sum over its layers, if not overridden."""
        return SharedPrior(posteriors)


class SharedPrior(nn.Module):
    """The penalty of a whole network. Subclasses may have parameters that all layers share.

    The optimiser gets these parameters from `nn.ModuleDict({"net": net, "prior": penalty.prior})`.

    Attributes:
        rate_factors: learning rates of its own parameters, relative to the network's, by prefix of
            the parameter's name.

    Args:
        posteriors: of the layers by name; they stay part of the network.
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
        """Nats of the whole network; a scalar with gradients."""
        return torch.stack([posterior.penalty() for posterior in self._posteriors.values()]).sum()

    def constrain(self) -> None:
        """Called after every step of the optimiser."""
        for posterior in self._posteriors.values():
            posterior.constrain()

    def quantise(self) -> None:
        """Called once after training; puts the weights on the values that are stored."""
