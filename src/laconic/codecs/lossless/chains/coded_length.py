"""Ideal against coded: what a model's pictures take in real bits, beside R + D.

*Bits-back* takes any posterior and marginal that a lattice can code (`lattice_model`). *Relative
entropy coding* sends every latent by itself, for about the KL, and needs normals on both sides.
Then the pixels follow under p(x | z). Both are decoded again and compared.
Source: Alemi, section 2 (R and D as code lengths); Ullrich 1.4; Flamich 1.7.
"""

import time
from dataclasses import dataclass
from functools import partial
from math import log
from typing import Final

import numpy as np
import torch
from torch import Tensor

from laconic.codecs.lattice.chain import read_chain, write_chain
from laconic.codecs.lattice.model import LatticeModel
from laconic.codecs.lossless.chains.drawn_latents import read_drawn, write_drawn
from laconic.coding.stack.ans import IntArray
from laconic.coding.stack.lattice import Lattice
from laconic.distributions.divergence import density, rate
from laconic.errors import CodingError, ConfigError, InputError
from laconic.models.base import LatentVariableModel

WAYS: Final = ("bits_back", "relative_entropy")
_BATCH: Final = 500


@dataclass(frozen=True)
class CodedLength:
    """The length of a set of pictures; everything included, initial bits too.

    Attributes:
        bits_per_image: of the code.
        ideal_bits_per_image: R + D under the model, from draws of their own.
        same_draws_bits_per_image: R + D at the encoded latents.
        images: how many.
        seconds: to write, and to read where that was done.
        verified: whether the code was read again; every picture came back then.
    """

    bits_per_image: float
    ideal_bits_per_image: float
    same_draws_bits_per_image: float
    images: int
    seconds: float
    verified: bool

    @property
    def overhead_percent(self) -> float:
        """Code over ideal."""
        return 100 * (self.bits_per_image / self.ideal_bits_per_image - 1)


def coded_bits(
    model: LatentVariableModel,
    images: Tensor,
    which: str = "bits_back",
    lattice_bits: int = 10,
    draws: int = 1,
    verify: bool = True,
    coder: str | None = None,
) -> CodedLength:
    """Code pictures with a model of one level, and read them again.

    Args:
        model: one level, with independent binary pixels given the latents.
        images: `(count, 1, side, side)`, 0 or 1.
        which: "bits_back" or "relative_entropy".
        lattice_bits: bits after the point of the latents that bits-back draws.
        draws: for the ideal length, for each picture.
        verify: whether to read the code again.
        coder: name of the relative entropy coder; None: the default one.

    Raises:
        ConfigError: the model or `which` cannot be coded so.
        InputError: the images are not square and binary.
        CodingError: a latent lies beyond the lattice, or a picture came back changed.
    """
    if which not in WAYS:
        raise ConfigError(f"which: '{which}' is not one of {', '.join(WAYS)}")
    pixels = _binary(images)
    family = LatticeModel(model, images.shape[-1], Lattice(lattice_bits))
    began = time.perf_counter()
    if which == "bits_back":
        chain = write_chain(family, pixels)
        size, same_draws_bits = len(chain.data), chain.ideal_bits
        read = partial(read_chain, family, chain.data)
    else:
        coded = write_drawn(family, pixels, coder)
        size, same_draws_bits = coded.size, coded.ideal_bits
        read = partial(read_drawn, family, coded, coder)
    if verify and not np.array_equal(read(), pixels):
        raise CodingError("a picture came back changed: this must never happen, please report it")
    seconds = time.perf_counter() - began
    count = len(pixels)
    ideal = ideal_bits(family, pixels, draws)
    return CodedLength(8 * size / count, ideal, same_draws_bits / count, count, seconds, verify)


def ideal_bits(family: LatticeModel, pixels: IntArray, draws: int, seed: int = 0) -> float:
    """R + D in bits for a picture, the mean over `(n, pixels)` pictures and draws from q(z | x)."""
    total = 0.0
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for first in range(0, len(pixels), _BATCH):
            x = family.images(pixels[first : first + _BATCH])
            for _ in range(draws):
                rungs, likelihood = family.model.pass_through(x, family.context(len(x)))
                rung = rungs[0]
                nats = rate(rung.posterior, rung.prior, rung.latent) - density(likelihood, x)
                total += float(nats.double().sum())
    return total / (draws * len(pixels) * log(2))


def _binary(images: Tensor) -> IntArray:
    """`(count, pixels)`, 0 or 1."""
    count, *shape = images.shape
    if not count or len(shape) != 3 or shape[0] != 1 or shape[1] != shape[2]:
        raise InputError(f"images of shape {tuple(images.shape)}: give (count, 1, side, side)")
    if not bool(((images == 0) | (images == 1)).all()):
        raise InputError("these images have greys: give pixels that are 0 or 1")
    pixels: IntArray = images.flatten(1).long().cpu().numpy()
    return pixels
