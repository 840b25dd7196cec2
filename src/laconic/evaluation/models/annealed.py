"""Annealed importance sampling: bounds of the likelihood that need no good encoder.

```
 start: e(z | x) or m(z) ── bridges: start^(1-t) target^t, moves at each ──► m(z) d(x | z)
 weight of a chain: product of the ratios of neighbouring bridges; its mean is p(x)
```

Moves change the noise from which the start is computed: for a normal behind a flow, in units of its
scale and before the flow, so that one step size suits all dimensions.
Source: Neal 2001 (AIS), Neal 2011 (Hamiltonian moves), Wu et al. 2017 (schedule, decoders).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, TransformedDistribution
from torch.distributions.transforms import Transform, _InverseTransform

from laconic.distributions.divergence import density
from laconic.errors import ConfigError
from laconic.evaluation.models.estimates import (
    DEFAULT,
    Estimate,
    Sampling,
    UnavailableMeasureError,
    batches,
    estimate,
    log_volume,
    measuring,
)
from laconic.models.base import Context, LatentVariableModel
from laconic.progress import Progress, silent

STARTS = ("posterior", "marginal")
"""The possible starts of chains."""

_STEEPNESS = 4.0
"""Steepness of the schedule: most bridges lie near both ends, where the target changes fastest."""
_FIRST_STEP = 0.3
"""Initial step size of the pilot chain, in units of the start's scale."""
_SETTLING = 30
"""Moves of the pilot chain at the start, to find its first step size."""
_GAIN = 0.3
"""Change of the logarithm of the pilot chain's step size per move."""
_JITTER = 0.2
"""Random variation of the logarithm of step sizes, so that moves do not return to their start."""
_FAR = 1e6
"""Moves beyond this distance are rejected."""


@dataclass(frozen=True)
class Annealing:
    """Settings of the chains.

    Attributes:
        steps: number of bridges; more of them give a tighter bound.
        chains: number of chains per image.
        leapfrogs: steps of one Hamiltonian move; 1 is the Metropolis-adjusted Langevin algorithm.
        start: "posterior" or "marginal".
        accept: target share of accepted moves, by which the step sizes are chosen.
    """

    steps: int = 100
    chains: int = 8
    leapfrogs: int = 4
    start: str = "posterior"
    accept: float = 0.7

    def __post_init__(self) -> None:
        """Raise `ConfigError` for impossible settings."""
        if min(self.steps, self.chains, self.leapfrogs) < 1:
            raise ConfigError("AIS: steps, chains and leapfrogs must be 1 or more")
        if self.start not in STARTS:
            raise ConfigError(f"AIS start: '{self.start}' is not one of {', '.join(STARTS)}")
        if not 0 < self.accept < 1:
            raise ConfigError(f"AIS accept: {self.accept} is not between 0 and 1")


DEFAULT_ANNEALING = Annealing()


@dataclass(frozen=True)
class Annealed:
    """The result of annealing.

    Attributes:
        bound: stochastic upper bound of -ln p(x), nats per image.
        accepted: share of moves accepted at every bridge, `steps - 1` of them.
        effective_chains: (sum w)² / sum w², mean over images; near 1, more steps are needed.
    """

    bound: Estimate
    accepted: tuple[float, ...]
    effective_chains: float


def annealed(
    model: LatentVariableModel,
    images: Tensor,
    annealing: Annealing = DEFAULT_ANNEALING,
    sampling: Sampling = DEFAULT,
    progress: Progress = silent,
) -> Annealed:
    """Upper bound of -ln p(x) by annealed importance sampling.

    The mean of the weights is exactly p(x), so the mean of the bound is at least -ln p(x). To keep
    this property, a pilot chain per image chooses the step sizes, and the other chains use them
    unchanged.
    Formula: -ln 1/k sum_c prod_t [target(z_t) / start(z_t)]^(b_t - b_(t-1)).
    Source: Neal 2001, eq. 4 to 8; Wu et al. 2017, section 2.2.

    Args:
        model: a model of one level with continuous latents.
        images: `(n, channels, height, width)`.
        annealing: bridges, chains and moves.
        sampling: batch (chains count as images), seed and operating point.
        progress: called after every batch.

    Raises:
        UnavailableMeasureError: the model has several levels, or latents without a gradient.
        InputError: the images do not fit the model, or its results are not finite.
    """
    if model.levels != 1:
        raise UnavailableMeasureError(
            f"AIS: the model has {model.levels} levels; only one can be annealed"
        )
    few = Sampling(max(1, sampling.batch // annealing.chains), sampling.seed, sampling.beta)
    bounds, moves, chains = [], [], []
    with measuring(model, sampling.seed):
        for x, context in batches(model, images, few, progress):
            weights, accepted = _batch(model, x, context, annealing)
            bounds.append(math.log(annealing.chains) - weights.logsumexp(1))
            shares = torch.softmax(weights, 1)
            chains.append(shares.square().sum(1).reciprocal())
            moves.append(len(x) * accepted)
    accepted = torch.stack(moves).sum(0) / len(images)
    effective = float(torch.cat(chains).mean())
    return Annealed(estimate(torch.cat(bounds), "AIS bound"), tuple(accepted.tolist()), effective)


def _batch(
    model: LatentVariableModel, x: Tensor, context: Context, annealing: Annealing
) -> tuple[Tensor, Tensor]:
    """Log weights, `(batch, chains)`, and the shares of accepted moves, `(steps - 1,)`."""
    times = schedule(annealing.steps)
    sizes = _pilot(_Bridge(model, x, context, annealing.start), times, annealing)
    many = Context(context.shape, context.condition.repeat(annealing.chains))
    repeated = x.repeat_interleave(annealing.chains, dim=0)
    bridge = _Bridge(model, repeated, many, annealing.start)
    point = bridge.begin()
    weights = torch.zeros(len(repeated), dtype=torch.float64, device=x.device)
    accepted = []
    for number, time in enumerate(times[1:]):
        weights += (time - times[number]) * (point.target - point.start)
        if number < len(sizes):
            size = sizes[number].repeat_interleave(annealing.chains)
            point, chance = _move(bridge, point, time, size, annealing.leapfrogs)
            accepted.append(float(chance.mean()))
    return weights.reshape(len(x), -1), torch.tensor(accepted, dtype=torch.float64)


def schedule(steps: int) -> list[float]:
    """`steps + 1` times from 0 to 1, close together at both ends.

    Formula: sigmoid(4 (2 k / n - 1)), shifted and scaled to end at 0 and 1.
    Source: Wu et al. 2017, section 5.
    """
    raw = torch.sigmoid(torch.linspace(-1, 1, steps + 1, dtype=torch.float64) * _STEEPNESS)
    times: list[float] = ((raw - raw[0]) / (raw[-1] - raw[0])).tolist()
    return times


@dataclass(frozen=True)
class _Point:
    """The states of the chains.

    Attributes:
        state: noise of the start, `(batch, ...)`.
        start: log density of the state under the start, `(batch,)` in float64.
        target: log density under the target, m(z) d(x | z), as a density of the noise.
        start_slope: gradient of `start`, of the state's shape.
        target_slope: gradient of `target`.
    """

    state: Tensor
    start: Tensor
    target: Tensor
    start_slope: Tensor
    target_slope: Tensor

    def log(self, time: float) -> Tensor:
        """Log density of the bridge at `time`, but for a constant."""
        return (1 - time) * self.start + time * self.target

    def slope(self, time: float) -> Tensor:
        """The gradient of `log`."""
        return (1 - time) * self.start_slope + time * self.target_slope

    def choose(self, taken: Tensor, other: "_Point") -> "_Point":
        """`other` where `taken`, this state elsewhere."""
        rows = _column(taken, self.state)
        return _Point(
            torch.where(rows, other.state, self.state),
            torch.where(taken, other.start, self.start),
            torch.where(taken, other.target, self.target),
            torch.where(rows, other.start_slope, self.start_slope),
            torch.where(rows, other.target_slope, self.target_slope),
        )


class _Bridge:
    """Start and target of a batch, as densities of the noise from which the start is computed.

    Args:
        model: a model of one level.
        x: `(batch, channels, height, width)`.
        context: the context of the batch.
        start: a name of `STARTS`.
    """

    def __init__(self, model: LatentVariableModel, x: Tensor, context: Context, start: str) -> None:
        self.model, self.x, self.context = model, x, context
        self.prior = model.prior(0, [], context)
        self.at_prior = start == "marginal"
        first = self.prior
        if not self.at_prior:
            features = model.encode(x, context)
            first = model.posterior(0, features, [], self.prior, context)
        self.transforms, self.base = _peel(first)
        inner = self.base.base_dist if isinstance(self.base, Independent) else self.base
        self.normal = inner if isinstance(inner, Normal) else None

    def begin(self) -> _Point:
        """New chains at draws of the start."""
        drawn = self.base.sample()
        if not drawn.is_floating_point():
            raise UnavailableMeasureError("AIS: only latents that are real numbers have a gradient")
        return self.at(drawn if self.normal is None else torch.randn_like(drawn))

    def at(self, state: Tensor) -> _Point:
        """Densities and gradients."""
        with torch.enable_grad():
            noise = state.detach().requires_grad_()
            reached, volume = self._latent(noise)
            # If a flow overflows, the target is 0: no infinity enters the networks.
            possible = torch.isfinite(reached).flatten(1).all(1)
            latent = reached  # If possible the same tensor, which flows cache.
            if not possible.all():
                latent = torch.where(_column(possible, reached), reached, torch.zeros_like(reached))
            if self.normal is None:
                start = density(self.base, noise)
            else:
                start = -0.5 * noise.square().add(math.log(2 * math.pi)).flatten(1).sum(1)
            marginal = start if self.at_prior else density(self.prior, latent) + volume
            target = marginal + density(self.model.likelihood([latent], self.context), self.x)
            target = torch.where(possible, target, -math.inf)
            (start_slope,) = torch.autograd.grad(start.sum(), noise, retain_graph=True)
            (target_slope,) = torch.autograd.grad(target.sum(), noise)
        densities = start.detach().double(), target.detach().double()
        return _Point(state, *densities, start_slope, target_slope)

    def _latent(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The latent, and ln |dz / d noise|, `(batch,)`."""
        point, volume = noise, noise.new_zeros(len(noise))
        if self.normal is not None:
            point = self.normal.loc + self.normal.scale * noise
            volume = self.normal.scale.expand_as(noise).log().flatten(1).sum(1)
        for transform in self.transforms:
            after = transform(point)
            volume = volume + log_volume(transform, point, after)
            point = after
        return point, volume


def _peel(first: Distribution) -> tuple[Sequence[Transform], Distribution]:
    """A start's transforms and base, unless draws go through its flow in the slow direction."""
    if not isinstance(first, TransformedDistribution):
        return [], first
    if any(isinstance(one, _InverseTransform) for one in first.transforms):
        return [], first
    return first.transforms, first.base_dist


def _pilot(bridge: _Bridge, times: Sequence[float], annealing: Annealing) -> list[Tensor]:
    """Step sizes for every bridge but the last, `(batch,)` each, from a chain that is discarded."""
    point = bridge.begin()
    log_size = torch.full((len(point.start),), math.log(_FIRST_STEP), device=point.start.device)
    sizes = []
    for number, time in enumerate(times[:-1]):
        for _ in range(1 if number else _SETTLING):
            point, chance = _move(bridge, point, time, log_size.exp(), annealing.leapfrogs)
            log_size = log_size + _GAIN * (chance - annealing.accept)
        sizes.append(log_size.exp())
    return sizes[1:]


def _move(
    bridge: _Bridge, point: _Point, time: float, size: Tensor, leapfrogs: int
) -> tuple[_Point, Tensor]:
    """One Hamiltonian move, which keeps the distribution of the bridge at `time`.

    Returns:
        The next point, and the probabilities of acceptance, `(batch,)`.
    """
    jitter = _JITTER * (2 * torch.rand_like(size) - 1)
    step = _column((size * jitter.exp()).to(point.state.dtype), point.state)
    momentum = torch.randn_like(point.state)
    before = point.log(time) - _kinetic(momentum)
    here, astray = point, torch.zeros_like(size, dtype=torch.bool)
    for _ in range(leapfrogs):
        momentum = momentum + 0.5 * step * here.slope(time)
        state = here.state + step * momentum
        # Diverged states stop here; they are rejected.
        astray = astray | ~(state.abs() < _FAR).flatten(1).all(1)
        here = bridge.at(torch.where(_column(astray, state), point.state, state))
        momentum = momentum + 0.5 * step * here.slope(time)
    change = here.log(time) - _kinetic(momentum) - before
    chance = torch.nan_to_num(change.clamp(max=0).exp(), nan=0.0) * ~astray
    taken = torch.rand_like(chance) < chance
    return point.choose(taken, here), chance.to(size.dtype)


def _kinetic(momentum: Tensor) -> Tensor:
    return 0.5 * momentum.double().square().flatten(1).sum(1)


def _column(rows: Tensor, like: Tensor) -> Tensor:
    """`(batch,)` -> `(batch, 1, ...)`, as many axes as `like`."""
    return rows.reshape(-1, *[1] * (like.dim() - 1))
