"""The contract of lossless codecs with models: a ladder whose every number is an integer.

Sender and receiver run both the prior and the posterior, since bits-back gives the posterior's bits
back; one unit of difference would make everything after it unreadable. So numbers are integers
in float64 tensors (`networks.fixed_point`), in units of 2^-16 unless said otherwise, and do not
depend on batch, threads, device or library version.

Each latent is coded as u, standardised by its prior: z = loc + scale u, u ~ N(0, 1) before the
image is seen.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LIMIT = 2.0**30
Integers = NDArray[np.int64] | NDArray[np.int32]


class MixtureParameters(NamedTuple):
    """Mixtures of logistics for n pixels, as `coding` takes them; units of 2^-16.

    Attributes:
        logits: `(n, colours, K)`.
        means: `(n, colours, K)`, in pixel steps of 8 bits, couplings not yet added.
        log_scales: `(n, colours, K)`, natural log of pixel steps.
        couplings: `(n, 3, K)`: of green to red, blue to red, blue to green, around 128; `None`
            for one colour.
    """

    logits: Integers
    means: Integers
    log_scales: Integers
    couplings: Integers | None


class BernoulliParameters(NamedTuple):
    """Binary pixels; `logits`: `(n, 1)`, log odds of 1 in units of 2^-16."""

    logits: Integers


PixelParameters = MixtureParameters | BernoulliParameters


class Known(NamedTuple):
    """What both sides know before a level is coded.

    Attributes:
        state: the model's own.
        loc: prior mean, `(batch, channels, ...)`, units of 2^-16.
        scale: prior standard deviation as plain float64 with at most 24 significant bits.
    """

    state: Any
    loc: Tensor
    scale: Tensor


class Shape(NamedTuple):
    """Of a batch of images as they are, before padding."""

    batch: int
    colours: int
    height: int
    width: int


@runtime_checkable
class ExactLikelihood(Protocol):
    """p(x | z) of a batch of equally large images.

    Pixels are coded in `order`: positions (row times width plus column). Where `waves` is one
    long, all are independent; otherwise the parameters of a wave depend on all waves before it.
    """

    def given(self, pixels: Tensor) -> Sequence[PixelParameters]:
        """For the sender: per image, parameters of all pixels, in `order`.

        Args:
            pixels: `(batch, colours, h, w)` float64, steps of 8 bits, 0 to below 256 (samples of 16
                bits as multiples of 1/256).
        """
        ...

    def waves(self) -> Sequence[Integers]:
        """Positions, wave by wave; `order` is their concatenation."""
        ...

    def read(self) -> Iterator[Sequence[PixelParameters]]:
        """For the receiver: per wave and image its parameters; call `put` before the next."""
        ...

    def put(self, values: Sequence[NDArray[np.float64]]) -> None:
        """Per image, the values `(n, colours)` of the wave just read, in steps of 8 bits."""
        ...


@runtime_checkable
class ExactLadder(Protocol):
    """A latent-variable model in integers.

    Attributes:
        levels: latents, 0 for an autoregressive model.
        colours: of its pixels, 1 or 3; a model of 3 codes grey by its first colour.
        stride: image sides are padded to multiples of this.
    """

    levels: int
    colours: int
    stride: int

    def encode(self, pixels: Tensor) -> Any:
        """Bottom-up features of padded images `(batch, colours, h, w)`, float64, in steps."""
        ...

    def start(self, batch: int, height: int, width: int) -> Any:
        """State before the first level, for padded sizes."""
        ...

    def prior(self, level: int, state: Any) -> Known:
        """What both sides know before `level`."""
        ...

    def posterior(self, level: int, known: Known, features: Any) -> tuple[Tensor, Tensor]:
        """Mean and log-scale of u, both in units of 2^-16."""
        ...

    def take_in(self, level: int, known: Known, latent: Tensor) -> Any:
        """State after `level`; `latent`: z in units of 2^-16."""
        ...

    def likelihood(self, state: Any, shape: Shape) -> ExactLikelihood:
        """Of the pixels of images before padding."""
        ...


@runtime_checkable
class SwapLadder(ExactLadder, Protocol):
    """A ladder in integers whose latents depend on their neighbours alone, for Bit-Swap.

    As an `ExactLadder` it has one level, z_1 under N(0, 1); the levels above it are swaps.

    Attributes:
        swaps: levels above z_1.
    """

    swaps: int

    def shapes(self, height: int, width: int) -> list[torch.Size]:
        """Of z_1, z_2, ... without the batch, for padded sizes."""
        ...

    def rise(self, swap: int, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-scale of z_(swap + 2) given z_(swap + 1), all in units of 2^-16."""
        ...

    def fall(self, swap: int, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-scale of z_(swap + 1) given z_(swap + 2), all in units of 2^-16."""
        ...


class StandardCells:
    """A base for ladders of one level under N(0, I), with a latent vector for each cell.

    Args:
        stride: side of a cell in pixels.
        latents: numbers of a cell.
    """

    levels = 1
    colours = 1

    def __init__(self, stride: int, latents: int) -> None:
        self.stride, self.latents = stride, latents

    def start(self, batch: int, height: int, width: int) -> Any:
        """The shape of the latent."""
        return batch, self.latents, height // self.stride, width // self.stride

    def prior(self, level: int, state: Any) -> Known:
        """N(0, I)."""
        loc = torch.zeros(state, dtype=torch.float64)
        return Known(state, loc, torch.ones_like(loc))

    def posterior(self, level: int, known: Known, features: Any) -> tuple[Tensor, Tensor]:
        """Mean and log-scale of the latent, both in units of 2^-16, as `encode` returns them."""
        mean, log_scale = features.chunk(2, dim=1)
        return mean, log_scale

    def take_in(self, level: int, known: Known, latent: Tensor) -> Any:
        """The latent is the whole state."""
        return latent


class OneWave:
    """An `ExactLikelihood` of pixels that are independent given the latents, in reading order.

    Args:
        parameters: per image.
        shape: of the images.
    """

    def __init__(self, parameters: Sequence[PixelParameters], shape: Shape) -> None:
        self.parameters, self.shape = parameters, shape

    def given(self, pixels: Tensor) -> Sequence[PixelParameters]:
        """The same whatever the pixels are."""
        return self.parameters

    def waves(self) -> Sequence[Integers]:
        """All positions at once."""
        return [np.arange(self.shape.height * self.shape.width)]

    def read(self) -> Iterator[Sequence[PixelParameters]]:
        """All parameters at once."""
        yield self.parameters

    def put(self, values: Sequence[NDArray[np.float64]]) -> None:
        """Nothing depends on them."""


def to_integers(x: Tensor) -> NDArray[np.int32]:
    """Integers in float64, of any shape, as coders take them; limited to +-2^30."""
    limited: NDArray[np.int32] = x.clamp(-_LIMIT, _LIMIT).to(torch.int32).contiguous().numpy()
    return limited
