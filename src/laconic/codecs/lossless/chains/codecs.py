"""Codecs of one picture per chain, for `coding.bits_back`: of its latents and of its pixels.

All of them act on several stacks at once (`Lanes`), so that networks run on a batch. The codecs of
one picture share an `IntegerWalk`: the one that pops the latents walks it, the others read it.
"""

from collections.abc import Callable, Sequence
from functools import partial

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
from laconic.coding.bits_back import BitsBack, BitSwap, CodecOn
from laconic.coding.stack.ans import IntArray
from laconic.coding.stack.normal_bins import NormalBins
from laconic.models.exact import Known, SwapLadder
from laconic.models.walk import walk

Bins = list[list[IntArray]]
"""Latents as bins of equal prior mass: by level, then by chain."""


def chained(state: IntegerWalk, shape: GroupShape) -> CodecOn[Lanes, Samples]:
    """The codec of one picture per chain, `(chains, h, w, colours)`, by bits-back.

    Ladders whose latents depend on their neighbours alone use Bit-Swap, the others BB-ANS.

    Args:
        state: at the first level.
        shape: of the group.
    """
    if isinstance(state.model, SwapLadder):
        return Swapped(state, state.model, shape)
    return BitsBack(
        LatentPrior(state),
        lambda pixels: LatentPosterior(state, pixels),
        lambda bins: Pixels(state, shape),
    )


class Swapped:
    """One picture per chain by Bit-Swap; a latent is a list of bins, one array per chain.

    Args:
        state: at the first level.
        model: its ladder.
        shape: of the group.
    """

    def __init__(self, state: IntegerWalk, model: SwapLadder, shape: GroupShape) -> None:
        self.state, self.model, self.shape = state, model, shape
        self.shapes = model.shapes(state.rows, state.columns)
        swaps = range(model.swaps)
        self.codec: BitSwap[Lanes] = BitSwap(
            UniformLanes(self.shapes[-1].numel()),
            [self._first, *(partial(self._rise, swap) for swap in swaps)],
            [self._pixels, *(partial(self._fall, swap) for swap in swaps)],
        )

    def push(self, lanes: Lanes, pixels: Samples, /) -> None:
        """Put the pictures on the stacks; what they add is their ideal length for these draws."""
        before = [lane.ideal_bits - lane.stack.bits for lane in lanes.lanes]
        self.codec.push(lanes, pixels)
        for lane, bits in zip(lanes.lanes, before, strict=True):
            lane.ideal_bits = bits + lane.stack.bits

    def pop(self, lanes: Lanes, /) -> Samples:
        """Take the pictures off."""
        pixels: Samples = self.codec.pop(lanes)
        return pixels

    def _first(self, pixels: Samples) -> "NormalLanes":
        """q(z_1 | x)."""
        return NormalLanes(*self.state.features(torch.from_numpy(to_steps(pixels))))

    def _pixels(self, bins: list[IntArray]) -> "Pixels":
        """p(x | z_1)."""
        known = self.state.prior(0)
        self.state.take_in(0, _centres(bins, known.loc.shape))
        return Pixels(self.state, self.shape)

    def _rise(self, swap: int, bins: list[IntArray]) -> "NormalLanes":
        """Of the level above, given the bins of one."""
        return NormalLanes(*self.model.rise(swap, self._values(swap, bins)))

    def _fall(self, swap: int, bins: list[IntArray]) -> "NormalLanes":
        """Of a level, given the bins of the one above."""
        return NormalLanes(*self.model.fall(swap, self._values(swap + 1, bins)))

    def _values(self, swap: int, bins: list[IntArray]) -> Tensor:
        return _centres(bins, (len(bins), *self.shapes[swap]))


class UniformLanes:
    """Bins that are all alike, an array per chain.

    Args:
        count: bins per chain.
    """

    def __init__(self, count: int) -> None:
        self.count, self.codec = count, NormalBins.prior(LATENT_BITS, count)

    def push(self, lanes: Lanes, bins: Sequence[IntArray], /) -> None:
        """Put the bins on the stacks."""
        lanes.push([self.codec] * len(lanes), bins)

    def pop(self, lanes: Lanes, /) -> list[IntArray]:
        """Take them off."""
        return lanes.pop([self.codec] * len(lanes), np.zeros(self.count, np.int64))


class NormalLanes:
    """Bins under normals, an array per chain.

    Args:
        mean: `(chains, ...)`, units of 2^-16.
        log_scale: the same shape, units of 2^-16.
    """

    def __init__(self, mean: Tensor, log_scale: Tensor) -> None:
        pairs = zip(rows(mean), rows(log_scale), strict=True)
        self.codecs = [NormalBins(m, s, LATENT_BITS) for m, s in pairs]
        self.count = mean[0].numel()

    def push(self, lanes: Lanes, bins: Sequence[IntArray], /) -> None:
        """Put the bins on the stacks."""
        lanes.push(self.codecs, bins)

    def pop(self, lanes: Lanes, /) -> list[IntArray]:
        """Take them off."""
        return lanes.pop(self.codecs, np.zeros(self.count, np.int64))


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
            UniformLanes(bins[0].size).push(lanes, bins)

    def pop(self, lanes: Lanes, /) -> Bins:
        """Take them off, top first."""

        def draw(level: int, known: Known) -> list[IntArray]:
            return UniformLanes(known.loc[0].numel()).pop(lanes)

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
            NormalLanes(*self.state.posterior(level, self.features)).push(lanes, latents[level])

    def pop(self, lanes: Lanes, /) -> Bins:
        """Draw latents with the bits on the stacks, top first; count their KL as ideal bits."""

        def draw(level: int, known: Known) -> list[IntArray]:
            mean, log_scale = self.state.posterior(level, self.features)
            drawn = NormalLanes(mean, log_scale).pop(lanes)
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


def _walk_bins(state: IntegerWalk, draw: Callable[[int, Known], list[IntArray]]) -> Bins:
    """Walk the ladder with latents that are bins; returns the bins, top first."""
    latents: Bins = []

    def step(level: int, known: Known) -> Tensor:
        latents.append(draw(level, known))
        u = _centres(latents[level], known.loc.shape)
        return known.loc + torch.floor(known.scale * u + 0.5)

    walk(state, step)
    return latents


def _centres(bins: Sequence[IntArray], shape: Sequence[int]) -> Tensor:
    """The values of bins, one array per chain, in units of 2^-16; `shape` has the chains first."""
    centres = np.stack([NormalBins.centres(one, LATENT_BITS) for one in bins])
    return torch.from_numpy(centres).double().reshape(tuple(shape))
