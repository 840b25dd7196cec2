"""Soft weight-sharing: weights cluster around the means of a mixture that is trained with them.

The posterior is a point. The penalty of a weight is -log p(w) under a mixture of Gaussians, the
same for all layers. One component has mean zero and takes most of the weights. After training,
`quantise` sets every weight to the mean of its component.

```python
penalty = convert(net, "sws")                             # net: trained before
both = nn.ModuleDict({"net": net, "prior": penalty.prior})  # for the optimiser
...
penalty.quantise()                                        # at most `components` distinct values
```

p(w) is a density: the penalty may be negative, and is no code length before `quantise`.

`quantise` moves the weights that training has not brought near the mean of their component, and
warns where that changes a layer much.

Source: Ullrich, Meeds & Welling 2017; Ullrich ch. 4.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from laconic.errors import ConfigError
from laconic.weights.base import (
    Apply,
    LayerInfo,
    Point,
    SharedPrior,
    StoredPosterior,
    WeightMethod,
    WeightPosterior,
)
from laconic.weights.methods.mixture import BetaPrior, Components, GammaPrior, Mixture

START_SHARE = 0.25
"""Initial standard deviations, in root mean squares of the weights. With wider ones weights need
more epochs to cluster. Measured on a network of 784-100-10 after three epochs."""

PRIOR_SHARE = 0.125
"""Standard deviation that the hyper-priors favour, in root mean squares of the weights."""

LARGEST_CHANGE = 0.075
"""`quantise` warns where it changes a layer more than this: root mean square of the change over
that of the weights. On a network of 784-100-10 after three epochs, 0.05 cost 0.4 points of
accuracy, 0.09 cost 3.6 and 0.5 cost 33."""


class NotSettled(UserWarning):
    """Weights were far from the values that `quantise` set them to, and have changed much."""


@dataclass(frozen=True)
class SoftSharing(WeightMethod):
    """Settings of soft weight-sharing. A hyper-prior of count n is as strong as n observed weights.

    Attributes:
        tau: factor on the negative log-prior (the released code: 0.003; Ullrich 4.3: 0.005; both
            for long training).
        components: number of components, the zero component included.
        zero_share: mixing proportion of the zero component.
        zero_share_count: count of the Beta hyper-prior on this proportion; 0: it is fixed.
        deviation: standard deviation that the Gamma hyper-priors of all components favour; None: an
            eighth of the weights' root mean square.
        zero_count: count of the zero component's Gamma hyper-prior; 0: no hyper-prior.
        other_count: the same for each other component.
        start_deviation: initial standard deviation of all components; None: a quarter of the
            weights' root mean square.
        subset: number of weights that a training step draws for its estimate; 0: all.
        merge_kl: `quantise` merges components that are closer than this, in nats.
        biases: whether biases are shared, too.

    Raises:
        ConfigError: a setting out of range.
    """

    name: ClassVar[str] = "sws"
    tau: float = 0.2
    components: int = 17
    zero_share: float = 0.99
    zero_share_count: float = 0.0
    deviation: float | None = None
    zero_count: float = 10_000.0
    other_count: float = 500.0
    start_deviation: float | None = None
    subset: int = 0
    merge_kl: float = 0.01
    biases: bool = True

    def __post_init__(self) -> None:
        if self.components < 2:
            raise ConfigError("sws.components: at least 2, the zero component and another")
        if not 0 < self.zero_share < 1:
            raise ConfigError(f"sws.zero_share: {self.zero_share} is not between 0 and 1")
        for name in ("tau", "deviation", "start_deviation"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ConfigError(f"sws.{name}: must be above 0")
        for name in ("zero_share_count", "zero_count", "other_count", "subset", "merge_kl"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"sws.{name}: must not be negative")

    def posterior(self, info: LayerInfo) -> "PointPosterior":
        """The layer's numbers themselves."""
        return PointPosterior(info.weight, info.bias, self.biases)

    def shared(self, posteriors: Mapping[str, WeightPosterior]) -> "SharedMixture":
        """The mixture; its initial means are spread over the range of the weights."""
        return SharedMixture(posteriors, self)


class PointPosterior(StoredPosterior):
    """A point: the numbers are parameters, nothing is drawn.

    Args:
        weight: initial weight.
        bias: shape `(outputs,)`, or None.
        biases: whether the mixture is the bias' prior, too.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, biases: bool = True) -> None:
        super().__init__()
        self.biases = biases
        self.weight = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)

    @property
    def numbers(self) -> list[nn.Parameter]:
        """The tensors that the mixture is the prior of."""
        return [self.weight] + ([self.bias] if self.biases and self.bias is not None else [])

    def forward(self, x: Tensor, apply: Apply) -> Tensor:
        """The layer's output with the numbers."""
        return apply(x, self.weight, self.bias)

    def penalty(self) -> Tensor:
        """0: the shared mixture has the penalty of all layers."""
        return self.weight.new_zeros(())

    @torch.no_grad()
    def point(self) -> Point:
        """The numbers; after `quantise`, means of components."""
        return Point(self.weight.detach(), None if self.bias is None else self.bias.detach())


class SharedMixture(SharedPrior):
    """The mixture of a whole network.

    Attributes:
        mixture: trained with the weights.
        deviation: standard deviation that the hyper-priors favour.

    Args:
        posteriors: of the layers by name; they stay part of the network.
        settings: of the method.
    """

    deviation: Tensor

    rate_factors: ClassVar[Mapping[str, float]] = {
        "mixture.means": 0.2,
        "mixture.log_precisions": 6.0,
        "mixture.mixing_logits": 6.0,
        "mixture.zero_logit": 6.0,
    }
    """The released code's rates: 5e-4 for weights, 1e-4 for means, 3e-3 for the others."""

    def __init__(self, posteriors: Mapping[str, WeightPosterior], settings: SoftSharing) -> None:
        super().__init__(posteriors)
        self.settings = settings
        values = self.values().detach()
        low, high = float(values.min()), float(values.max())
        means = torch.linspace(low, high, settings.components - 1).to(values)
        size = float(values.double().square().mean().sqrt()) or 1.0
        # Part of the state, so that training resumes exactly.
        deviation = values.new_tensor(settings.deviation or PRIOR_SHARE * size)
        self.register_buffer("deviation", deviation, persistent=settings.deviation is None)
        start = settings.start_deviation or START_SHARE * size
        learn = settings.zero_share_count > 0
        self.mixture = Mixture(means, start, settings.zero_share, learn)

    def values(self) -> Tensor:
        """All numbers that the mixture is the prior of, with gradients; shape `(count,)`."""
        return torch.cat([number.reshape(-1) for number in self._numbers()])

    def forward(self) -> Tensor:
        """-tau log p(weights, mixture) in nats; in training mode, an estimate from a subset.

        Formula: -tau (I / K Σ_k log p(w_k) + hyper-priors), K draws among I weights with
        replacement: unbiased. Source: Ullrich 4.6, 9.19.
        """
        values, subset = self.values(), self.settings.subset
        scale = 1.0
        if self.training and 0 < subset < len(values):
            scale = len(values) / subset
            values = values[torch.randint(len(values), (subset,), device=values.device)]
        density = scale * self.mixture.components().log_density(values).sum()
        return -self.settings.tau * (density + self.log_hyper_prior())

    def log_hyper_prior(self) -> Tensor:
        """Log density of the mixture's parameters, in nats; a scalar."""
        settings, mixture = self.settings, self.mixture
        total = mixture.means.new_zeros(())
        parts = (mixture.log_precisions[:1], mixture.log_precisions[1:])
        for part, count in zip(parts, (settings.zero_count, settings.other_count), strict=True):
            if count:
                gamma = GammaPrior.around(float(self.deviation), count)
                total = total + gamma.log_density(part).sum()
        if settings.zero_share_count:
            beta = BetaPrior.around(settings.zero_share, settings.zero_share_count)
            total = total + beta.log_density(mixture.zero_logit)
        return total

    @torch.no_grad()
    def merged(self) -> Components:
        """The components after merging, which `quantise` assigns weights to."""
        return self.mixture.components().merged(self.settings.merge_kl)

    @torch.no_grad()
    def quantise(self) -> None:
        """Set every weight to the mean of its most probable component.

        Warns:
            NotSettled: that changes a layer's weights by more than `LARGEST_CHANGE`.

        Source: Ullrich 4.3, "Post-Processing".
        """
        components, changes = self.merged(), {}
        for name, posterior in self.posteriors.items():
            assert isinstance(posterior, PointPosterior)
            before = posterior.weight.clone()
            for number in posterior.numbers:
                chosen = components.responsible(number.reshape(-1))
                number.copy_(components.means[chosen].reshape(number.shape))
            size = float(before.norm())
            changes[name] = float((posterior.weight - before).norm()) / size if size else 0.0
        large = [f"{name} by {c:.0%}" for name, c in changes.items() if c > LARGEST_CHANGE]
        if large:
            warnings.warn(
                f"quantise() changed {', '.join(large)} (root mean square), since the weights were "
                "not near the shared values; the network's outputs have changed with them. Train "
                "longer before quantise(), or with a larger tau",
                NotSettled,
                stacklevel=3,
            )

    def _numbers(self) -> list[nn.Parameter]:
        return [
            number
            for posterior in self.posteriors.values()
            if isinstance(posterior, PointPosterior)
            for number in posterior.numbers
        ]
