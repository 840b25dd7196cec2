"""Bits-back with feedback over many pictures at once, with any model in integers.

Pictures of one size are dealt to chains, each with a stack of its own; the networks see one picture
of every chain at a time, so a batch is as large as there are chains and nothing depends on how
many are handled together. Chains are written from their last picture to their first.

The first pictures written have no bits to draw latents from. They are coded alone: a relative
entropy coder encodes their latents in about the KL, and the bits of their pixels on the stack are
the initial bits of the pictures after them. No bits are invented, none subtracted. A model without
latents needs none of this.

Source: Ullrich 1.4 (bits-back with feedback); Flamich 1.7 (relative entropy coding).
"""

import contextlib
from collections.abc import Container, Iterator, Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from laconic.codecs.lossless.chains.codecs import Pixels, chained
from laconic.codecs.lossless.chains.pixels import to_steps
from laconic.codecs.lossless.chains.stacks import (
    GroupShape,
    IntegerWalk,
    JointWalk,
    Lane,
    Lanes,
    deal,
    draw_bits,
    join,
    rated,
    split,
    target,
)
from laconic.codecs.lossless.core import DTYPES, Chain, Costs, EncodedGroup, Samples, Tick, silent
from laconic.coding.queue.stream import QueueDecoder, QueueEncoder
from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy import CODERS, DEFAULT_CODER
from laconic.coding.relative_entropy.base import RelativeEntropyCoder
from laconic.coding.stack.ans import Stack, StackEmpty
from laconic.errors import CorruptFileError
from laconic.models.exact import ExactLadder, Known
from laconic.models.walk import walk
from laconic.threads import each, thread_count, using

BATCH_PIXELS: Final = 1 << 18
"""Pixels that the networks process at once by default."""
MARGIN: Final = 1.1
"""Bits on a stack, by those that the last picture would have drawn, before chaining begins."""
SEED: Final = 0


class Counted:
    """A `Tick` that says nothing again of pictures that an earlier attempt has counted.

    Args:
        tick: called for the other pictures.
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
            except StackEmpty:  # Chained too early: this picture needs more bits than the last.
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
        wanted: Container[int] | None = None,
    ) -> Iterator[Samples]:
        """Yield pictures `(h, w, colours)` in order; all are decoded before the first is given.

        Of a chain no picture after its last wanted one is decoded: those are blank.

        Raises:
            CorruptFileError: the data end; whatever was yielded before is good.
        """
        shape = GroupShape(count, height, width, colours, bits)
        with using(self.threads), torch.inference_mode():
            pixels, done = _Reader(self, data, shape, tick, wanted).read()
        for number, (picture, good) in enumerate(zip(pixels, done, strict=True)):
            if not good and (wanted is None or number in wanted):
                raise CorruptFileError("the file ends before this picture does; it is cut short")
            yield picture

    def parts(self, lanes: Sequence[Lane], shape: GroupShape) -> list[list[Lane]]:
        """Lanes in batches for the networks: at least one per thread, none too large."""
        most = self.batch or max(1, BATCH_PIXELS // (shape.height * shape.width))
        size = min(most, -(-len(lanes) // self.threads))
        return [list(lanes[first : first + size]) for first in range(0, len(lanes), size)]


class _Writer:
    """One attempt to write a group whose last `alone` pictures of every chain are coded alone."""

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
        """Latents into the queue, those of all chains at once; pixels onto the stacks."""
        coder, model = self.coder, self.coder.model
        walks = [IntegerWalk(model, len(part), self.shape) for part in parts]
        pixels = [self._pixels(part, depth) for part in parts]
        features = each(_features, walks, pixels)
        shared = SharedRandomness(SEED).child(depth)
        before, self.draw_bits = self.start.bits, 0.0

        def step(level: int, known: list[Known]) -> Sequence[Tensor]:
            posteriors = each(lambda one, f: one.posterior(level, f), walks, features)
            aim = join([target(k, *p) for k, p in zip(known, posteriors, strict=True)])
            draw, receipt = coder.coder.encode(aim, rated(known), self.start, shared.child(level))
            self.queue_ideal_bits += receipt.ideal_bits
            self.draw_bits += max(map(draw_bits, posteriors))
            return split(draw, known)

        walk(JointWalk(model.levels, walks), step)
        self.queue_bits += self.start.bits - before
        each(self._push_pixels, parts, walks, pixels, done=self._count)

    def _push_pixels(self, part: list[Lane], state: IntegerWalk, pixels: Samples) -> None:
        Pixels(state, self.shape).push(Lanes(part), pixels)

    def _write_chained(self, depth: int, part: list[Lane]) -> None:
        """Latents drawn from the stacks, pixels pushed, latents pushed under their prior."""
        state = IntegerWalk(self.coder.model, len(part), self.shape)
        chained(state, self.shape).push(Lanes(part), self._pixels(part, depth))

    def _pixels(self, part: list[Lane], depth: int) -> Samples:
        return self.pixels[[lane.pictures[-1 - depth] for lane in part]]


def _features(state: IntegerWalk, pixels: Samples) -> Any:
    return state.features(torch.from_numpy(to_steps(pixels)))


class _Reader:
    """Reads a group; chains whose data end stop, the others go on."""

    def __init__(
        self,
        coder: ChainCoder,
        group: EncodedGroup,
        shape: GroupShape,
        tick: Tick,
        wanted: Container[int] | None,
    ) -> None:
        self.coder, self.shape, self.tick = coder, shape, tick
        ends = list(accumulate((chain.count for chain in group.chains), initial=0))
        if ends[-1] != shape.pictures or min(chain.count for chain in group.chains) < 1:
            raise CorruptFileError("the chains do not hold the pictures that the header names")
        self.lanes = [Lane(range(*run), whole=False) for run in pairwise(ends)]
        for lane, chain in zip(self.lanes, group.chains, strict=True):
            with contextlib.suppress(CorruptFileError):  # Cut off before its heads were complete.
                lane.stack, lane.whole = Stack.from_bytes(chain.data), True
        self.alone = max((chain.alone for chain in group.chains), default=0)
        self.start = QueueDecoder(group.start)
        self.pixels = np.zeros(shape[:4], DTYPES[shape.bits])
        self.done = np.zeros(shape.pictures, bool)
        self.needed = [
            wanted is None or any(later in wanted for later in range(number, lane.pictures.stop))
            for lane in self.lanes
            for number in lane.pictures
        ]

    def read(self) -> tuple[Samples, Sequence[bool]]:
        """All pictures, and which of them are good."""
        deepest = max((len(lane.pictures) for lane in self.lanes), default=0)
        begun: dict[int, Sequence[IntegerWalk | None]] = {
            depth: self._decode_latents(self._parts(depth), depth)
            for depth in range(min(self.alone, deepest) if self.coder.model.levels else 0)
        }
        for depth in reversed(range(deepest)):
            parts = self._parts(depth)
            walks = begun.get(depth, [None] * len(parts))
            pairs = zip(parts, walks, strict=True)
            if chosen := [pair for pair in pairs if self._is_needed(pair[0], depth)]:
                each(partial(self._read_part, depth), *zip(*chosen, strict=True), done=self._count)
        return self.pixels, [bool(good) for good in self.done]

    def _count(self, part: list[Lane]) -> None:
        """One picture of each lane is read."""
        self.tick(len(part))

    def _is_needed(self, part: list[Lane], depth: int) -> bool:
        """Whether a chain of the part has a wanted picture at this depth or after it."""
        return any(self.needed[lane.pictures[-1 - depth]] for lane in part)

    def _parts(self, depth: int) -> list[list[Lane]]:
        live = [lane for lane in self.lanes if depth < len(lane.pictures)]
        return self.coder.parts(live, self.shape)

    def _decode_latents(self, parts: list[list[Lane]], depth: int) -> list[IntegerWalk]:
        """The walks of pictures that are coded alone, after their last level."""
        walks = [IntegerWalk(self.coder.model, len(part), self.shape) for part in parts]
        shared = SharedRandomness(SEED).child(depth)

        def step(level: int, known: list[Known]) -> Sequence[Tensor]:
            draw = self.coder.coder.decode(rated(known), self.start, shared.child(level))
            return split(draw, known)

        walk(JointWalk(self.coder.model.levels, walks), step)
        return walks

    def _read_part(self, depth: int, part: list[Lane], begun: IntegerWalk | None) -> None:
        lanes = Lanes(part, patient=True)
        if begun is None:
            state = IntegerWalk(self.coder.model, len(part), self.shape)
            pixels = chained(state, self.shape).pop(lanes)
        else:
            pixels = Pixels(begun, self.shape).pop(lanes)
        for lane, picture in zip(part, pixels, strict=True):
            number = lane.pictures[-1 - depth]
            self.pixels[number], self.done[number] = picture, lane.whole
