"""Latents by relative entropy coding, pixels by the stack: nothing is borrowed, nothing given back.

All pictures' latents are one tensor. Both sides know what each dimension costs on average, a number
of 16 bits each, sent before; the coder spreads its bits accordingly.

Source: Flamich 1.7, Alg. 3.
"""

from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from laconic.codecs.lattice.model import LatticeModel
from laconic.coding.queue.stream import QueueDecoder, QueueEncoder
from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy import CODERS, DEFAULT_CODER
from laconic.coding.relative_entropy.base import RelativeEntropyCoder
from laconic.coding.stack.ans import IntArray, Stack
from laconic.distributions.divergence import kl_normal
from laconic.distributions.rated import RatedNormal
from laconic.errors import ConfigError

BATCH: Final = 500
"""Pictures that the networks see at once."""
_RATE_BITS: Final = 16
_COUNT_BITS: Final = 24
_SEED: Final = 0


class CodedPictures(NamedTuple):
    """Pictures in bytes.

    Attributes:
        latents: of the relative entropy coder.
        pixels: of the stack.
        ideal_bits: KL(q || p) - log2 p(x | z), summed, at the encoded latents.
    """

    latents: bytes
    pixels: bytes
    ideal_bits: float

    @property
    def size(self) -> int:
        """Bytes of both."""
        return len(self.latents) + len(self.pixels)


def write_drawn(family: LatticeModel, pixels: IntArray, coder: str | None = None) -> CodedPictures:
    """Code pictures `(n, pixels)`, 0 or 1.

    Args:
        family: the model.
        pixels: the pictures.
        coder: a name of `CODERS`.

    Raises:
        ConfigError: the posterior or the marginal is not normal, or there is no such coder.
    """
    target = _targets(family, pixels)
    unit = torch.ones_like(target.loc)
    kl_bits = kl_normal(target, Normal(0 * unit, unit)).mean(0) / np.log(2)
    rates = torch.floor(kl_bits * 256 + 0.5).clamp(0, (1 << _RATE_BITS) - 1).long()
    stream = QueueEncoder()
    stream.fixed([len(pixels)], _COUNT_BITS)
    stream.fixed(rates.numpy(), _RATE_BITS)
    prior = _prior(rates, len(pixels))
    latents, receipt = _coder(coder).encode(target, prior, stream, SharedRandomness(_SEED))
    stack, nats = Stack(), 0.0
    for first in reversed(range(0, len(pixels), BATCH)):
        part = slice(first, first + BATCH)
        likelihood = family.pixels(latents[part])
        likelihood.push(stack, pixels[part])
        nats += float(likelihood.nats(pixels[part]).sum())
    ideal_bits = receipt.ideal_bits + nats / float(np.log(2))
    return CodedPictures(stream.finish(), stack.to_bytes(), ideal_bits)


def read_drawn(family: LatticeModel, coded: CodedPictures, coder: str | None = None) -> IntArray:
    """Read pictures, `(n, pixels)`.

    Raises:
        CorruptFileError: the data end too early.
    """
    stream = QueueDecoder(coded.latents)
    count = int(stream.fixed(1, _COUNT_BITS)[0])
    rates = torch.from_numpy(stream.fixed(family.dims, _RATE_BITS))
    latents = _coder(coder).decode(_prior(rates, count), stream, SharedRandomness(_SEED))
    stack = Stack.from_bytes(coded.pixels)
    return np.concatenate(
        [
            family.pixels(latents[first : first + BATCH]).pop(stack)
            for first in range(0, count, BATCH)
        ]
    )


def _targets(family: LatticeModel, pixels: IntArray) -> Normal:
    """The posteriors of all pictures, `(n, dims)`."""
    parts = []
    for first in range(0, len(pixels), BATCH):
        prior, posterior = family.distributions(pixels[first : first + BATCH])
        for known in (prior, posterior):
            _check_normal(known)
        parts.append(posterior)
    loc, scale = (
        torch.cat([getattr(part, name).flatten(1) for part in parts]).float()
        for name in ("loc", "scale")
    )
    return Normal(loc, scale, validate_args=False)


def _check_normal(distribution: Distribution) -> None:
    if not isinstance(distribution, Normal):
        raise ConfigError(
            "relative entropy coders encode a normal posterior relative to a normal marginal; "
            f"this family has a {type(distribution).__name__}: choose '---', or bits_back"
        )


def _prior(rates: Tensor, count: int) -> RatedNormal:
    """N(0, 1), and what both sides know each dimension to cost."""
    expected = rates.expand(count, -1)
    zeros = torch.zeros(expected.shape, dtype=torch.float64)
    return RatedNormal(zeros, torch.ones_like(zeros), expected)


def _coder(name: str | None) -> RelativeEntropyCoder:
    chosen = name or DEFAULT_CODER
    if chosen not in CODERS:
        raise ConfigError(f"no coder is called {chosen!r}: choose from {', '.join(CODERS)}")
    return CODERS[chosen]()
