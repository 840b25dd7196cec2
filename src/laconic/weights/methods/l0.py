"""L0 regularisation: gates that close, at a price for every number that they may let through.

A weight is a number times a gate from the hard concrete distribution; the penalty is lambda times
the expected count of open numbers. The gates of a group prune whole inputs of linear layers and
whole filters; those of single weights make a layer sparse.

The price. The source minimises mean loss + lambda L0 and gives lambda as 0.1 / N. The common rule,
mean negative log-likelihood + penalty / N, makes that `nats` = 0.1, exactly and for any N. In the
same way a weight decay of d in the loss's own units is `decay` = d N.

Source: Louizos 7.2 (ERRATA 15); Gallego-Posada et al. 2022 (arXiv 2208.04425) for `target`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import ClassVar

import torch
from torch import Tensor, nn

from laconic.distributions.hard_concrete import LEFT, RIGHT, TEMPERATURE, HardConcrete
from laconic.errors import ConfigError
from laconic.training.dual import ascend
from laconic.weights.base import (
    Apply,
    LayerInfo,
    Point,
    SharedPrior,
    WeightMethod,
    WeightPosterior,
    scale_channels,
)

SPREAD = 0.01
"""Standard deviation of log alpha at the start.  Source: Louizos 7.4."""

MOST_DROPOUT = 0.9
"""Gates that start more closed than this have hardly a test value to divide by."""

LEAST_LIMIT = math.log(-RIGHT / LEFT)
"""|log alpha| at which test gates reach 0 or 1."""

CHOICES = {"gates": ("group", "weight"), "draws": ("batch", "example")}
"""Values of the settings that are words."""


@dataclass(frozen=True)
class L0(WeightMethod):
    """Settings of L0 regularisation.

    Attributes:
        gates: "group": one gate for every input of a linear layer or a transposed convolution,
            every filter of another, its bias included, every feature of an embedding. "weight": one
            for every weight; biases have none.
        nats: N lambda, in nats for each number that is open. With `target`, what the multiplier
            starts from.
        layer_nats: the same for layers whose names fit a pattern, as in {"conv*": 10}; the first
            that fits counts. A layer that none fits has `nats`.
        decay: precision of the Gaussian prior on open numbers, N times the usual weight decay.
        dropout: gates start as closed as those of this dropout rate.
        input_dropout: the same where the first layer is linear, whose gates stand on the data.
        gate_rate: how much faster than numbers log alpha learns.
        temperature: beta of the gates.
        limit: |log alpha| is at most this.
        draws: "batch": one draw of the gates for a batch, as in the source's tables. "example":
            one for each example, for groups only: gradients of less variance at the same cost.
        target: share of the gated numbers that may be open, on average over the gates; 0 for none.
            The multiplier of this constraint then takes the place of `nats`. What is stored is
            sparser still: a gate whose test value is 0 is yet open with some probability.
        dual_rate: nats by which the multiplier would rise in a step with all open and a target of
            0; the fewer the steps, the larger. The source's 1e-4 for the mean loss and 200 passes
            is 1e-4 N / numbers here.
        restarts: whether the multiplier falls to 0 as soon as the target is met.

    Raises:
        ConfigError: a setting that is out of range, or two that contradict each other.
    """

    name: ClassVar[str] = "l0"
    gates: str = "group"
    nats: float = 0.1
    layer_nats: Mapping[str, float] = field(default_factory=dict)
    decay: float = 0.0
    dropout: float = 0.5
    input_dropout: float = 0.2
    gate_rate: float = 1.0
    temperature: float = TEMPERATURE
    limit: float = math.log(100)
    draws: str = "batch"
    target: float = 0.0
    dual_rate: float = 1e-4
    restarts: bool = True

    def __post_init__(self) -> None:
        for setting, words in CHOICES.items():
            if getattr(self, setting) not in words:
                raise ConfigError(f"l0.{setting}: write one of {', '.join(words)}")
        if self.draws == "example" and self.gates == "weight":
            raise ConfigError("l0.draws: 'example' needs gates: group")
        if not isinstance(self.layer_nats, Mapping):
            raise ConfigError("l0.layer_nats: write a mapping from layers' names to nats")
        least = min(self.nats, self.decay, self.dual_rate, *self.layer_nats.values())
        if least < 0:
            raise ConfigError("l0: nats, layer_nats, decay and dual_rate must not be negative")
        if min(self.temperature, self.gate_rate) <= 0:
            raise ConfigError("l0: temperature and gate_rate must be above 0")
        if not (0 < self.dropout <= MOST_DROPOUT and 0 < self.input_dropout <= MOST_DROPOUT):
            raise ConfigError(f"l0: dropout rates must lie in (0, {MOST_DROPOUT}]")
        if self.limit < LEAST_LIMIT:
            raise ConfigError(f"l0.limit: no gate closes before {LEAST_LIMIT:.3f}")
        if self.target:
            self._check_target()

    def _check_target(self) -> None:
        if self.layer_nats:
            raise ConfigError("l0.layer_nats: with a target one multiplier serves all layers")
        shut = HardConcrete(torch.tensor(-self.limit), self.temperature)
        least = float(shut.nonzero)
        if not least < self.target < 1:
            raise ConfigError(
                f"l0.target: {self.target} must lie between {least:.4f} and 1: no gate is open "
                "with less probability than that; raise l0.limit to go lower"
            )

    def rates(self) -> Mapping[str, float]:
        """Gates may learn faster than numbers."""
        return {"log_alpha": self.gate_rate}

    def posterior(self, info: LayerInfo) -> "L0Posterior":
        """A gate for every group or weight."""
        on_data = info.first and isinstance(info.layer, nn.Linear)
        return L0Posterior(
            info.weight,
            info.bias,
            info.group_axis if self.gates == "group" else None,
            info.groups_are_inputs,
            self.input_dropout if on_data else self.dropout,
            0.0 if self.target else self._price(info.name),
            self,
        )

    def shared(self, posteriors: Mapping[str, WeightPosterior]) -> SharedPrior:
        """The sum over layers, with the multiplier if there is a target.

        Raises:
            ConfigError: a pattern of `layer_nats` that fits no layer.
        """
        for pattern in self.layer_nats:
            if not any(fnmatchcase(name, pattern) for name in posteriors):
                raise ConfigError(f"l0.layer_nats: no layer fits '{pattern}'")
        return TargetedPrior(posteriors, self) if self.target else SharedPrior(posteriors)

    def _price(self, name: str) -> float:
        fitting = [nats for pattern, nats in self.layer_nats.items() if fnmatchcase(name, pattern)]
        return fitting[0] if fitting else self.nats


class L0Posterior(WeightPosterior):
    """Numbers behind hard concrete gates.

    The numbers start as the trained ones over the gates' test values, so that the stored network
    is at first the one that was converted.

    Args:
        weight: to start from.
        bias: shape `(outputs,)`, or None.
        axis: of the weight, on which one gate serves a whole group; None for a gate each.
        on_inputs: whether groups are inputs of the layer; otherwise outputs, with their biases.
        dropout: rate that the gates start from.
        nats: for each number that is open.
        settings: of the method.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        axis: int | None,
        on_inputs: bool,
        dropout: float,
        nats: float,
        settings: L0,
    ) -> None:
        super().__init__()
        self.axis, self.nats, self.settings = axis, nats, settings
        self.on_inputs = on_inputs
        shape = [n if axis in (None, i) else 1 for i, n in enumerate(weight.shape)]
        log_alpha = _log_odds(dropout) + SPREAD * torch.randn(shape).to(weight)
        self.log_alpha = nn.Parameter(log_alpha)
        z = self.gates.test_gate.detach()
        self.weight = nn.Parameter(weight / z)
        self.bias = None if bias is None else nn.Parameter(bias / self._of_bias(z))

    @property
    def gates(self) -> HardConcrete:
        """The gates' distribution, broadcastable to the weight."""
        return HardConcrete(self.log_alpha, self.settings.temperature)

    @property
    def numbers(self) -> int:
        """How many numbers have a gate."""
        assert isinstance(self.weight, Tensor)
        with_bias = self._gates_bias and self.bias is not None
        return self.weight.numel() + (len(self.weight) if with_bias else 0)

    @property
    def _gates_bias(self) -> bool:
        return self.axis is not None and not self.on_inputs

    def nonzero(self) -> Tensor:
        """P(w != 0), broadcastable to the weight."""
        return self.gates.nonzero

    def expected_open(self) -> Tensor:
        """How many of the gated numbers are open, on average.  Source: Louizos 106, 110."""
        nonzero = self.nonzero()
        return nonzero.sum() * (self.numbers / nonzero.numel())

    def forward(self, x: Tensor, apply: Apply) -> Tensor:
        """One draw of the gates for the batch, or one for each example."""
        if self.settings.draws == "example":
            return self._forward_each(x, apply)
        z = self.gates.rsample()
        bias = None if self.bias is None else self.bias * self._of_bias(z)
        return apply(x, self.weight * z, bias)

    def _forward_each(self, x: Tensor, apply: Apply) -> Tensor:
        """Gates on inputs, or on outputs, bias and all; one draw where there is no batch."""
        positions = self.weight.dim() - 2
        if self.on_inputs:
            z = self._draws(x)
            return apply(scale_channels(x, z, positions), self.weight, self.bias)
        y = apply(x, self.weight, self.bias)
        return scale_channels(y, self._draws(y), positions)

    def _draws(self, values: Tensor) -> Tensor:
        """`(batch, groups)` for a batch, else `(groups,)`."""
        batch = values.shape[:1] if values.dim() > self.weight.dim() - 1 else ()
        return HardConcrete(self.log_alpha.flatten(), self.settings.temperature).rsample(batch)

    def penalty(self) -> Tensor:
        """N lambda E[L0] + decay / 2 E[L2].  Source: Louizos 106, 109 to 111."""
        return self.nats * self.expected_open() + self._expected_decay()

    def _expected_decay(self) -> Tensor:
        """The prior's nats; both grow with every gate that opens, by the bias too."""
        nonzero = self.nonzero()
        squares = (nonzero * self.weight.square()).sum()
        if self.bias is not None:
            squares = squares + (self._of_bias(nonzero) * self.bias.square()).sum()
        return 0.5 * self.settings.decay * squares

    @torch.no_grad()
    def constrain(self) -> None:
        """Keep the gates where they have gradients."""
        self.log_alpha.clamp_(-self.settings.limit, self.settings.limit)

    @torch.no_grad()
    def point(self) -> Point:
        """Numbers times their test gates, with exact zeros."""
        z = self.gates.test_gate
        bias = None if self.bias is None else _times(self.bias, self._of_bias(z))
        return Point(_times(self.weight, z), bias)

    def _of_bias(self, of_gates: Tensor) -> Tensor:
        """What belongs to the bias: a filter's is one of its group, others have no gate."""
        return of_gates.flatten() if self._gates_bias else of_gates.new_ones(())


class TargetedPrior(SharedPrior):
    """A multiplier instead of a price: it rises while more is open than the target says.

    The penalty is the Lagrangian's without its constant, multiplier x target x numbers. The
    multiplier is in nats for each open number, like the price that it replaces; do not warm the
    penalty up, it rises by itself.

    Args:
        posteriors: of the layers by name.
        settings: of the method.

    Formula: multiplier += dual_rate (E[L0] / numbers - target), at least 0.
    Source: Gallego-Posada et al. 2022 (arXiv 2208.04425), with their dual restarts.
    """

    multiplier: Tensor

    def __init__(self, posteriors: Mapping[str, WeightPosterior], settings: L0) -> None:
        super().__init__(posteriors)
        self.settings = settings
        self.register_buffer("multiplier", torch.tensor(settings.nats))

    def expected_open(self) -> Tensor:
        """Of all layers, on average."""
        return torch.stack([each.expected_open() for each in self._gated]).sum()

    @property
    def share(self) -> Tensor:
        """Expected share of the gated numbers that are open."""
        return self.expected_open() / sum(each.numbers for each in self._gated)

    @property
    def _gated(self) -> list[L0Posterior]:
        return [each for each in self.posteriors.values() if isinstance(each, L0Posterior)]

    def forward(self) -> Tensor:
        """Nats of the whole network at the multiplier as it stands."""
        return super().forward() + self.multiplier * self.expected_open()

    @torch.no_grad()
    def constrain(self) -> None:
        """Bound the gates, then one step of ascent."""
        super().constrain()
        excess = self.share.to(self.multiplier) - self.settings.target
        ascend(
            self.multiplier,
            excess,
            self.settings.dual_rate,
            inequality=True,
            restarts=self.settings.restarts,
        )


def _log_odds(dropout: float) -> float:
    return math.log(1 - dropout) - math.log(dropout)


def _times(numbers: Tensor, gates: Tensor) -> Tensor:
    """The product, where closed gates leave 0 and never -0."""
    return torch.where(gates > 0, numbers * gates, 0.0)
