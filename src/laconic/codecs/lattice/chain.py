"""Bits-back with feedback on one stack, in batches that grow as the stack does.

A batch's latents are drawn from what the pictures before it left, so a batch may be about as large
as the stack holds bits for its draws. For the first picture the stack is empty: it is coded alone.
Its latents are drawn with other bits, which are not recovered; they are the chain's initial bits
and stay in its length. The next batches have one picture, then two, ... up to `MOST`.

Bits under a marginal that the posteriors do not fill are not random: a latent that is always near
zero leaves a stack from which the next one is drawn near its mean, and such draws cost more than
R + D. So the bits that a batch draws from are first added to random ones that both sides know.

Pictures are written from the last to the first. The file holds the size of every batch and the
length of the chain.

Source: Ullrich 1.4 (bits-back with feedback).
"""

from typing import Final, NamedTuple, final

import numpy as np

from laconic.codecs.lattice.model import LatticeModel, PixelCodec
from laconic.coding.bits_back import BitsBack
from laconic.coding.random import SharedRandomness
from laconic.coding.stack.ans import PRECISION, TOTAL, IntArray, Stack, StackEmpty
from laconic.coding.stack.lattice import DoubleArray, LatentCodec
from laconic.coding.stack.symbols import Uniform
from laconic.errors import CodingError

MOST: Final = 500
"""Pictures in a batch, at most."""
MARGIN: Final = 1.1
"""Bits on a stack, by those that a batch like the last would draw."""
_SIZE_BITS: Final = 10
_COUNT_BITS: Final = 24
_DRAW_BITS: Final = 2
"""Bits that a draw of scale 1 takes beyond those after the point."""
_SEED: Final = 0


class Written(NamedTuple):
    """A chain, and what it should have taken.

    Attributes:
        data: heads and words of the stack.
        ideal_bits: -log2 p(x | z) - log2 p(z) + log2 q(z | x), summed, at the latents drawn.
    """

    data: bytes
    ideal_bits: float


def write_chain(model: LatticeModel, pixels: IntArray) -> Written:
    """Put pictures on a stack.

    Args:
        model: whose codecs are used.
        pixels: `(pictures, pixels)`, 0 or 1.

    Raises:
        CodingError: a latent lies beyond the lattice.
    """
    writer = _Writer(model)
    end = len(pixels)
    while end:
        end -= writer.add(pixels[:end])
    Uniform.of_bits(_COUNT_BITS, 1).push(writer.stack, [len(pixels)])
    return Written(writer.stack.to_bytes(), writer.ideal_bits)


def read_chain(model: LatticeModel, data: bytes) -> IntArray:
    """Read pictures, `(pictures, pixels)`.

    Raises:
        CorruptFileError: the data end too early.
        CodingError: they do not end where the pictures do.
    """
    stack = Stack.from_bytes(data)
    count = int(Uniform.of_bits(_COUNT_BITS, 1).pop(stack)[0])
    batches: list[IntArray] = [np.zeros((0, model.side**2), np.int64)]
    while sum(map(len, batches)) < count:
        alone = bool(Uniform(2, 1).pop(stack)[0])
        size = int(Uniform.of_bits(_SIZE_BITS, 1).pop(stack)[0])
        batches.append(_Batch(model, size, alone).codec.pop(stack))
    if not stack.empty:
        raise CodingError("bits are left over after the last picture: the two sides disagree")
    return np.concatenate(batches)


@final
class _Batch:
    """The codec of `size` pictures; it remembers what was drawn for them."""

    def __init__(self, model: LatticeModel, size: int, alone: bool) -> None:
        self._model, self._alone = model, alone
        self._prior = model.prior(size)
        self.codec = BitsBack(self._prior, self._open_posterior, self._open_likelihood)

    def _open_posterior(self, pixels: IntArray) -> LatentCodec:
        self._posterior = self._model.posterior(pixels)
        if self._alone:
            return _Unreturned(self._posterior, self._model.dims)
        bits = pixels.shape[0] * self._model.dims * (self._model.lattice.bits + _DRAW_BITS)
        return _Scrambled(self._posterior, bits)

    def _open_likelihood(self, points: IntArray) -> PixelCodec:
        self._points, self._likelihood = points, self._model.likelihood(points)
        return self._likelihood

    def ideal_bits(self, pixels: IntArray) -> float:
        """Of the last pictures pushed."""
        nats = self._likelihood.nats(pixels) + self._prior.nats(self._points)
        return float((nats - self._posterior.nats(self._points)).sum()) / float(np.log(2))


@final
class _Unreturned:
    """A posterior whose draws take bits from elsewhere and give none back.

    Args:
        posterior: of one picture.
        dims: its latents.
    """

    def __init__(self, posterior: LatentCodec, dims: int) -> None:
        self._posterior, self._dims = posterior, dims

    def push(self, stack: Stack, points: IntArray) -> None:
        """Nothing: the sender had them from elsewhere."""

    def pop(self, stack: Stack) -> IntArray:
        """Draw, and leave the stack as it is."""
        elsewhere = Stack()
        count = 2 * self._dims
        starts = SharedRandomness(_SEED).bits(0, count) & np.uint32(TOTAL - 1)
        elsewhere.push(starts, np.ones(count, np.uint32))
        return self._posterior.pop(elsewhere)

    def nats(self, points: IntArray) -> DoubleArray:
        """Negative log density."""
        return self._posterior.nats(points)


@final
class _Scrambled:
    """A posterior whose draws take bits that were added to shared random ones.

    Args:
        posterior: of a batch.
        bits: to scramble, about as many as a draw takes.
    """

    def __init__(self, posterior: LatentCodec, bits: int) -> None:
        self._posterior = posterior
        count = -(-bits // PRECISION)
        pad = SharedRandomness(_SEED).child(count).bits(0, count) & np.uint32(TOTAL - 1)
        self._pad: IntArray = pad.astype(np.int64)
        self._words = Uniform.of_bits(PRECISION, count)

    def push(self, stack: Stack, points: IntArray) -> None:
        """Give the draw's bits back, as they were."""
        self._posterior.push(stack, points)
        self._scramble(stack)

    def pop(self, stack: Stack) -> IntArray:
        """Scramble the stack's top, then draw."""
        self._scramble(stack)
        return self._posterior.pop(stack)

    def nats(self, points: IntArray) -> DoubleArray:
        """Negative log density."""
        return self._posterior.nats(points)

    def _scramble(self, stack: Stack) -> None:
        """Its own inverse; the stack keeps its length."""
        self._words.push(stack, self._words.pop(stack) ^ self._pad)


@final
class _Writer:
    """A chain as it grows."""

    def __init__(self, model: LatticeModel) -> None:
        self.model, self.stack = model, Stack()
        self.ideal_bits = 0.0
        self._drawn_bits = 0.0
        """That the last batch drew for a picture."""

    def add(self, pixels: IntArray) -> int:
        """Push the last of these pictures; returns how many."""
        size = min(self._affordable(), MOST, len(pixels))
        while size:
            try:
                self._push(pixels[-size:], alone=False)
                return size
            except StackEmpty:
                size //= 2
        self._push(pixels[-1:], alone=True)
        return 1

    def _affordable(self) -> int:
        """Pictures whose draws the stack pays for, if they are like the last."""
        if not self._drawn_bits:
            return 0
        return max(1, int(self.stack.available_bits / (MARGIN * self._drawn_bits)))

    def _push(self, pixels: IntArray, alone: bool) -> None:
        batch = _Batch(self.model, len(pixels), alone)
        before, bits = self.stack.snapshot(), self.stack.bits
        try:
            batch.codec.push(self.stack, pixels)
        except StackEmpty:
            self.stack.restore(before)
            raise
        Uniform.of_bits(_SIZE_BITS, 1).push(self.stack, [len(pixels)])
        Uniform(2, 1).push(self.stack, [int(alone)])
        pushed_bits, ideal_bits = self.stack.bits - bits, batch.ideal_bits(pixels)
        self.ideal_bits += ideal_bits
        if alone:  # What was pushed is the ideal length and the draw.
            self._drawn_bits = max(1.0, pushed_bits - ideal_bits)
