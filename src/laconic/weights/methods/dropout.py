"""Dropout as a distribution over weights (MC-dropout).

Every input of a layer is dropped with the same probability, together with its weights, and the rest
is scaled up. An input is a unit of a linear layer, a channel of a convolution, a feature of an
embedding. This is a mixture of peaks at zero and at the mean.

Source: Gal & Ghahramani 2016; Louizos 4.4, table 3; Ullrich 2.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from laconic.errors import ConfigError
from laconic.weights.base import Apply, Draws, LayerInfo, Point, StoredPosterior, WeightMethod
from laconic.weights.methods.drawing import scale_channels
from laconic.weights.methods.inputs import InputAxis


@final
@dataclass(frozen=True)
class Dropout(WeightMethod):
    """Settings.

    Attributes:
        rate: probability that an input is dropped, in all layers but the first.
        first_rate: the same in the first layer.
        layer_rates: the same for other layers by name.
        prior_scale: standard deviation of the Gaussian prior of the weights.
    """

    name: ClassVar[str] = "dropout"
    rate: float = 0.5
    first_rate: float = 0.0
    layer_rates: Mapping[str, float] = field(default_factory=dict)
    prior_scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse rates that are no probabilities below 1, and a scale that is not positive."""
        given = {"rate": self.rate, "first_rate": self.first_rate, **self.layer_rates}
        for name, rate in given.items():
            if not 0 <= rate < 1:
                raise ConfigError(f"{name} is {rate}: give a probability from 0 to below 1")
        if not self.prior_scale > 0:
            raise ConfigError(f"prior_scale is {self.prior_scale}: give a number above 0")

    def posterior(self, info: LayerInfo) -> "DropoutPosterior":
        """The layer's own weights, some of which are dropped in each pass."""
        rate = self.layer_rates.get(info.name, self.first_rate if info.first else self.rate)
        return DropoutPosterior(info, rate, self.prior_scale)


@final
class DropoutPosterior(StoredPosterior):
    """Inputs that are dropped at random.

    Args:
        info: the layer.
        rate: probability that an input is dropped.
        prior_scale: standard deviation of the prior.
    """

    def __init__(self, info: LayerInfo, rate: float, prior_scale: float) -> None:
        super().__init__()
        weight, bias = info.weight, info.bias
        self.rate, self.prior_scale, self.axis = rate, prior_scale, InputAxis.of(info.layer)
        self.mean = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)

    scale_steps: ClassVar[Mapping[str, float]] = {}
    training_only: ClassVar[tuple[str, ...]] = ()

    def code_scales(self) -> Mapping[str, Tensor]:
        """None: the weights have no scale of their own."""
        return {}

    def masks(self, count: tuple[int, ...]) -> Tensor:
        """Factors of the inputs: 0 or 1 / (1 - rate); shape `(*count, inputs)`."""
        keep = 1 - self.rate
        like = self.mean
        shape = (*count, self.axis.size(like))
        return (torch.rand(shape, dtype=like.dtype, device=like.device) < keep) / like.new_tensor(
            keep
        )

    def forward(self, x: Tensor, apply: Apply) -> Tensor:
        """Drop inputs of every example anew."""
        if not self.rate:
            return apply(x, self.mean, self.bias)
        if self.axis.is_embedding:
            y = apply(x, self.mean, self.bias)
            return scale_channels(y, self.masks(tuple(x.shape[:1])), 0)
        positions = self.mean.dim() - 2
        count = tuple(x.shape[:1]) if x.dim() > positions + 1 else ()
        return apply(scale_channels(x, self.masks(count), positions), self.mean, self.bias)

    @torch.no_grad()
    def draw_weights(self, count: int) -> Draws:
        """Weights with some inputs dropped."""
        masks = self.masks((count,))
        weights = torch.stack([self.axis.scale(self.mean, mask) for mask in masks])
        return weights, None if self.bias is None else self.bias.expand(count, -1)

    def penalty(self) -> Tensor:
        """The part of the KL to N(0, prior_scale²) that depends on the weights, in nats.

        Formula: ½ sum E[w²] / prior_scale², with E[w²] = mean² / (1 - rate).
        """
        return 0.5 * self.mean.square().sum() / ((1 - self.rate) * self.prior_scale**2)

    @torch.no_grad()
    def point(self) -> Point:
        """The mean of the draws."""
        return Point(self.mean, self.bias)
