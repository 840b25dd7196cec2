"""Groups of weights under one random scale: what both priors of Bayesian compression share.

w = z w~ with w~ ~ N(mean, variance) for every weight and one z for every group. A group is an input
of a linear layer or a transposed convolution, a filter of another convolution, a feature of an
embedding. A priori z and w~ ~ N(0, 1) are independent; the two methods differ in the prior of z.
The bias is a number without a posterior. A filter's bias is multiplied by the filter's z, so that a
pruned filter loses it too; the sources do not mention biases. Where groups are inputs, the bias has
no group.

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
    StoredPosterior,
    WeightMethod,
    step_of,
)
from laconic.weights.methods.drawing import draw_outputs, scale_channels, squared
from laconic.weights.methods.thresholds import widest_gap

TINY = 1e-8
"""Added to variances under a square root or a logarithm."""


@dataclass(frozen=True)
class GroupMethod(WeightMethod, ABC):
    """Settings of both methods.

    Attributes:
        threshold: groups with a larger `log_noise` become zero. None: each layer's threshold is
            between its two clusters of groups.
        log_variance: initial log variances of w~.
        scale_log_variance: initial log variance of every random scale.
        first_scale: largest standard deviation of w~ in the first layer (the sources: 0.2 for
            LeNet-300-100, 0.5 for LeNet-5-Caffe).
        scales: the same for other layers by name; layers that are not named have no bound.
        step_scale: factor on the quantiser's step. With 1 its noise is as strong as the
            posterior's, but most weights are smaller than such a step and become zero: on
            LeNet-300-100 in mid-training 1 cost 25 to 50 points of error, 0.2 cost 0.2.
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
        """Largest standard deviation of w~ in a layer; infinite where there is no bound."""
        return self.scales.get(info.name, self.first_scale if info.first else math.inf)


class GroupPosterior(StoredPosterior):
    """Gaussians w~ under random scales z; subclasses define the distribution of z.

    Args:
        info: the layer; its weights are the initial means, since z starts near 1.
        settings: of the method.

    Attributes:
        axis: the weight's axis that has an entry for every group.
        on_inputs: whether groups are inputs of the layer; otherwise they are outputs, with their
            biases.
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
        """Number of groups."""
        return self.mean.shape[self.axis]

    @property
    @abstractmethod
    def log_noise(self) -> Tensor:
        """Noise of each group, compared with the threshold; shape `(groups,)`."""

    @property
    @abstractmethod
    def window(self) -> tuple[float, float]:
        """Groups with `log_noise` below the first number are signal, above the second noise."""

    @abstractmethod
    def draw(self, count: tuple[int, ...]) -> Tensor:
        """Samples of z, shape `(*count, groups)`."""

    @abstractmethod
    def scale_moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of z, shape `(groups,)` each."""

    @abstractmethod
    def scale_penalty(self) -> Tensor:
        """KL of all random scales to their prior, in nats; a scalar."""

    @property
    def threshold(self) -> float:
        """Bound on `log_noise`: the setting, or the middle of the gap between the clusters."""
        if self.settings.threshold is not None:
            return self.settings.threshold
        return widest_gap(self.log_noise, *self.window)

    @property
    def kept(self) -> Tensor:
        """Which groups are not pruned; boolean, shape `(groups,)`."""
        return self.log_noise < self.threshold

    def along(self, values: Tensor) -> Tensor:
        """One number per group, shape `(groups,)`, viewed so that it broadcasts over the weight."""
        shape = [1] * self.mean.dim()
        shape[self.axis] = self.groups
        return values.view(shape)

    def forward(self, x: Tensor, apply: Apply) -> Tensor:
        """Draw z for every example, and outputs in place of w~.

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
        """KL of w~ to N(0, 1), which does not depend on z, plus KL of the scales to their prior.

        Source: Louizos 80, Ullrich 3.8.
        """
        posterior = Normal(self.mean, torch.exp(0.5 * self.log_variance), validate_args=False)
        prior = Normal(torch.zeros_like(self.mean), torch.ones_like(self.mean), validate_args=False)
        return kl_normal(posterior, prior).sum() + self.scale_penalty()

    @torch.no_grad()
    def marginal_variance(self) -> Tensor:
        """Variance of w = z w~, in the weight's shape.

        Formula: V[z] (V[w~] + E[w~]²) + V[w~] E[z]².
        Source: Louizos 93 and 94, Ullrich 3.21 and 3.22.
        """
        scale, scale_variance = (self.along(moment) for moment in self.scale_moments())
        variance = self.log_variance.exp()
        return scale_variance * (variance + self.mean.square()) + variance * scale.square()

    @torch.no_grad()
    def point(self) -> Point:
        """E[z] E[w~] in groups below the threshold; the step follows from their variances.

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
        """Keep the standard deviations of w~ within bounds.  Source: Louizos 10.4.1, Ullrich A."""
        self.log_variance.clamp_(max=self.largest)
