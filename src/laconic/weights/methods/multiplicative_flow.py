"""Multiplicative normalising flows (MNF): Gaussians times scales with a flexible distribution.

w ~ N(z m, variance) for every weight, one z for every input of a linear layer or filter of a
convolution, and z from a flow. The KL has no closed form; it is bounded by means of an auxiliary
distribution r(z | W), which has a flow of its own. Biases are Gaussians without z.

The published code names a logarithm of standard deviations "logvar", and bounds the deviations in
the likelihood but not in the KL. Here they are variances, and both have the same bound.

Source: Louizos 4.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from laconic.errors import ConfigError
from laconic.networks.masked_flow import MaskedFlow
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
from laconic.weights.methods.drawing import draw_outputs, scale_channels, squared
from laconic.weights.methods.gaussians import TINY, draw_normals, kl_to_centred

POINT_DRAWS = 32
"""Draws of z whose mean stands for E[z] where nothing is drawn."""


@final
@dataclass(frozen=True)
class MultiplicativeFlow(WeightMethod):
    """Settings of MNF.

    Attributes:
        steps: of the flow of z.
        auxiliary_steps: of the flow of r(z | W).
        hidden: width of the flows' hidden layers.
        log_variance: initial log variances of the weights, the biases and of z before its flow.
        largest_scale: bound on the standard deviations of the weights (the source: 0.5 on MNIST,
            0.4 on CIFAR-10).
    """

    name: ClassVar[str] = "mnf"
    rate_factors: ClassVar[Mapping[str, float]] = {"log_variance": 5.0, "bias_log_variance": 5.0}
    steps: int = 2
    auxiliary_steps: int = 2
    hidden: int = 50
    log_variance: float = -9.0
    largest_scale: float = 0.5

    def __post_init__(self) -> None:
        """Refuse settings that cannot be."""
        if min(self.steps, self.auxiliary_steps) < 0 or self.hidden < 1:
            raise ConfigError("steps and auxiliary_steps must be 0 or more, hidden 1 or more")
        if not self.largest_scale > 0:
            raise ConfigError(f"largest_scale is {self.largest_scale}: give a number above 0")

    def posterior(self, info: LayerInfo) -> "MultiplicativeFlowPosterior":
        """Gaussians around the weights, times scales that start near 1."""
        return MultiplicativeFlowPosterior(info, self)


class Auxiliary(nn.Module):
    """r(z | W): a Gaussian in front of a flow that runs from z to it.

    Args:
        like: a tensor whose type and device the parameters get.
        count: numbers in z.
        settings: of the method.
    """

    def __init__(self, like: Tensor, count: int, settings: MultiplicativeFlow) -> None:
        super().__init__()

        def vector() -> nn.Parameter:
            return nn.Parameter(torch.randn(count).to(like) / math.sqrt(count))

        self.contraction, self.location, self.spread = vector(), vector(), vector()
        self.flow = MaskedFlow(count, settings.hidden, settings.auxiliary_steps).to(like)

    def log_prob(self, z: Tensor, summary: Tensor) -> Tensor:
        """Logarithm of r(z | W), in nats; a scalar for one z.

        Args:
            z: shape `(count,)`.
            summary: mean of tanh(cᵀ W), a scalar.

        Formula: z goes through the flow to y; r(y) = N(b1 summary, sigmoid(b2 summary)²).
        Source: Louizos 53 to 57 and 60.
        """
        image, log_det = self.flow(z)
        scale = torch.sigmoid(self.spread * summary)
        base = Normal(self.location * summary, scale, validate_args=False)
        result: Tensor = normal_log_prob(base, image) + log_det
        return result


@final
class MultiplicativeFlowPosterior(StoredPosterior):
    """Gaussians under scales z from a flow.

    Args:
        info: the layer; its weights are the initial means, since z starts near 1.
        settings: of the method.

    Attributes:
        mean: m, in the weight's shape.
        log_variance: of the weights, in the weight's shape.
        scale_mean: of z before its flow, `(groups,)`.
        scale_log_variance: of z before its flow, `(groups,)`.
        bias: means of the biases, or None.
        bias_log_variance: of the biases, or None.
        flow: of z.
        auxiliary: r(z | W).
    """

    scale_steps: ClassVar[Mapping[str, float]] = {
        "log_variance": LOG_VARIANCE_STEP,
        "scale_log_variance": LOG_VARIANCE_STEP,
        "bias_log_variance": LOG_VARIANCE_STEP,
    }
    training_only: ClassVar[tuple[str, ...]] = ("auxiliary.",)

    def __init__(self, info: LayerInfo, settings: MultiplicativeFlow) -> None:
        super().__init__()
        weight, bias = info.weight, info.bias
        self.axis, self.on_inputs = info.group_axis, info.groups_are_inputs
        self.largest = 2 * math.log(settings.largest_scale)
        count, start = weight.shape[self.axis], settings.log_variance
        self.mean = nn.Parameter(weight)
        self.log_variance = nn.Parameter(torch.full_like(weight, start))
        self.scale_mean = nn.Parameter(weight.new_ones(count))
        self.scale_log_variance = nn.Parameter(weight.new_full((count,), start))
        self.bias = None if bias is None else nn.Parameter(bias)
        self.bias_log_variance = (
            None if bias is None else nn.Parameter(torch.full_like(bias, start))
        )
        self.flow = MaskedFlow(count, settings.hidden, settings.steps).to(weight)
        self.auxiliary = Auxiliary(weight, count, settings)
        self.constrain()

    def draw(self, count: tuple[int, ...]) -> Tensor:
        """Samples of z, shape `(*count, groups)`."""
        return self._draw_scales(count)[0]

    def _draw_scales(self, count: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Samples of z, `(*count, groups)`, and log q(z), `(*count,)`.  Source: Louizos 61."""
        noise = torch.randn(*count, len(self.scale_mean)).to(self.scale_mean)
        scale = torch.exp(0.5 * self.scale_log_variance)
        start = self.scale_mean + scale * noise
        base = Normal(self.scale_mean, scale, validate_args=False)
        z, log_det = self.flow(start)
        return z, normal_log_prob(base, start) - log_det

    def scaled(self, z: Tensor) -> Tensor:
        """Means times z, for z of shape `(*count, groups)`; `(*count, *weight)`."""
        before, behind = self.axis, self.mean.dim() - 1 - self.axis
        return z.view(*z.shape[:-1], *[1] * before, z.shape[-1], *[1] * behind) * self.mean

    def forward(self, x: Tensor, apply: Apply) -> Tensor:
        """Draw z for every example, and outputs in place of weights.

        Source: Louizos, algorithms 1 and 2.
        """
        positions = self.mean.dim() - 2
        spread = None if self.bias_log_variance is None else self.bias_log_variance.exp()
        variance = apply(squared(x), self.log_variance.exp(), spread)
        if self.on_inputs:
            z = self.draw(tuple(x.shape[:1]) if x.dim() > positions + 1 else ())
            mean = apply(scale_channels(x, z, positions), self.mean, self.bias)
        else:
            mean = apply(x, self.mean, None)
            z = self.draw(tuple(mean.shape[:1]) if mean.dim() > positions + 1 else ())
            mean = scale_channels(mean, z, positions)
            if self.bias is not None:
                mean = mean + self.bias.view(-1, *[1] * positions)
        return draw_outputs(mean, variance + TINY)

    def penalty(self) -> Tensor:
        """An upper bound on KL(q(W) || N(0, I)) from one draw of z and W, in nats.

        Formula: KL(q(W | z) || p(W)) + log q(z) - log r(z | W). W enters r by cᵀ W alone, which is
        drawn in its place.
        Source: Louizos 58 to 61.
        """
        z, log_q = self._draw_scales(())
        total = kl_to_centred(self.scaled(z), self.log_variance)
        if self.bias is not None and self.bias_log_variance is not None:
            total = total + kl_to_centred(self.bias, self.bias_log_variance)
        return total + log_q - self.auxiliary.log_prob(z, self._summary(z))

    def _summary(self, z: Tensor) -> Tensor:
        """Mean of tanh(cᵀ W) for a draw of W, given z.  Source: Louizos 54 and 56."""
        contraction = self.auxiliary.contraction
        groups = self.mean.movedim(self.axis, 0).flatten(1)
        variances = self.log_variance.exp().movedim(self.axis, 0).flatten(1)
        mean = (contraction * z) @ groups
        return torch.tanh(draw_outputs(mean, contraction.square() @ variances + TINY)).mean()

    @torch.no_grad()
    def draw_weights(self, count: int) -> Draws:
        """Independent draws of z and, given it, of the weights and biases."""
        z = self.draw((count,))
        weights = draw_normals(torch.zeros_like(self.mean), self.log_variance, count)
        weights += self.scaled(z)
        if self.bias is None or self.bias_log_variance is None:
            return weights, None
        return weights, draw_normals(self.bias, self.bias_log_variance, count)

    @torch.no_grad()
    def code_scales(self) -> Mapping[str, Tensor]:
        """Of the means, of z before its flow, and of the biases."""
        found = {
            "mean": torch.exp(0.5 * self.log_variance),
            "scale_mean": torch.exp(0.5 * self.scale_log_variance),
        }
        if self.bias_log_variance is not None:
            found["bias"] = torch.exp(0.5 * self.bias_log_variance)
        return found

    @torch.no_grad()
    def expected_scales(self) -> Tensor:
        """E[z] from draws that are always the same, in pairs of opposite noise; `(groups,)`."""
        devices = [self.mean.device] if self.mean.is_cuda else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(0)
            noise = torch.randn(POINT_DRAWS // 2, len(self.scale_mean)).to(self.scale_mean)
            both = torch.cat([noise, -noise]) * torch.exp(0.5 * self.scale_log_variance)
            z, _ = self.flow(self.scale_mean + both)
        mean: Tensor = z.mean(0)
        return mean

    @torch.no_grad()
    def point(self) -> Point:
        """E[z] times the means; the step follows from the variances."""
        step = step_of(self.log_variance.exp())
        return Point(self.scaled(self.expected_scales()), self.bias, step, step)

    @torch.no_grad()
    def constrain(self) -> None:
        """Keep deviations below the bound; the likelihood and the KL then share them."""
        self.log_variance.clamp_(max=self.largest)


def normal_log_prob(base: Normal, value: Tensor) -> Tensor:
    """Log density of independent normal numbers, summed over the last axis, in nats."""
    total: Tensor = base.log_prob(value)  # type: ignore[no-untyped-call]
    return total.sum(-1)
