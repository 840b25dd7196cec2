"""Bits-back with feedback over many pictures at once, with any model in integers.

Pictures of one size are dealt to chains, each with a stack of its own; the networks see one picture
of every chain at a time, so a batch is as large as there are chains and nothing depends on how
many are handled together. Chains are written from their last picture to their first.

The first pictures written have no bits to draw latents from. They stand alone: a relative entropy
coder tells their latents for about the KL, and what their pixels leave on the stack are the
initial bits of the pictures after them. No bits are invented, none subtracted. A model without
latents needs none of this.

Source: Ullrich 1.4 (bits-back with feedback); Flamich 1.7 (relative entropy coding).
"""

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import Final

import numpy as np
import torch
from torch import Tensor

from laconic.codecs.lossless.chains.pixels import STEPS, pop_samples, push_samples, to_steps
from laconic.codecs.lossless.chains.stacks import (
    LATENT_BITS,
    GroupShape,
    Lane,
    Walk,
    deal,
    draw_bits,
    join,
    kl_bits,
    rated,
    rows,
    split,
    target,
)
from laconic.codecs.lossless.core import DTYPES, Chain, Costs, EncodedGroup, Samples, Tick, silent
from laconic.coding.bits_back import drawing
from laconic.coding.queue.stream import QueueDecoder, QueueEncoder
from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy import CODERS, DEFAULT_CODER
from laconic.coding.relative_entropy.base import RelativeEntropyCoder
from laconic.coding.stack.ans import IntArray, Stack, StackEmpty
from laconic.coding.stack.normal_bins import NormalBins
from laconic.errors import CorruptFileError
from laconic.models.exact import ExactLadder
from laconic.threads import each, thread_count, using

BATCH_PIXELS: Final = 1 << 18
"""Pixels that the networks see at once, unless told otherwise."""
MARGIN: Final = 1.1
"""Bits on a stack, by those that the last picture would have drawn, before chaining begins."""
SEED: Final = 0


class Counted:
    """A `Tick` that says nothing again of pictures that an earlier attempt has counted.

    Args:
        tick: is told of the others.
        most: pictures that earlier attempts have counted.
    """

    def __init__(self, tick: Tick, most: int = 0) -> None:
        self.tick, self.most, self.done = tick, most, 0

    def __call__(self, count: int) -> None:
        """Count pictures."""
        self.done += count
        if self.done > self.most:
            self.tick(self.done - self.most)
            self.most = self.done


class ChainCoder:
    """Writes and reads groups of pictures; see the module.

    Args:
        model: in integers.
        batch: pictures that the networks see at once, at most; None: what memory suggests. The
            file does not depend on it.
        coder: name of the relative entropy coder that begins chains.
        threads: parts of a batch that are handled side by side; None: as many as torch has.
    """

    def __init__(
        self,
        model: ExactLadder,
        batch: int | None = None,
        coder: str = DEFAULT_CODER,
        threads: int | None = None,
    ) -> None:
        self.model, self.batch = model, batch
        self.threads = threads or thread_count()
        self.coder: RelativeEntropyCoder = CODERS[coder]()

    def encode(self, pixels: Samples, tick: Tick = silent) -> EncodedGroup:
        """Write pictures.

        Args:
            pixels: `(pictures, h, w, colours)`, bool, uint8, or uint16 for one colour.
            tick: called with the number of pictures just done.

        Raises:
            InputError: the model cannot express the pixels.
        """
        alone, most = 1 if self.model.levels else 0, 0
        while True:
            writer = _Writer(self, pixels, alone, Counted(tick, most))
            try:
                with using(self.threads), torch.inference_mode():
                    return writer.write()
            except StackEmpty:  # Chained too early: this picture asks for more than the last.
                alone, most = writer.alone + 1, writer.tick.most

    def decode(
        self,
        data: EncodedGroup,
        count: int,
        height: int,
        width: int,
        colours: int,
        bits: int,
        tick: Tick = silent,
    ) -> Iterator[Samples]:
        """Yield pictures `(h, w, colours)` in order; all are decoded before the first is given.

        Raises:
            CorruptFileError: the data end; whatever was yielded before is good.
        """
        shape = GroupShape(count, height, width, colours, bits)
        with using(self.threads), torch.inference_mode():
            pixels, done = _Reader(self, data, shape, tick).read()
        for picture, good in zip(pixels, done, strict=True):
            if not good:
                raise CorruptFileError("the file ends before this picture does; it is cut short")
            yield picture

    def parts(self, lanes: Sequence[Lane], shape: GroupShape) -> list[list[Lane]]:
        """Lanes in batches for the networks: at least one per thread, none too large."""
        most = self.batch or max(1, BATCH_PIXELS // (shape.height * shape.width))
        size = min(most, -(-len(lanes) // self.threads))
        return [list(lanes[first : first + size]) for first in range(0, len(lanes), size)]


class _Writer:
    """One attempt to write a group whose last `alone` pictures of every chain stand alone."""

    def __init__(self, coder: ChainCoder, pixels: Samples, alone: int, tick: Counted) -> None:
        self.coder, self.pixels, self.alone, self.tick = coder, pixels, alone, tick
        self.shape = GroupShape.of(pixels)
        self.lanes = [Lane(run) for run in deal(self.shape)]
        self.start = QueueEncoder()
        self.queue_bits = self.queue_ideal_bits = self.draw_bits = 0.0

    def write(self) -> EncodedGroup:
        """The group; raises `StackEmpty` where bits for a draw are missing."""
        for depth in range(max(len(lane.pictures) for lane in self.lanes)):
            live = [lane for lane in self.lanes if depth < len(lane.pictures)]
            parts = self.coder.parts(live, self.shape)
            if depth == self.alone and self._too_few(live):
                self.alone += 1
            if depth < self.alone:
                self._write_alone(parts, depth)
            else:
                each(partial(self._write_chained, depth), parts, done=self._count)
        chains = tuple(
            Chain(len(lane.pictures), min(self.alone, len(lane.pictures)), lane.stack.to_bytes())
            for lane in self.lanes
        )
        net_bits = self.queue_bits + sum(lane.stack.bits for lane in self.lanes)
        start = self.start.finish() if self.coder.model.levels else b""
        ideal_bits = self.queue_ideal_bits + sum(lane.ideal_bits for lane in self.lanes)
        return EncodedGroup(start, chains, Costs(ideal_bits, net_bits))

    def _count(self, part: list[Lane]) -> None:
        """One picture of each lane is written."""
        self.tick(len(part))

    def _too_few(self, lanes: Sequence[Lane]) -> bool:
        """Whether pictures like the last cannot be drawn for from the stacks as they are."""
        return min(lane.stack.available_bits for lane in lanes) < MARGIN * self.draw_bits

    def _write_alone(self, parts: list[list[Lane]], depth: int) -> None:
        """Latents into the queue, all chains at once; pixels onto the stacks."""
        coder, model = self.coder, self.coder.model
        walks = [Walk(model, part, self.shape) for part in parts]
        steps = [self._steps(part, depth) for part in parts]
        features = each(Walk.features, walks, steps)
        shared = SharedRandomness(SEED).child(depth)
        before, self.draw_bits = self.start.bits, 0.0
        for level in range(model.levels):
            known = each(partial(Walk.descend, level=level), walks)
            posteriors = each(partial(model.posterior, level), known, features)
            aim = join([target(k, *p) for k, p in zip(known, posteriors, strict=True)])
            draw, receipt = coder.coder.encode(aim, rated(known), self.start, shared.child(level))
            self.queue_ideal_bits += receipt.ideal_bits
            self.draw_bits += max(map(draw_bits, posteriors))
            each(partial(Walk.take_in, level=level), walks, split(draw, known))
        self.queue_bits += self.start.bits - before
        push = partial(self._push_pixels, depth)
        each(lambda part, walk, x: push(walk, part, x), parts, walks, steps, done=self._count)

    def _write_chained(self, depth: int, part: list[Lane]) -> None:
        """Latents drawn from the stacks, pixels pushed, latents pushed under their prior."""
        walk, x = Walk(self.coder.model, part, self.shape), self._steps(part, depth)
        features = walk.features(x) if self.coder.model.levels else None
        told: list[list[IntArray]] = []
        for level in range(self.coder.model.levels):
            mean, log_scale = self.coder.model.posterior(level, walk.descend(level), features)
            bins = []
            for lane, m, s in zip(part, rows(mean), rows(log_scale), strict=True):
                with drawing(lane.stack):
                    bins.append(NormalBins(m, s, LATENT_BITS).pop(lane.stack))
            walk.take_in_bins(level, bins)
            told.append(bins)
            for lane, m, s in zip(part, mean, log_scale, strict=True):
                lane.ideal_bits += kl_bits(m, s)
        self._push_pixels(depth, walk, part, x)
        for bins in reversed(told):
            for lane, b in zip(part, bins, strict=True):
                NormalBins.prior(LATENT_BITS, b.size).push(lane.stack, b)

    def _push_pixels(self, depth: int, walk: Walk, part: list[Lane], x: Tensor) -> None:
        likelihood = walk.likelihood()
        order = np.concatenate(likelihood.waves())
        for lane, parameters in zip(part, likelihood.given(x), strict=True):
            picture = self.pixels[lane.pictures[-1 - depth]]
            samples = picture.reshape(-1, self.shape.colours)[order].astype(np.int64)
            before = lane.stack.bits
            push_samples(lane.stack, parameters, samples, self.shape.bits)
            lane.ideal_bits += lane.stack.bits - before

    def _steps(self, part: list[Lane], depth: int) -> Tensor:
        numbers = [lane.pictures[-1 - depth] for lane in part]
        return torch.from_numpy(to_steps(self.pixels[numbers]))


class _Reader:
    """Reads a group; chains whose data end stop, the others go on."""

    def __init__(
        self, coder: ChainCoder, group: EncodedGroup, shape: GroupShape, tick: Tick
    ) -> None:
        self.coder, self.shape, self.tick = coder, shape, tick
        ends = list(accumulate((chain.count for chain in group.chains), initial=0))
        if ends[-1] != shape.pictures or min(chain.count for chain in group.chains) < 1:
            raise CorruptFileError("the chains do not hold the pictures that the header names")
        self.lanes = [Lane(range(*run), alive=False) for run in pairwise(ends)]
        for lane, chain in zip(self.lanes, group.chains, strict=True):
            with contextlib.suppress(CorruptFileError):  # Cut off before its heads were complete.
                lane.stack, lane.alive = Stack.from_bytes(chain.data), True
        self.alone = max((chain.alone for chain in group.chains), default=0)
        self.start = QueueDecoder(group.start)
        self.pixels = np.zeros(shape[:4], DTYPES[shape.bits])
        self.done = np.zeros(shape.pictures, bool)

    def read(self) -> tuple[Samples, Sequence[bool]]:
        """All pictures, and which of them are good."""
        deepest = max((len(lane.pictures) for lane in self.lanes), default=0)
        begun: dict[int, Sequence[Walk | None]] = {
            depth: self._hear(self._parts(depth), depth)
            for depth in range(min(self.alone, deepest) if self.coder.model.levels else 0)
        }
        for depth in reversed(range(deepest)):
            parts = self._parts(depth)
            walks = begun.get(depth, [None] * len(parts))
            each(partial(self._read_part, depth), parts, walks, done=self._count)
        return self.pixels, [bool(good) for good in self.done]

    def _count(self, part: list[Lane]) -> None:
        """One picture of each lane is read."""
        self.tick(len(part))

    def _parts(self, depth: int) -> list[list[Lane]]:
        live = [lane for lane in self.lanes if depth < len(lane.pictures)]
        return self.coder.parts(live, self.shape)

    def _hear(self, parts: list[list[Lane]], depth: int) -> list[Walk]:
        """The latents of pictures that stand alone."""
        walks = [Walk(self.coder.model, part, self.shape) for part in parts]
        shared = SharedRandomness(SEED).child(depth)
        for level in range(self.coder.model.levels):
            known = each(partial(Walk.descend, level=level), walks)
            draw = self.coder.coder.decode(rated(known), self.start, shared.child(level))
            each(partial(Walk.take_in, level=level), walks, split(draw, known))
        return walks

    def _read_part(self, depth: int, part: list[Lane], begun: Walk | None) -> None:
        walk = begun or Walk(self.coder.model, part, self.shape)
        told: list[list[IntArray]] = []
        if begun is None:
            for level in range(self.coder.model.levels):
                count = walk.descend(level).loc[0].numel()
                prior = NormalBins.prior(LATENT_BITS, count)
                bins = [lane.take(prior.pop, np.zeros(count, np.int64)) for lane in part]
                walk.take_in_bins(level, bins)
                told.append(bins)
        pixels = self._pop_pixels(walk, part)
        if told:
            self._give_back(walk, part, pixels, told)
        for lane, picture in zip(part, pixels, strict=True):
            number = lane.pictures[-1 - depth]
            self.pixels[number], self.done[number] = picture, lane.alive

    def _pop_pixels(self, walk: Walk, part: list[Lane]) -> Samples:
        shape = self.shape
        size = (len(part), shape.height * shape.width, shape.colours)
        pixels = np.zeros(size, DTYPES[shape.bits])
        likelihood = walk.likelihood()
        for wave, parameters in zip(likelihood.waves(), likelihood.read(), strict=True):
            blank = np.zeros((len(wave), shape.colours), np.int64)
            values = [
                lane.take(partial(pop_samples, parameters=p, bits=shape.bits), blank)
                for lane, p in zip(part, parameters, strict=True)
            ]
            pixels[:, wave] = np.stack(values)
            likelihood.put([(v * STEPS[shape.bits]).astype(np.float64) for v in values])
        return pixels.reshape(len(part), *shape[1:4])

    def _give_back(
        self, walk: Walk, part: list[Lane], pixels: Samples, told: list[list[IntArray]]
    ) -> None:
        """The bits that the sender drew the latents from."""
        features = walk.features(torch.from_numpy(to_steps(pixels)))
        for level in reversed(range(self.coder.model.levels)):
            posterior = self.coder.model.posterior(level, walk.known[level], features)
            means, log_scales = map(rows, posterior)
            for lane, m, s, bins in zip(part, means, log_scales, told[level], strict=True):
                if lane.alive:
                    NormalBins(m, s, LATENT_BITS).push(lane.stack, bins)
