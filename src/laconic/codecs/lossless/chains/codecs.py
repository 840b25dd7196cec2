"""Codecs of one picture per chain, for `coding.bits_back`: of its latents and of its pixels.

All of them act on several stacks at once (`Lanes`), so that networks run on a batch. The codecs of
one picture share an `IntegerWalk`: the one that pops the latents walks it, the others read it.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from torch import Tensor

from laconic.codecs.lossless.chains.pixels import STEPS, PixelCodec, to_steps
from laconic.codecs.lossless.chains.stacks import (
    LATENT_BITS,
    GroupShape,
    IntegerWalk,
    Lanes,
    kl_bits,
    rows,
)
from laconic.codecs.lossless.core import DTYPES, Samples
from laconic.coding.bits_back import BitsBack
from laconic.coding.stack.ans import IntArray
from laconic.coding.stack.normal_bins import NormalBins
from laconic.models.exact import Known
from laconic.models.walk import walk

Bins = list[list[IntArray]]
"""Latents as bins of equal prior mass: by level, then by chain."""


def chained(state: IntegerWalk, shape: GroupShape) -> BitsBack[Lanes, Samples, Bins]:
    """The codec of one picture per chain, `(chains, h, w, colours)`, by bits-back.

    Args:
        state: at the first level.
        shape: of the group.
    """
    return BitsBack(
        LatentPrior(state),
        lambda pixels: LatentPosterior(state, pixels),
        lambda bins: Pixels(state, shape),
    )


class LatentPrior:
    """Latents under the prior, for which all bins of a level are alike.

    Args:
        state: at the first level when latents are popped.
    """

    def __init__(self, state: IntegerWalk) -> None:
        self.state = state

    def push(self, lanes: Lanes, latents: Bins, /) -> None:
        """Put the latents on the stacks, the top level last."""
        for bins in reversed(latents):
            prior = NormalBins.prior(LATENT_BITS, bins[0].size)
            lanes.push([prior] * len(lanes), bins)

    def pop(self, lanes: Lanes, /) -> Bins:
        """Take them off, top first."""

        def draw(level: int, known: Known) -> list[IntArray]:
            count = known.loc[0].numel()
            prior = NormalBins.prior(LATENT_BITS, count)
            return lanes.pop([prior] * len(lanes), np.zeros(count, np.int64))

        return _walk_bins(self.state, draw)


class LatentPosterior:
    """Latents under the posterior.

    Args:
        state: at the first level when latents are popped, after the last when they are pushed.
        pixels: the pictures `(chains, h, w, colours)`.
    """

    def __init__(self, state: IntegerWalk, pixels: Samples) -> None:
        self.state = state
        self.features = state.features(torch.from_numpy(to_steps(pixels))) if state.levels else None

    def push(self, lanes: Lanes, latents: Bins, /) -> None:
        """Return the bits that the sender drew the latents from."""
        for level in reversed(range(len(latents))):
            means, log_scales = map(rows, self.state.posterior(level, self.features))
            pairs = zip(means, log_scales, strict=True)
            lanes.push([NormalBins(m, s, LATENT_BITS) for m, s in pairs], latents[level])

    def pop(self, lanes: Lanes, /) -> Bins:
        """Draw latents with the bits on the stacks, top first; count their KL as ideal bits."""

        def draw(level: int, known: Known) -> list[IntArray]:
            mean, log_scale = self.state.posterior(level, self.features)
            pairs = zip(rows(mean), rows(log_scale), strict=True)
            drawn = lanes.pop([NormalBins(m, s, LATENT_BITS) for m, s in pairs], NONE)
            for lane, m, s in zip(lanes.lanes, mean, log_scale, strict=True):
                lane.ideal_bits += kl_bits(m, s)
            return drawn

        return _walk_bins(self.state, draw)


class Pixels:
    """Pixels under the likelihood.

    Args:
        state: after the last level.
        shape: of the group.
    """

    def __init__(self, state: IntegerWalk, shape: GroupShape) -> None:
        self.likelihood, self.shape = state.likelihood(), shape

    def push(self, lanes: Lanes, pixels: Samples, /) -> None:
        """Put the pictures `(chains, h, w, colours)` on the stacks; count their ideal bits.

        Raises:
            InputError: the model cannot code these pixels.
        """
        order = np.concatenate(self.likelihood.waves())
        steps = torch.from_numpy(to_steps(pixels))
        before = [lane.stack.bits for lane in lanes.lanes]
        codecs = [PixelCodec(one, self.shape.bits) for one in self.likelihood.given(steps)]
        flat = pixels.reshape(len(lanes), -1, self.shape.colours)
        lanes.push(codecs, [one[order].astype(np.int64) for one in flat])
        for lane, bits in zip(lanes.lanes, before, strict=True):
            lane.ideal_bits += lane.stack.bits - bits

    def pop(self, lanes: Lanes, /) -> Samples:
        """Take the pictures off, wave by wave."""
        shape = self.shape
        size = (len(lanes), shape.height * shape.width, shape.colours)
        pixels = np.zeros(size, DTYPES[shape.bits])
        for wave, parameters in zip(self.likelihood.waves(), self.likelihood.read(), strict=True):
            codecs = [PixelCodec(one, shape.bits) for one in parameters]
            values = lanes.pop(codecs, np.zeros((len(wave), shape.colours), np.int64))
            pixels[:, wave] = np.stack(values)
            self.likelihood.put([(v * STEPS[shape.bits]).astype(np.float64) for v in values])
        return pixels.reshape(len(lanes), *shape[1:4])


NONE: Final[IntArray] = np.zeros(0, np.int64)


def _walk_bins(state: IntegerWalk, draw: Callable[[int, Known], list[IntArray]]) -> Bins:
    """Walk the ladder with latents that are bins; returns the bins, top first."""
    latents: Bins = []

    def step(level: int, known: Known) -> Tensor:
        latents.append(draw(level, known))
        centres = np.stack([NormalBins.centres(bins, LATENT_BITS) for bins in latents[level]])
        u = torch.from_numpy(centres).double().reshape(known.loc.shape)
        return known.loc + torch.floor(known.scale * u + 0.5)

    walk(state, step)
    return latents
