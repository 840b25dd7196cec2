"""L0 regularisation: gates on weights or groups, and a penalty on the number of open weights.

A weight is a number times a gate with the hard concrete distribution. The penalty is lambda times
the expected number of weights that are not zero. A gate per group prunes inputs of linear layers
and filters; a gate per weight makes a layer sparse.

Units. The source minimises mean loss + lambda L0 with lambda = 0.1 / N. With this library's rule,
mean negative log-likelihood + penalty / N, that is `nats` = 0.1 for any N. Likewise a weight decay
of d in units of the loss is `decay` = d N.

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
from laconic.training.dual import update_multiplier
from laconic.weights.base import (
    Apply,
    LayerInfo,
    Point,
    SharedPrior,
    StoredPosterior,
    WeightMethod,
    WeightPosterior,
)
from laconic.weights.methods.drawing import scale_channels

SPREAD = 0.01
"""Initial standard deviation of log alpha.  Source: Louizos 7.4."""

MOST_DROPOUT = 0.9
"""Largest initial dropout rate: beyond, test gates are too close to 0 to divide by."""

LEAST_LIMIT = math.log(-RIGHT / LEFT)
"""|log alpha| at which test gates become 0 or 1."""

CHOICES = {"gates": ("group", "weight"), "draws": ("batch", "example")}
"""Allowed values of settings."""


@dataclass(frozen=True)
class L0(WeightMethod):
    """Settings of L0 regularisation.

    Attributes:
        gates: "group": one gate for every input of a linear layer or a transposed convolution,
            every filter of another convolution with its bias, every feature of an embedding.
            "weight": one for every weight; biases have none.
        nats: N lambda, in nats for each open number. With `target`: the multiplier's initial value.
        layer_nats: the same for layers whose names match a pattern, as in {"conv*": 10}; the first
            pattern that matches counts. Other layers have `nats`.
        decay: precision of the Gaussian prior on open numbers, N times the usual weight decay.
        dropout: initial dropout rate of the gates.
        input_dropout: the same for a first layer that is linear, whose gates are on the data.
        gate_rate: learning rate of log alpha, relative to the numbers'.
        temperature: beta of the gates.
        limit: largest |log alpha|.
        draws: "batch": one draw of the gates for a batch, as in the source's tables. "example":
            one for each example, for groups only: gradients of less variance at the same cost.
        target: largest expected share of the gated numbers that is open; 0: no constraint. With it,
            the constraint's multiplier replaces `nats`. The stored network is sparser: a gate with
            test value 0 is open with some probability in training.
        dual_rate: increase of the multiplier, in nats a step, if all numbers are open and the
            target is 0; larger for fewer steps. The source's 1e-4, for the mean loss and 200
            passes, is 1e-4 N / numbers here.
        restarts: whether the multiplier becomes 0 as soon as the target is met.

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
            raise ConfigError(
                f"l0.limit: {self.limit} is below {LEAST_LIMIT:.3f}, where no gate closes"
            )
        if self.target:
            self._check_target()

    def _check_target(self) -> None:
        if self.layer_nats:
            raise ConfigError(
                "l0.layer_nats: remove it, or target, whose multiplier is for all layers"
            )
        shut = HardConcrete(torch.tensor(-self.limit), self.temperature)
        least = float(shut.nonzero)
        if not least < self.target < 1:
            raise ConfigError(
                f"l0.target: {self.target} must be between {least:.4f}, the least probability that "
                "a gate is open, and 1; a larger l0.limit allows smaller targets"
            )

    def rates(self) -> Mapping[str, float]:
        """The gates' relative learning rate."""
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
            0.0 if self.target else self._nats_of(info.name),
            self,
        )

    def shared(self, posteriors: Mapping[str, WeightPosterior]) -> SharedPrior:
        """The sum over layers, with the multiplier if there is a target.

        Raises:
            ConfigError: a pattern of `layer_nats` matches no layer.
        """
        for pattern in self.layer_nats:
            if not any(fnmatchcase(name, pattern) for name in posteriors):
                raise ConfigError(f"l0.layer_nats: '{pattern}' matches no layer")
        return TargetedPrior(posteriors, self) if self.target else SharedPrior(posteriors)

    def _nats_of(self, name: str) -> float:
        fitting = [nats for pattern, nats in self.layer_nats.items() if fnmatchcase(name, pattern)]
        return fitting[0] if fitting else self.nats


class L0Posterior(StoredPosterior):
    """Numbers multiplied by hard concrete gates.

    The numbers start as the trained weights divided by the gates' test values, so that conversion
    does not change the stored network.

    Args:
        weight: initial weight.
        bias: shape `(outputs,)`, or None.
        axis: the weight's axis with a gate for every entry; None: a gate for every weight.
        on_inputs: whether groups are inputs of the layer; otherwise they are outputs, with their
            biases.
        dropout: initial dropout rate of the gates.
        nats: penalty for each open number.
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
        """Number of gated numbers."""
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
        """Expected number of gated numbers that are open.  Source: Louizos 106, 110."""
        nonzero = self.nonzero()
        return nonzero.sum() * (self.numbers / nonzero.numel())

    def forward(self, x: Tensor, apply: Apply) -> Tensor:
        """Draw the gates, once for the batch or once for each example."""
        if self.settings.draws == "example":
            return self._forward_each(x, apply)
        z = self.gates.rsample()
        bias = None if self.bias is None else self.bias * self._of_bias(z)
        return apply(x, self.weight * z, bias)

    def _forward_each(self, x: Tensor, apply: Apply) -> Tensor:
        """Gate inputs, or outputs with their bias; one draw where there is no batch."""
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
        """Expected decay / 2 E[L2], in nats; biases count, gated or not."""
        nonzero = self.nonzero()
        squares = (nonzero * self.weight.square()).sum()
        if self.bias is not None:
            squares = squares + (self._of_bias(nonzero) * self.bias.square()).sum()
        return 0.5 * self.settings.decay * squares

    @torch.no_grad()
    def constrain(self) -> None:
        """Keep log alpha within its limit, where gates have gradients."""
        self.log_alpha.clamp_(-self.settings.limit, self.settings.limit)

    @torch.no_grad()
    def point(self) -> Point:
        """Numbers times their test gates; exact zeros where a gate is 0."""
        z = self.gates.test_gate
        bias = None if self.bias is None else _times(self.bias, self._of_bias(z))
        return Point(_times(self.weight, z), bias)

    def _of_bias(self, of_gates: Tensor) -> Tensor:
        """The bias' part of a value per gate: a filter's bias has its gate, others have none."""
        return of_gates.flatten() if self._gates_bias else of_gates.new_ones(())


class TargetedPrior(SharedPrior):
    """A constraint on the share of open numbers: its multiplier replaces `nats`.

    The multiplier rises while the share is above the target. The penalty is that of the Lagrangian
    without the constant multiplier x target x numbers. The multiplier is in nats for each open
    number. Use no warm-up: the multiplier starts small.

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
        """Expected number of open numbers in all layers."""
        return torch.stack([each.expected_open() for each in self._gated]).sum()

    @property
    def share(self) -> Tensor:
        """Expected share of the gated numbers that are open."""
        return self.expected_open() / sum(each.numbers for each in self._gated)

    @property
    def _gated(self) -> list[L0Posterior]:
        return [each for each in self.posteriors.values() if isinstance(each, L0Posterior)]

    def forward(self) -> Tensor:
        """Nats of the whole network with the current multiplier."""
        return super().forward() + self.multiplier * self.expected_open()

    @torch.no_grad()
    def constrain(self) -> None:
        """Keep the gates within bounds, then take one step of ascent on the multiplier."""
        super().constrain()
        excess = self.share.to(self.multiplier) - self.settings.target
        update_multiplier(
            self.multiplier,
            excess,
            self.settings.dual_rate,
            inequality=True,
            restarts=self.settings.restarts,
        )


def _log_odds(dropout: float) -> float:
    return math.log(1 - dropout) - math.log(dropout)


def _times(numbers: Tensor, gates: Tensor) -> Tensor:
    """The product; closed gates give 0 and never -0."""
    return torch.where(gates > 0, numbers * gates, 0.0)
