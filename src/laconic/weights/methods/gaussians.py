"""Independent Gaussians over all weights, under a Gaussian or a log-uniform prior.

"mean-field" is the fully factorised Gaussian (FFG) of the sources, "log-uniform" the same posterior
under the log-uniform prior (FFLU). Both draw a layer's outputs in place of its weights.

Source: Louizos 4.4, table 3; Kingma, Salimans & Welling 2015; Molchanov et al. 2017.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from laconic.distributions.divergence import kl_log_uniform, kl_normal
from laconic.errors import ConfigError
from laconic.weights.base import (
    LOG_VARIANCE_STEP,
    Apply,
    Draws,
    LayerInfo,
    Point,
    StoredPosterior,
    WeightMethod,
    step_of,
)
from laconic.weights.methods.drawing import draw_outputs, squared

TINY = 1e-8
"""Added to variances under a square root or a logarithm."""


@dataclass(frozen=True)
class GaussianMethod(WeightMethod, ABC):
    """Settings of both methods.

    Attributes:
        log_variance: initial log variances.
        largest_scale: bound on the standard deviations, in the likelihood and in the KL alike (the
            source: 0.5 on MNIST, 0.4 on CIFAR-10).
    """

    rate_factors: ClassVar[Mapping[str, float]] = {"log_variance": 5.0, "bias_log_variance": 5.0}
    log_variance: float = -9.0
    largest_scale: float = 0.5

    def __post_init__(self) -> None:
        """Refuse a bound that is not positive."""
        if not self.largest_scale > 0:
            raise ConfigError(f"largest_scale is {self.largest_scale}: give a number above 0")


@final
@dataclass(frozen=True)
class MeanField(GaussianMethod):
    """Settings of the fully factorised Gaussian.

    Attributes:
        prior_scale: standard deviation of the prior of all weights and biases.
    """

    name: ClassVar[str] = "mean-field"
    prior_scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse scales that are not positive."""
        super().__post_init__()
        if not self.prior_scale > 0:
            raise ConfigError(f"prior_scale is {self.prior_scale}: give a number above 0")

    def posterior(self, info: LayerInfo) -> "MeanFieldPosterior":
        """A Gaussian around every weight and bias."""
        return MeanFieldPosterior(info, self)


@final
@dataclass(frozen=True)
class LogUniform(GaussianMethod):
    """Settings of Gaussians under the log-uniform prior."""

    name: ClassVar[str] = "log-uniform"

    def posterior(self, info: LayerInfo) -> "LogUniformPosterior":
        """A Gaussian around every weight."""
        return LogUniformPosterior(info, self)


class GaussianPosterior(StoredPosterior, ABC):
    """Independent Gaussians. Subclasses define the prior, and whether the bias has a posterior.

    Args:
        info: of the layer; its numbers are the initial means.
        settings: of the method.
        bias_is_drawn: whether the bias has a posterior, too; otherwise it is a number.

    Attributes:
        mean: of the weights.
        log_variance: of the weights, in the same shape.
        bias: means of the biases, shape `(outputs,)`, or None.
        bias_log_variance: of the biases, or None.
    """

    scale_steps: ClassVar[Mapping[str, float]] = {
        "log_variance": LOG_VARIANCE_STEP,
        "bias_log_variance": LOG_VARIANCE_STEP,
    }
    training_only: ClassVar[tuple[str, ...]] = ()

    def __init__(self, info: LayerInfo, settings: GaussianMethod, bias_is_drawn: bool) -> None:
        super().__init__()
        weight, bias = info.weight, info.bias
        self.largest = 2 * math.log(settings.largest_scale)
        self.mean = nn.Parameter(weight)
        self.log_variance = nn.Parameter(torch.full_like(weight, settings.log_variance))
        self.bias = None if bias is None else nn.Parameter(bias)
        drawn = bias if bias_is_drawn else None
        self.bias_log_variance = (
            None if drawn is None else nn.Parameter(torch.full_like(drawn, settings.log_variance))
        )
        self.constrain()

    def forward(self, x: Tensor, apply: Apply) -> Tensor:
        """Draw outputs in place of weights."""
        mean = apply(x, self.mean, self.bias)
        spread = None if self.bias_log_variance is None else self.bias_log_variance.exp()
        return draw_outputs(mean, apply(squared(x), self.log_variance.exp(), spread) + TINY)

    @torch.no_grad()
    def draw_weights(self, count: int) -> Draws:
        """Independent draws of weights and biases."""
        weights = draw_normals(self.mean, self.log_variance, count)
        if self.bias is None:
            return weights, None
        if self.bias_log_variance is None:
            return weights, self.bias.expand(count, -1)
        return weights, draw_normals(self.bias, self.bias_log_variance, count)

    @torch.no_grad()
    def code_scales(self) -> Mapping[str, Tensor]:
        """Of the means, and of the biases that are drawn."""
        found = {"mean": torch.exp(0.5 * self.log_variance)}
        if self.bias_log_variance is not None:
            found["bias"] = torch.exp(0.5 * self.bias_log_variance)
        return found

    @torch.no_grad()
    def point(self) -> Point:
        """Means; the step follows from the variances."""
        step = step_of(self.log_variance.exp())
        return Point(self.mean, self.bias, step, step)

    @torch.no_grad()
    def constrain(self) -> None:
        """Keep standard deviations below the bound; the likelihood and the KL then share them."""
        for parameter in (self.log_variance, self.bias_log_variance):
            if parameter is not None:
                parameter.clamp_(max=self.largest)

    @abstractmethod
    def penalty(self) -> Tensor:
        """KL to the prior."""


@final
class MeanFieldPosterior(GaussianPosterior):
    """Weights and biases under N(0, prior_scale²)."""

    def __init__(self, info: LayerInfo, settings: MeanField) -> None:
        super().__init__(info, settings, bias_is_drawn=True)
        self.prior_scale = settings.prior_scale

    def penalty(self) -> Tensor:
        """KL to N(0, prior_scale²), in nats."""
        total = kl_to_centred(self.mean, self.log_variance, self.prior_scale)
        if self.bias is not None and self.bias_log_variance is not None:
            total = total + kl_to_centred(self.bias, self.bias_log_variance, self.prior_scale)
        return total


@final
class LogUniformPosterior(GaussianPosterior):
    """Weights under the log-uniform prior; the bias is a number. The KL is no code length."""

    def __init__(self, info: LayerInfo, settings: LogUniform) -> None:
        super().__init__(info, settings, bias_is_drawn=False)

    def penalty(self) -> Tensor:
        """KL to the log-uniform prior, up to a constant."""
        log_alpha = self.log_variance - torch.log(self.mean.square() + TINY)
        return kl_log_uniform(log_alpha.clamp(-10, 10)).sum()


def draw_normals(mean: Tensor, log_variance: Tensor, count: int) -> Tensor:
    """Independent normal numbers, `(count, *mean)`."""
    noise = mean.new_empty(count, *mean.shape).normal_()
    return noise.mul_(torch.exp(0.5 * log_variance)).add_(mean)


def kl_to_centred(mean: Tensor, log_variance: Tensor, prior_scale: float = 1.0) -> Tensor:
    """Sum over all numbers of KL(N(mean, variance) || N(0, prior_scale²)), in nats."""
    posterior = Normal(mean, torch.exp(0.5 * log_variance), validate_args=False)
    prior = Normal(mean.new_zeros(()), mean.new_tensor(prior_scale), validate_args=False)
    return kl_normal(posterior, prior).sum()
