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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Normal

from laconic.codecs.groups import Chain, Costs, EncodedGroup, GroupShape, Pixels
from laconic.codecs.samples import pop_samples, push_samples, to_steps
from laconic.coding.bits_back import drawing
from laconic.coding.normal_bins import NormalBins
from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy import CODERS, DEFAULT_CODER
from laconic.coding.relative_entropy.base import RelativeEntropyCoder
from laconic.coding.stack import IntArray, Stack, StackEmpty
from laconic.coding.stream import QueueDecoder, QueueEncoder
from laconic.distributions.rated import RatedNormal
from laconic.errors import CorruptFileError
from laconic.models.exact import ExactLadder, ExactLikelihood, Known, Shape
from laconic.networks import fixed_point

LATENT_BITS: Final = 14
"""Latents are drawn from 2^LATENT_BITS bins of equal prior mass."""
MOST_CHAINS: Final = 16
CHAIN_SAMPLES: Final = 1 << 18
"""A chain has at least so many samples, if there are enough: it costs some bytes to begin one."""
BATCH_PIXELS: Final = 1 << 18
"""Pixels that the networks see at once, unless told otherwise."""
SEED: Final = 0
_NAT_BITS: Final = float(np.log2(np.e))
_INT: Final = 2.0**30


@dataclass
class _Lane:
    """One chain: its pictures' numbers, its stack, and whether the stack still holds out."""

    pictures: range
    stack: Stack = field(default_factory=Stack)
    alive: bool = True

    def take(self, pop: Callable[[Stack], IntArray], blank: IntArray) -> IntArray:
        """Pop, or `blank` once the data have ended."""
        if self.alive:
            try:
                return pop(self.stack)
            except CorruptFileError:
                self.alive = False
        return blank


def deal(shape: GroupShape) -> list[range]:
    """Consecutive runs of pictures, one per chain, their lengths equal or one apart."""
    samples = shape.count * shape.height * shape.width * shape.colours
    count = max(1, min(MOST_CHAINS, shape.count, samples // CHAIN_SAMPLES))
    ends = [shape.count * k // count for k in range(count + 1)]
    return [range(first, last) for first, last in zip(ends, ends[1:], strict=False)]


class ChainCoder:
    """Writes and reads groups of pictures; see the module.

    Args:
        model: in integers.
        batch: pictures that the networks see at once, at most; None: what memory suggests. The
            file does not depend on it.
        coder: name of the relative entropy coder that begins chains.
    """

    def __init__(
        self, model: ExactLadder, batch: int | None = None, coder: str = DEFAULT_CODER
    ) -> None:
        self.model, self.batch = model, batch
        self.coder: RelativeEntropyCoder = CODERS[coder]()

    def encode(self, pixels: Pixels) -> EncodedGroup:
        """Write pictures.

        Args:
            pixels: `(pictures, h, w, colours)`, uint8, or uint16 for one colour.

        Raises:
            InputError: the model cannot express the pixels.
        """
        with torch.inference_mode():
            alone = 1 if self.model.levels else 0
            while True:
                try:
                    return _Writer(self, pixels, alone).write()
                except StackEmpty:  # Chained too early: the next picture needs more bits.
                    alone += 1

    def decode(self, group: EncodedGroup, shape: GroupShape) -> Iterator[Pixels]:
        """Yield pictures `(h, w, colours)` in order.

        Raises:
            CorruptFileError: the data end; whatever was yielded before is good.
        """
        with torch.inference_mode():
            pixels, done = _Reader(self, group, shape).read()
        for picture, good in zip(pixels, done, strict=True):
            if not good:
                raise CorruptFileError("the file ends before this picture does; it is cut short")
            yield picture

    def parts(self, lanes: Sequence[_Lane], shape: GroupShape) -> list[list[_Lane]]:
        """Lanes in batches for the networks."""
        size = self.batch or max(1, BATCH_PIXELS // (shape.height * shape.width))
        return [list(lanes[first : first + size]) for first in range(0, len(lanes), size)]


class _Walk:
    """One batch of pictures on its way down the ladder, in integers."""

    def __init__(self, coder: ChainCoder, lanes: list[_Lane], shape: GroupShape) -> None:
        self.model, self.lanes = coder.model, lanes
        self.shape = Shape(len(lanes), shape.colours, shape.height, shape.width)
        stride = self.model.stride
        self.rows, self.columns = (-(-side // stride) * stride for side in shape[1:3])
        self.known: list[Known] = []
        self.state = None
        if self.model.levels:
            self.state = self.model.start(len(lanes), self.rows, self.columns)

    def features(self, steps: Tensor) -> object:
        """What the pictures say, `steps`: `(batch, colours, h, w)`; the border repeats."""
        down, right = self.rows - self.shape.height, self.columns - self.shape.width
        padded = torch.nn.functional.pad(steps, (0, right, 0, down), mode="replicate")
        return self.model.climb(padded)

    def descend(self, level: int) -> Known:
        """What both sides know before `level`."""
        self.known.append(self.model.prior(level, self.state))
        return self.known[-1]

    def take_in(self, level: int, latent: Tensor) -> None:
        """The latent z in units of 2^-16."""
        self.state = self.model.take_in(level, self.known[level], latent)

    def take_in_bins(self, level: int, bins: Sequence[IntArray]) -> None:
        """The latent as bins of equal prior mass, per picture."""
        known = self.known[level]
        centres = np.stack([NormalBins.centres(b, LATENT_BITS) for b in bins])
        drawn = torch.from_numpy(centres).double().reshape(known.loc.shape)
        self.take_in(level, known.loc + torch.floor(known.scale * drawn + 0.5))

    def likelihood(self) -> ExactLikelihood:
        """Of the pixels, all latents told."""
        return self.model.likelihood(self.state, self.shape)


class _Writer:
    """One attempt to write a group whose last `alone` pictures of every chain stand alone."""

    def __init__(self, coder: ChainCoder, pixels: Pixels, alone: int) -> None:
        self.coder, self.pixels, self.alone = coder, pixels, alone
        self.shape = GroupShape.of(pixels)
        self.lanes = [_Lane(run) for run in deal(self.shape)]
        self.start = QueueEncoder()
        self.costs = Costs()

    def write(self) -> EncodedGroup:
        """The group; raises `StackEmpty` where bits for a draw are missing."""
        levels = self.coder.model.levels
        for depth in range(max(len(lane.pictures) for lane in self.lanes)):
            live = [lane for lane in self.lanes if depth < len(lane.pictures)]
            parts = self.coder.parts(live, self.shape)
            if depth < self.alone:
                self._write_alone(parts, depth)
            else:
                for part in parts:
                    self._write_chained(part, depth)
        chains = tuple(
            Chain(len(lane.pictures), min(self.alone, len(lane.pictures)), lane.stack.to_bytes())
            for lane in self.lanes
        )
        return EncodedGroup(self.start.finish() if levels else b"", chains, self.costs)

    def _write_alone(self, parts: list[list[_Lane]], depth: int) -> None:
        """Latents into the queue, all chains at once; pixels onto the stacks."""
        walks = [_Walk(self.coder, part, self.shape) for part in parts]
        steps = [self._steps(part, depth) for part in parts]
        features = [walk.features(x) for walk, x in zip(walks, steps, strict=True)]
        shared = SharedRandomness(SEED).child(depth)
        before = self.start.bits
        for level in range(self.coder.model.levels):
            known = [walk.descend(level) for walk in walks]
            posteriors = [
                self.coder.model.posterior(level, k, f)
                for k, f in zip(known, features, strict=True)
            ]
            target = _join([_target(k, *p) for k, p in zip(known, posteriors, strict=True)])
            draw, receipt = self.coder.coder.encode(
                target, _rated(known), self.start, shared.child(level)
            )
            self._count(Costs(receipt.ideal_bits, 0.0, 0.0, receipt.ideal_bits))
            for walk, z in zip(walks, _split(draw, known), strict=True):
                walk.take_in(level, z)
        self._count(Costs(start_bits=self.start.bits - before))
        for walk, part, x in zip(walks, parts, steps, strict=True):
            self._push_pixels(walk, part, x, depth)

    def _write_chained(self, part: list[_Lane], depth: int) -> None:
        """Latents drawn from the stacks, pixels pushed, latents pushed under their prior."""
        walk, x = _Walk(self.coder, part, self.shape), self._steps(part, depth)
        features = walk.features(x) if self.coder.model.levels else None
        told: list[list[IntArray]] = []
        for level in range(self.coder.model.levels):
            mean, log_scale = self.coder.model.posterior(level, walk.descend(level), features)
            bins = []
            for lane, m, s in zip(part, _flat(mean), _flat(log_scale), strict=True):
                with drawing(lane.stack):
                    bins.append(NormalBins(m, s, LATENT_BITS).pop(lane.stack))
            walk.take_in_bins(level, bins)
            told.append(bins)
            self._count(Costs(_kl_bits(mean, log_scale)))
        self._push_pixels(walk, part, x, depth)
        for bins in reversed(told):
            for lane, b in zip(part, bins, strict=True):
                NormalBins.prior(LATENT_BITS, b.size).push(lane.stack, b)

    def _push_pixels(self, walk: _Walk, part: list[_Lane], x: Tensor, depth: int) -> None:
        likelihood = walk.likelihood()
        order = np.concatenate(likelihood.waves())
        for lane, parameters in zip(part, likelihood.given(x), strict=True):
            picture = self.pixels[lane.pictures[-1 - depth]]
            samples = picture.reshape(-1, self.shape.colours)[order].astype(np.int64)
            before = lane.stack.bits
            push_samples(lane.stack, parameters, samples, self.shape.bits)
            told = lane.stack.bits - before
            self._count(Costs(told, told))

    def _steps(self, part: list[_Lane], depth: int) -> Tensor:
        numbers = [lane.pictures[-1 - depth] for lane in part]
        return torch.from_numpy(to_steps(self.pixels[numbers]))

    def _count(self, costs: Costs) -> None:
        self.costs = self.costs.plus(costs)


class _Reader:
    """Reads a group; chains whose data end stop, the others go on."""

    def __init__(self, coder: ChainCoder, group: EncodedGroup, shape: GroupShape) -> None:
        self.coder, self.shape = coder, shape
        runs = deal(shape)
        counts = [chain.count for chain in group.chains]
        if counts != [len(run) for run in runs][: len(counts)]:
            raise CorruptFileError("the chains do not hold the pictures that the header names")
        self.lanes = [
            _Lane(run, Stack.from_bytes(chain.data))
            for run, chain in zip(runs, group.chains, strict=False)
        ]
        self.alone = max((chain.alone for chain in group.chains), default=0)
        self.start = QueueDecoder(group.start)
        self.pixels = np.zeros(shape[:1] + shape[1:3] + (shape.colours,), shape.dtype)
        self.done = np.zeros(shape.count, bool)

    def read(self) -> tuple[Pixels, Sequence[bool]]:
        """All pictures, and which of them are good."""
        deepest = max((len(lane.pictures) for lane in self.lanes), default=0)
        begun = {
            depth: self._hear(self._parts(depth), depth)
            for depth in range(min(self.alone, deepest) if self.coder.model.levels else 0)
        }
        for depth in reversed(range(deepest)):
            parts = self._parts(depth)
            for k, part in enumerate(parts):
                walk = begun[depth][k] if depth in begun else None
                self._read_part(part, depth, walk)
        return self.pixels, [bool(good) for good in self.done]

    def _parts(self, depth: int) -> list[list[_Lane]]:
        live = [lane for lane in self.lanes if depth < len(lane.pictures)]
        return self.coder.parts(live, self.shape)

    def _hear(self, parts: list[list[_Lane]], depth: int) -> list[_Walk]:
        """The latents of pictures that stand alone."""
        walks = [_Walk(self.coder, part, self.shape) for part in parts]
        shared = SharedRandomness(SEED).child(depth)
        for level in range(self.coder.model.levels):
            known = [walk.descend(level) for walk in walks]
            draw = self.coder.coder.decode(_rated(known), self.start, shared.child(level))
            for walk, z in zip(walks, _split(draw, known), strict=True):
                walk.take_in(level, z)
        return walks

    def _read_part(self, part: list[_Lane], depth: int, begun: _Walk | None) -> None:
        walk = begun or _Walk(self.coder, part, self.shape)
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

    def _pop_pixels(self, walk: _Walk, part: list[_Lane]) -> Pixels:
        shape = self.shape
        pixels = np.zeros((len(part), shape.height * shape.width, shape.colours), shape.dtype)
        likelihood = walk.likelihood()
        scale = 1 / 256 if shape.bits > 8 else 1.0
        for wave, parameters in zip(likelihood.waves(), likelihood.read(), strict=True):
            blank = np.zeros((len(wave), shape.colours), np.int64)
            values = [
                lane.take(lambda stack, p=p: pop_samples(stack, p, shape.bits), blank)
                for lane, p in zip(part, parameters, strict=True)
            ]
            pixels[:, wave] = np.stack(values)
            likelihood.put([v * scale for v in values])
        return pixels.reshape(len(part), shape.height, shape.width, shape.colours)

    def _give_back(
        self, walk: _Walk, part: list[_Lane], pixels: Pixels, told: list[list[IntArray]]
    ) -> None:
        """The bits that the sender drew the latents from."""
        features = walk.features(torch.from_numpy(to_steps(pixels)))
        for level in reversed(range(self.coder.model.levels)):
            posterior = self.coder.model.posterior(level, walk.known[level], features)
            means, log_scales = map(_flat, posterior)
            for lane, m, s, bins in zip(part, means, log_scales, told[level], strict=True):
                if lane.alive:
                    NormalBins(m, s, LATENT_BITS).push(lane.stack, bins)


def _flat(x: Tensor) -> NDArray[np.int32]:
    """One row per picture."""
    flat: NDArray[np.int32] = x.flatten(1).clamp(-_INT, _INT).to(torch.int32).numpy()
    return flat


def _target(known: Known, mean: Tensor, log_scale: Tensor) -> Normal:
    """The posterior of z in floats: a coder's target need not be exact, its prior must."""
    loc = fixed_point.to_float(known.loc + known.scale * mean)
    scale = known.scale * torch.exp(fixed_point.to_float(log_scale))
    return Normal(loc.float(), scale.float(), validate_args=False)


def _join(parts: Sequence[Normal]) -> Normal:
    loc, scale = (torch.cat([getattr(p, name) for p in parts]) for name in ("loc", "scale"))
    return Normal(loc, scale, validate_args=False)


def _rated(known: Sequence[Known]) -> RatedNormal:
    """The prior of z of all batches together."""
    loc = fixed_point.to_float(torch.cat([k.loc for k in known]))
    scale = torch.cat([k.scale for k in known])
    return RatedNormal(loc, scale, fixed_point.expected_rates(scale))


def _split(draw: Tensor, known: Sequence[Known]) -> Sequence[Tensor]:
    """A draw in units of 2^-16, batch by batch."""
    return torch.split(fixed_point.from_float(draw), [len(k.loc) for k in known])


def _kl_bits(mean: Tensor, log_scale: Tensor) -> float:
    """KL(N(m, e^2l) || N(0, 1)) in bits, summed."""
    m, s = fixed_point.to_float(mean), fixed_point.to_float(log_scale)
    return float((0.5 * (m * m + torch.exp(2 * s) - 1) - s).sum()) * _NAT_BITS
