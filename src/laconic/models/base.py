"""The contract of every latent-variable model: a ladder of latents, top (most abstract) first."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Normal

from laconic.errors import ConfigError
from laconic.models.exact import ExactLadder
from laconic.models.walk import walk


@dataclass(frozen=True)
class Condition:
    """The operating point of every example of a batch.

    Attributes:
        log_beta: shape `(batch,)`, natural log of beta, the weight of the KL against a unit-scale
            likelihood (Flamich eq. 3.1). With a Gaussian likelihood, beta is its variance.
        position: the place of log beta in the model's range, as an exact integer: 2^12 for the
            largest beta, -2^12 for the smallest. Integer priors require it.
        taste: shape `(batch,)`, the weight of structure in the distortion: 0 is squared error, 1 is
            MS-SSIM, None is halfway. Models without that coordinate ignore it.
        taste_position: `2 taste - 1` in units of 2^-12, as an exact integer, for integer priors.
    """

    log_beta: Tensor
    position: int | None = None
    taste: Tensor | None = None
    taste_position: int = 0

    def repeat(self, copies: int) -> "Condition":
        """Every example `copies` times, the copies of one example side by side."""
        taste = None if self.taste is None else self.taste.repeat_interleave(copies)
        return replace(self, log_beta=self.log_beta.repeat_interleave(copies), taste=taste)


@dataclass(frozen=True)
class Context:
    """What sender and receiver both know before the first bit.

    Attributes:
        shape: sides of one (padded) example without its channels, each a multiple of the model's
            `stride`: rows and columns of a picture. Examples are `(batch, channels, *shape)`.
        condition: the operating point of every example.
    """

    shape: tuple[int, ...]
    condition: Condition

    @property
    def log_beta(self) -> Tensor:
        """Log beta of every example, `(batch,)`; its dtype and device are those of the model."""
        return self.condition.log_beta

    @property
    def batch(self) -> int:
        """Number of examples."""
        return int(self.log_beta.shape[0])

    def grid(self, stride: int) -> tuple[int, ...]:
        """Sides of a map with one position per `stride` positions of the example."""
        return tuple(side // stride for side in self.shape)

    def expand(self, parameter: Tensor) -> Tensor:
        """Reshape one value per example, `(batch,)`, to `(batch, 1, ..., 1)`."""
        return parameter.reshape(-1, *[1] * (1 + len(self.shape)))


Features = Any
"""What `encode` computed from the examples; only the sender has it, only the model reads it."""

Prior = Callable[[int, Sequence[Tensor], Context], Normal]
"""What both sides know of a level, given the latents above it."""
PriorOf = Callable[[int, Sequence[Tensor], Context], Distribution]
"""A `Prior` of any family."""

POSITION_BITS = 12
"""`Condition.position` counts in units of 2^-12."""


@dataclass(frozen=True)
class Rung:
    """One level of the ladder as the sender sees it: who knew what, and what was drawn."""

    posterior: Distribution
    prior: Distribution
    latent: Tensor


class LatentVariableModel(nn.Module, ABC):
    """A ladder of `levels` latents, top (most abstract) first.

    Attributes:
        levels: number of latents.
        stride: image sides must be multiples of this; the codec pads.
        beta_range: smallest and largest beta that the weights were trained for.
        shows_pictures: whether the likelihood's mean is a picture that lossy codecs show; models
            for lossless coding have none.
        takes_any_size: whether it is made for pictures of any size; else for small images of one.
    """

    shows_pictures: ClassVar[bool] = True
    takes_any_size: ClassVar[bool] = True
    levels: int
    stride: int
    beta_range: tuple[float, float]

    def context(
        self,
        shape: Sequence[int],
        step: int,
        steps: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        taste: float = 0.5,
    ) -> Context:
        """The context of one example at an operating point that a file can store.

        Args:
            shape: sides of the example before padding: rows and columns of a picture.
            step: 0 for the largest beta, the coarsest picture, to `steps` for the smallest.
            steps: equal steps of log beta.
            dtype: of `log_beta`.
            device: of `log_beta`.
            taste: from 0, squared error, to 1, MS-SSIM; rounded to a multiple of 2^-13.
        """
        smallest, largest = (math.log(beta) for beta in self.beta_range)
        log_beta = largest + (smallest - largest) * step / steps
        side = round((2 * taste - 1) * 2**POSITION_BITS)
        log_betas, tastes = torch.tensor(
            [[log_beta], [(side * 2.0**-POSITION_BITS + 1) / 2]], dtype=dtype, device=device
        )
        position = (steps - 2 * step) * 2**POSITION_BITS // steps
        padded = tuple(-(-length // self.stride) * self.stride for length in shape)
        return Context(padded, Condition(log_betas, position, tastes, side))

    @property
    def has_taste(self) -> bool:
        """Whether `Condition.taste` steers the model."""
        return False

    def prepare(self, batches: Iterable[Tensor]) -> None:
        """Set what the model takes from the data before training: a transform, pseudo-inputs.

        Args:
            batches: training examples in an order without meaning, each `(batch, channels,
                *shape)` in [0, 1].

        Raises:
            ConfigError: there are too few.
        """

    def exact_ladder(self) -> ExactLadder:
        """The whole model in integers, for lossless codecs.

        Raises:
            ConfigError: it has no such form.
        """
        raise ConfigError(
            f"{type(self).__name__} is a model for lossy compression; "
            "lossless compression needs one that codes every pixel"
        )

    @abstractmethod
    def encode(self, x: Tensor, context: Context) -> Features:
        """Bottom-up pass of the sender. `x`: `(batch, 3, height, width)` in [0, 1]."""

    @abstractmethod
    def prior(self, level: int, above: Sequence[Tensor], context: Context) -> Distribution:
        """What both sides know before `level` is sent; `above` holds the latents already sent."""

    @abstractmethod
    def posterior(
        self,
        level: int,
        features: Features,
        above: Sequence[Tensor],
        prior: Any,
        context: Context,
    ) -> Distribution:
        """What the sender knows about `level`; `prior` is what `prior(level, ...)` gave."""

    @abstractmethod
    def likelihood(self, latents: Sequence[Tensor], context: Context) -> Distribution:
        """p(x | z); its mean, `(batch, 3, height, width)`, is the picture that is shown."""

    def begin(self, context: Context) -> "ModelWalk":
        """The state of a walk before its first level (`models.walk`)."""
        return ModelWalk(self, context)

    def draw_rungs(self, x: Tensor, context: Context, pathwise: bool = True) -> list[Rung]:
        """Draw every level once, top first; `pass_through` without the likelihood."""
        return self.draw_latents(self.encode(x, context), context, pathwise)[0]

    def pass_through(
        self, x: Tensor, context: Context, pathwise: bool = True
    ) -> tuple[list[Rung], Distribution]:
        """Draw every level once, top first, and compute the likelihood of these latents.

        Args:
            x: `(batch, channels, *shape)`.
            context: of `x`.
            pathwise: whether draws are reparametrised, so that gradients reach the posterior
                through them; else they are constants, as score-function gradients require.
        """
        rungs, state = self.draw_latents(self.encode(x, context), context, pathwise)
        return rungs, state.likelihood()

    def draw_latents(
        self, features: Features, context: Context, pathwise: bool = False
    ) -> tuple[list[Rung], "ModelWalk"]:
        """Draw every level once, top first, z ~ q(z | x); and the state after the last level.

        Args:
            features: what `encode` returned.
            context: of the same examples.
            pathwise: see `pass_through`.
        """
        state = self.begin(context)
        rungs: list[Rung] = []

        def step(level: int, prior: Distribution) -> Tensor:
            posterior = state.posterior(level, features, prior)
            latent = posterior.rsample() if pathwise else posterior.sample()
            rungs.append(Rung(posterior, prior, latent))
            return latent

        walk(state, step)
        return rungs, state


class PriorWalk:
    """A walk that needs priors alone: the receiver's.

    Args:
        levels: number of latents.
        prior: level, latents above, context -> distribution.
        context: what both sides know.
    """

    def __init__(self, levels: int, prior: PriorOf, context: Context) -> None:
        self.levels, self.context = levels, context
        self.above: list[Tensor] = []
        self._prior = prior

    def prior(self, level: int) -> Any:
        """The prior of `level`, given the latents so far."""
        return self._prior(level, self.above, self.context)

    def take_in(self, level: int, latent: Tensor) -> None:
        """Continue from the latent of `level`."""
        self.above = [*self.above, latent]


class ModelWalk(PriorWalk):
    """A walk up a model's ladder in floats.

    Args:
        model: the ladder.
        context: what both sides know.
    """

    def __init__(self, model: LatentVariableModel, context: Context) -> None:
        super().__init__(model.levels, model.prior, context)
        self.model = model

    def posterior(self, level: int, features: Features, prior: Any) -> Distribution:
        """The posterior of `level`, given the latents so far and what `prior` returned."""
        return self.model.posterior(level, features, self.above, prior, self.context)

    def likelihood(self) -> Distribution:
        """Of the example, once all latents are known."""
        return self.model.likelihood(self.above, self.context)


class NormalLadder(LatentVariableModel):
    """A ladder whose priors and posteriors are normal, dimension by dimension, as coders ask."""

    @abstractmethod
    def prior(self, level: int, above: Sequence[Tensor], context: Context) -> Normal:
        """What both sides know before `level` is sent; `above` holds the latents already sent."""

    @abstractmethod
    def posterior(
        self,
        level: int,
        features: Features,
        above: Sequence[Tensor],
        prior: Normal,
        context: Context,
    ) -> Normal:
        """What the sender knows about `level`; `prior` is what `prior(level, ...)` gave."""

    def free_parameters(self, features: Features) -> list[Tensor]:
        """What `encode` returned as tensors of any real values, each of which may be changed.

        `to_features` undoes it. Codecs refine them for one picture.

        Raises:
            ConfigError: this kind of model has no such form.
        """
        raise ConfigError(
            f"{type(self).__name__} has no posterior that can be refined: leave out effort, or "
            "choose another model"
        )

    def to_features(self, parameters: Sequence[Tensor]) -> Features:
        """What `encode` returns, from what `free_parameters` returned."""
        raise ConfigError(f"{type(self).__name__} has no posterior that can be refined")

    def preview_levels(self, reduction: float) -> int:
        """Levels that show a picture at a fraction of its size; here all.

        Args:
            reduction: the picture's size over that of the preview, at least 1.
        """
        return self.levels

    def exact_prior(self) -> Prior:
        """The prior for codecs: if possible, the same bits on every machine.

        Here the networks' own, in floats, for models that have no integer one; those return
        `RatedNormal`s.
        """

        def prior(level: int, above: Sequence[Tensor], context: Context) -> Normal:
            return self.prior(level, [z.to(context.log_beta) for z in above], context)

        return prior


def standard_normal(context: Context, channels: int, stride: int) -> Normal:
    """N(0, I) of shape `(batch, channels, *context.grid(stride))`."""
    zeros = context.log_beta.new_zeros(context.batch, channels, *context.grid(stride))
    return Normal(zeros, torch.ones_like(zeros), validate_args=False)


def combine(encoder: Normal, prior: Normal) -> Normal:
    """The product of two Gaussians: the ladder's posterior by precision weighting.

    Formula: 1/s² = 1/s_e² + 1/s_p², mean = s² (m_e/s_e² + m_p/s_p²).
    Source: Flamich, 3.2.2 (ERRATA 3: the printed sigmas are variances).
    """
    ratio = (encoder.scale / prior.scale).square()
    weight = 1 / (1 + ratio)
    scale = encoder.scale * torch.sqrt(weight)
    return Normal(prior.loc + weight * (encoder.loc - prior.loc), scale, validate_args=False)
