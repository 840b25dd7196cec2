"""A one-level model with any posterior and marginal, as codecs of lattice vectors and pixels.

```
 Normal                     ─► LatticeNormal
 mixture of normals         ─► LatticeMixture          both ways of a flow: one bijection of points
 either through a flow      ─► Flowed                  that posterior and marginal share
```

The networks run on the processor, and both ways see batches of the same shapes, so in one process
they give the same bits. That measures code lengths; it is no file format: another machine might
round otherwise. Files need `exact_ladder`.
"""

from copy import deepcopy
from typing import Any, Final, Protocol, final

import numpy as np
import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Distribution,
    Independent,
    MixtureSameFamily,
    Normal,
    TransformedDistribution,
)

from laconic.coding.stack import symbols
from laconic.coding.stack.ans import IntArray, Stack
from laconic.coding.stack.lattice import (
    DoubleArray,
    DrawnNormal,
    Flowed,
    LatentCodec,
    Lattice,
    LatticeFlow,
    LatticeMixture,
    LatticeNormal,
)
from laconic.errors import ConfigError
from laconic.models.base import Condition, Context, LatentVariableModel
from laconic.networks.flows import ShiftTransform

_UNITS: Final = 65536.0


class PixelCodec(Protocol):
    """A distribution of all pixels of some pictures."""

    def push(self, stack: Stack, symbols: IntArray) -> None:
        """Put pictures `(n, pixels)` on the stack."""
        ...

    def pop(self, stack: Stack) -> IntArray:
        """Take them off."""
        ...

    def nats(self, pixels: IntArray) -> DoubleArray:
        """Their negative log probability in nats, `(n,)`."""
        ...


@final
class BernoulliPixels:
    """Independent binary pixels.

    Args:
        logits: `(n, pixels)`, log odds of 1.
    """

    def __init__(self, logits: Tensor) -> None:
        self._logits = logits.double()
        units = torch.floor(self._logits * _UNITS + 0.5).clamp(-(2.0**30), 2.0**30)
        self._codec = symbols.Bernoulli(units.long().numpy())

    def push(self, stack: Stack, symbols: IntArray) -> None:
        """Put pictures on the stack."""
        self._codec.push(stack, symbols)

    def pop(self, stack: Stack) -> IntArray:
        """Take them off."""
        return self._codec.pop(stack)

    def nats(self, pixels: IntArray) -> DoubleArray:
        """Negative log probability, `(n,)`: of the distribution before its quantisation."""
        signs = 1 - 2 * torch.from_numpy(pixels).double()
        nats: DoubleArray = torch.nn.functional.softplus(signs * self._logits).sum(1).numpy()
        return nats


@final
class LatticeModel:
    """Codecs of a model's posterior, marginal and likelihood.

    Args:
        model: one level; it is copied.
        side: rows and columns of the pictures.
        lattice: the points that latents can have.
        dtype: that the copy computes in.

    Raises:
        ConfigError: the model has several levels, or latents or pixels of another kind.
    """

    def __init__(
        self,
        model: LatentVariableModel,
        side: int,
        lattice: Lattice,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if model.levels != 1:
            raise ConfigError(
                f"bits-back on a lattice codes models of one level, not of {model.levels}"
            )
        self.model = deepcopy(model).to(dtype).cpu().eval()
        self.side, self.lattice, self.dtype = side, lattice, dtype
        self._flows: dict[int, LatticeFlow] = {}
        with torch.inference_mode():
            self._marginal = self.model.prior(0, [], self.context(1))
            self._latent_shape = (self._marginal.batch_shape + self._marginal.event_shape)[1:]
            independent_pixels(self.model, self.context(1), self._latent_shape)

    @property
    def dims(self) -> int:
        """Latents of a picture."""
        return self._latent_shape.numel()

    def context(self, count: int) -> Context:
        """Of `count` pictures."""
        return Context((self.side,) * 2, Condition(torch.zeros(count, dtype=self.dtype)))

    def images(self, pixels: IntArray) -> Tensor:
        """Pictures `(n, pixels)` as the networks see them, `(n, 1, side, side)`."""
        return torch.from_numpy(pixels).to(self.dtype).reshape(-1, 1, self.side, self.side)

    def distributions(self, pixels: IntArray) -> tuple[Distribution, Distribution]:
        """The marginal and the posteriors of pictures `(n, pixels)`, 0 or 1."""
        context = self.context(len(pixels))
        with torch.inference_mode():
            x = self.images(pixels)
            prior = self.model.prior(0, [], context)
            features = self.model.encode(x, context)
            return prior, self.model.posterior(0, features, [], prior, context)

    def posterior(self, pixels: IntArray) -> LatentCodec:
        """q(z | x) of pictures `(n, pixels)`."""
        with torch.inference_mode():
            return self._codec(self.distributions(pixels)[1], len(pixels), drawn=True)

    def prior(self, count: int) -> LatentCodec:
        """The marginal of `count` vectors."""
        with torch.inference_mode():
            return self._codec(self._marginal, count)

    def likelihood(self, points: IntArray) -> PixelCodec:
        """p(x | z) of vectors `(n, dims)`."""
        return self.pixels(self.lattice.values(points))

    def pixels(self, latents: Tensor) -> PixelCodec:
        """p(x | z) of vectors `(n, dims)` of any float type."""
        with torch.inference_mode():
            z = latents.to(self.dtype).reshape(-1, *self._latent_shape)
            likelihood: Any = self.model.likelihood([z], self.context(len(z)))
            return BernoulliPixels(likelihood.base_dist.logits.flatten(1))

    def _codec(self, distribution: Distribution, count: int, drawn: bool = False) -> LatentCodec:
        """The codec of a distribution of `count` vectors, or of one that all of them follow.

        `drawn`: whether the sender draws from it.
        """
        if isinstance(distribution, TransformedDistribution):
            codec = self._codec(distribution.base_dist, count, drawn)
            for transform in distribution.transforms:
                codec = Flowed(codec, *self._flow(transform))
            return codec
        if isinstance(distribution, MixtureSameFamily):
            weights = distribution.mixture_distribution.probs
            normal = _normal(distribution.component_distribution)
            shares, loc, scale = (_rows(p, count) for p in (weights, normal.loc, normal.scale))
            return LatticeMixture(shares, loc, scale, self.lattice)
        normal = _normal(distribution)
        loc, scale = (_rows(part.flatten(1), count) for part in (normal.loc, normal.scale))
        return (DrawnNormal if drawn else LatticeNormal)(loc, scale, self.lattice)

    def _flow(self, transform: Any) -> tuple[LatticeFlow, bool]:
        """The bijection, and whether draws go through it backwards."""
        inverse = not isinstance(transform, ShiftTransform)
        flow = transform.inv if inverse else transform
        if not isinstance(flow, ShiftTransform):
            raise ConfigError(
                f"a lattice codes flows of shifts, which keep volumes; not {type(transform)}"
            )
        if id(flow) not in self._flows:
            self._flows[id(flow)] = LatticeFlow(flow.steps, self.lattice, self.dtype)
        return self._flows[id(flow)], inverse


def independent_pixels(
    model: LatentVariableModel, context: Context, latent_shape: tuple[int, ...]
) -> None:
    """Refuse a model whose pixels are not independent Bernoullis given the latents.

    Raises:
        ConfigError: it is one.
    """
    z = context.log_beta.new_zeros(context.batch, *latent_shape)
    likelihood = model.likelihood([z], context)
    if not isinstance(likelihood, Independent) or not isinstance(likelihood.base_dist, Bernoulli):
        raise ConfigError(
            "this decoder codes every pixel given those before it: its files cannot be measured "
            "so, since a receiver would run the network once for each pixel of each picture; "
            "choose a family with a deconvolutional decoder, such as '---'"
        )


def _normal(distribution: Distribution) -> Normal:
    """The normal inside a distribution that declares some of its axes as one event."""
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    if not isinstance(distribution, Normal):
        raise ConfigError(
            f"a lattice codes normals, their mixtures and flows of shifts, not {distribution}"
        )
    return distribution


def _rows(parameter: Tensor, count: int) -> DoubleArray:
    """A parameter of `count` vectors, or of one vector for all."""
    array = parameter.double().numpy()
    return np.broadcast_to(array, (count, *array.shape[1:]))
