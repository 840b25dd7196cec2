"""Groups of weights under one random scale: what both priors of Bayesian compression share.

w = z w~ with w~ ~ N(mean, variance) per weight and one z per group: per input of a linear layer or
a transposed convolution, per filter of another, per feature of an embedding. Both are a priori
independent, w~ ~ N(0, 1); priors differ in z alone. The bias is a number. A filter's bias stands
under the filter's z, so that a pruned filter vanishes with it; the sources do not say. Where groups
are inputs, the bias has no group.

Source: Louizos 6.4 and 10.4, Ullrich 3.3 and appendices A, F.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from laconic.distributions.divergence import kl_normal
from laconic.errors import ConfigError
from laconic.weights.base import (
    Apply,
    LayerInfo,
    Point,
    WeightMethod,
    WeightPosterior,
    draw_outputs,
    scale_channels,
    squared,
    step_of,
)
from laconic.weights.pruning.thresholds import widest_gap

TINY = 1e-8
"""Added to variances under a square root or a logarithm."""


@dataclass(frozen=True)
class GroupMethod(WeightMethod, ABC):
    """Settings that both priors have.

    Attributes:
        threshold: groups whose `log_noise` passes it are zero; None chooses it in every layer from
            the two clusters.
        log_variance: where the log variances of w~ start.
        scale_log_variance: where the log variance of every random scale starts.
        first_scale: largest standard deviation of w~ in the first layer (the sources: 0.2 for
            LeNet-300-100, 0.5 for LeNet-5-Caffe).
        scales: the same for other layers by name; layers that are not named are free.
        step_scale: on the quantiser's step. At 1 its noise would be as strong as the posterior's,
            but such a step is wider than most weights and rounds them to zero, which is no noise:
            on LeNet-300-100 in mid-training 1 cost 25 to 50 points of error, 0.2 cost 0.2.
    """

    threshold: float | None = None
    log_variance: float = -9.0
    scale_log_variance: float = -9.0
    first_scale: float = 0.2
    scales: Mapping[str, float] = field(default_factory=dict)
    step_scale: float = 0.2

    def __post_init__(self) -> None:
        for name, bound in {"the first layer": self.first_scale, **self.scales}.items():
            if not bound > 0:
                raise ConfigError(f"the largest scale of {name} must be positive, not {bound}")

    def largest_scale(self, info: LayerInfo) -> float:
        """Bound on the standard deviation of w~ in a layer, perhaps infinite."""
        return self.scales.get(info.name, self.first_scale if info.first else math.inf)


class GroupPosterior(WeightPosterior):
    """Gaussians w~ under random scales z; subclasses say how z is distributed.

    Args:
        info: the layer; its weights are the first means, as z starts near 1.
        settings: of the method.

    Attributes:
        axis: of the weight, that has an entry for every group.
        on_inputs: whether groups are inputs of the layer; otherwise outputs, with their biases.
        mean: of w~, in the weight's shape.
        log_variance: of w~, in the weight's shape.
    """

    def __init__(self, info: LayerInfo, settings: GroupMethod) -> None:
        super().__init__()
        weight, bias = info.weight, info.bias
        self.settings, self.axis = settings, info.group_axis
        self.on_inputs = info.groups_are_inputs
        self.largest = 2 * math.log(settings.largest_scale(info))
        self.mean = nn.Parameter(weight)
        self.log_variance = nn.Parameter(torch.full_like(weight, settings.log_variance))
        self.bias = None if bias is None else nn.Parameter(bias)
        self.constrain()

    @property
    def groups(self) -> int:
        """How many there are."""
        return self.mean.shape[self.axis]

    @property
    @abstractmethod
    def log_noise(self) -> Tensor:
        """What the threshold is compared with, shape `(groups,)`; large where a group is noise."""

    @property
    @abstractmethod
    def window(self) -> tuple[float, float]:
        """Below the first, `log_noise` is of signal; above the second, of noise."""

    @abstractmethod
    def draw(self, count: tuple[int, ...]) -> Tensor:
        """Samples of z, shape `(*count, groups)`."""

    @abstractmethod
    def scale_moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of z, shape `(groups,)` each."""

    @abstractmethod
    def scale_penalty(self) -> Tensor:
        """KL of all random scales to their prior, in nats."""

    @property
    def threshold(self) -> float:
        """On `log_noise`: the one that was set, or the one between the two clusters."""
        if self.settings.threshold is not None:
            return self.settings.threshold
        return widest_gap(self.log_noise, *self.window)

    @property
    def kept(self) -> Tensor:
        """Which groups are not pruned; boolean, shape `(groups,)`."""
        return self.log_noise < self.threshold

    def along(self, values: Tensor) -> Tensor:
        """Numbers of groups, shape `(groups,)`, so that they broadcast over the weight."""
        shape = [1] * self.mean.dim()
        shape[self.axis] = self.groups
        return values.view(shape)

    def forward(self, x: Tensor, apply: Apply) -> Tensor:
        """Draw z for every example, then the outputs instead of w~.

        Source: Louizos, algorithms 5 to 8; Ullrich, appendix F.
        """
        positions = self.mean.dim() - 2
        if self.on_inputs:
            z = self.draw(tuple(x.shape[:1]) if x.dim() > positions + 1 else ())
            return self._outputs(scale_channels(x, z, positions), apply)
        y = self._outputs(x, apply)
        z = self.draw(tuple(y.shape[:1]) if y.dim() > positions + 1 else ())
        return scale_channels(y, z, positions)

    def _outputs(self, x: Tensor, apply: Apply) -> Tensor:
        mean = apply(x, self.mean, self.bias)
        variance = apply(squared(x), self.log_variance.exp(), None)
        return draw_outputs(mean, variance + TINY)

    def penalty(self) -> Tensor:
        """KL of w~ to N(0, 1), which does not depend on z, and of the scales to their prior.

        Source: Louizos 80, Ullrich 3.8.
        """
        posterior = Normal(self.mean, torch.exp(0.5 * self.log_variance), validate_args=False)
        prior = Normal(torch.zeros_like(self.mean), torch.ones_like(self.mean), validate_args=False)
        return kl_normal(posterior, prior).sum() + self.scale_penalty()

    @torch.no_grad()
    def marginal_variance(self) -> Tensor:
        """Of w = z w~, in the weight's shape.

        Formula: V[z] (V[w~] + E[w~]²) + V[w~] E[z]².
        Source: Louizos 93 and 94, Ullrich 3.21 and 3.22.
        """
        scale, scale_variance = (self.along(moment) for moment in self.scale_moments())
        variance = self.log_variance.exp()
        return scale_variance * (variance + self.mean.square()) + variance * scale.square()

    @torch.no_grad()
    def point(self) -> Point:
        """E[z] E[w~] in groups below the threshold, as precise as their variances ask for.

        Source: Louizos 82 and 92, Ullrich 3.10 and 3.20.
        """
        kept, scale = self.kept, self.scale_moments()[0]
        weight = torch.where(self.along(kept), self.along(scale) * self.mean, 0)
        bias: Tensor | None = self.bias
        if bias is not None and not self.on_inputs:
            bias = torch.where(kept, scale * bias, 0)
        variance = self.marginal_variance().movedim(self.axis, 0)[kept]
        step = step_of(variance, self.settings.step_scale)
        return Point(weight, bias, step, step)

    @torch.no_grad()
    def constrain(self) -> None:
        """Bound the standard deviations of w~.  Source: Louizos 10.4.1, Ullrich A."""
        self.log_variance.clamp_(max=self.largest)
