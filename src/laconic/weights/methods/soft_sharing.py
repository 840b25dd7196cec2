"""Soft weight-sharing: weights cluster around the means of a mixture that learns with them.

The posterior is a point, so that what is told of a weight is -log p(w) under a mixture of Gaussians
that all layers share. One component stays at zero and takes most of the weights; after training,
`quantise` puts every weight at the mean of its component.

```python
penalty = convert(net, "sws")                             # net: trained before
both = nn.ModuleDict({"net": net, "prior": penalty.prior})  # what the optimiser is given
...
penalty.quantise()                                        # at most `components` distinct values
```

-log p(w) is a density's: a penalty that may be negative, and no code length before `quantise`.

Only training makes the weights few-valued: `quantise` moves those that are not yet near the mean of
their component, and warns where that changes a layer much.

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
    WeightMethod,
    WeightPosterior,
)
from laconic.weights.methods.mixture import BetaPrior, Components, GammaPrior, Mixture

START_SHARE = 0.25
"""Where deviations start, in root mean squares of the weights: wider ones pull too little for
weights to gather in a few epochs. Measured on a network of 784-100-10 after three epochs."""

PRIOR_SHARE = 0.125
"""What the hyper-priors ask for, in root mean squares of the weights."""

LARGEST_CHANGE = 0.075
"""Root mean square of what `quantise` may change in a layer, over that of its weights, before it
warns. On a network of 784-100-10 after three epochs, 0.05 cost 0.4 points of accuracy, 0.09 cost
3.6 and 0.5 cost 33."""


class NotSettled(UserWarning):
    """Weights had not gathered around the values that they were put on, and have changed much."""


@dataclass(frozen=True)
class SoftSharing(WeightMethod):
    """Settings of soft weight-sharing; the hyper-priors are as firm as so many weights seen.

    Attributes:
        tau: factor on the negative log-prior (the released code: 0.003; Ullrich 4.3: 0.005; both
            are for long training, after which small pulls have added up).
        components: of the mixture, the zero one counted in.
        zero_share: mixing proportion of the zero component.
        zero_share_count: firmness of the Beta hyper-prior on it; 0 holds it fixed.
        deviation: standard deviation that the Gamma hyper-priors of all components ask for; None
            for an eighth of the weights' root mean square.
        zero_count: firmness of the zero component's Gamma; 0 for none.
        other_count: the same for each of the others.
        start_deviation: where all components start; None for a quarter of the weights' root mean
            square.
        subset: weights that a training step looks at, drawn anew each time; 0 for all.
        merge_kl: components closer than this, in nats, merge in the end.
        biases: whether biases are among the weights that are shared.

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
        """The mixture, spread over the range of the weights."""
        return SharedMixture(posteriors, self)


class PointPosterior(WeightPosterior):
    """No uncertainty: the numbers are parameters.

    Args:
        weight: to start from.
        bias: shape `(outputs,)`, or None.
        biases: whether the bias is shared, too.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, biases: bool = True) -> None:
        super().__init__()
        self.biases = biases
        self.weight = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)

    @property
    def numbers(self) -> list[nn.Parameter]:
        """What the mixture is a prior of."""
        return [self.weight] + ([self.bias] if self.biases and self.bias is not None else [])

    def forward(self, x: Tensor, apply: Apply) -> Tensor:
        """Nothing is drawn."""
        return apply(x, self.weight, self.bias)

    def penalty(self) -> Tensor:
        """0: what a point costs, the mixture that all layers share says."""
        return self.weight.new_zeros(())

    @torch.no_grad()
    def point(self) -> Point:
        """The numbers as they are; after `quantise`, means of components."""
        return Point(self.weight.detach(), None if self.bias is None else self.bias.detach())


class SharedMixture(SharedPrior):
    """The mixture of a whole network.

    Attributes:
        mixture: what is learned along with the weights.
        deviation: standard deviation that the hyper-priors ask for.

    Args:
        posteriors: of the layers by name; they stay the network's own.
        settings: of the method.
    """

    deviation: Tensor

    rate_factors: ClassVar[Mapping[str, float]] = {
        "mixture.means": 0.2,
        "mixture.log_precisions": 6.0,
        "mixture.mixing_logits": 6.0,
        "mixture.zero_logit": 6.0,
    }
    """Weights at 5e-4 make means 1e-4, the others 3e-3: the rates of the released code."""

    def __init__(self, posteriors: Mapping[str, WeightPosterior], settings: SoftSharing) -> None:
        super().__init__(posteriors)
        self.settings = settings
        values = self.values().detach()
        low, high = float(values.min()), float(values.max())
        means = torch.linspace(low, high, settings.components - 1).to(values)
        size = float(values.double().square().mean().sqrt()) or 1.0
        # Kept with the state, so that training resumes exactly.
        deviation = values.new_tensor(settings.deviation or PRIOR_SHARE * size)
        self.register_buffer("deviation", deviation, persistent=settings.deviation is None)
        start = settings.start_deviation or START_SHARE * size
        learn = settings.zero_share_count > 0
        self.mixture = Mixture(means, start, settings.zero_share, learn)

    def values(self) -> Tensor:
        """All numbers that are shared, with gradients; shape `(count,)`."""
        return torch.cat([number.reshape(-1) for number in self._numbers()])

    def forward(self) -> Tensor:
        """-tau log p(weights, mixture), in nats; in training mode, the estimate of a subset.

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
        """Of the mixture's parameters, in nats; a scalar."""
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
        """The components that `quantise` assigns weights to."""
        return self.mixture.components().merged(self.settings.merge_kl)

    @torch.no_grad()
    def quantise(self) -> None:
        """Put every weight at the mean of the component that most probably made it.

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
                f"the weights were not near the values that they are now on; this has changed "
                f"{', '.join(large)} (root mean square), and the network's answers with it. Train "
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
