"""Bits-back: latents that cost no more than their KL, because their randomness is given back.

To send x with a latent z, the sender must choose some z ~ q(z | x). It takes the bits for that
choice from the stack, where earlier messages lie; the receiver, who ends up with x and z, knows q
too and puts the same bits back. The net length of one x is

    -log p(x | z) - log p(z) + log q(z | x)        on average the negative ELBO.

The first message has nothing to take from: its INITIAL BITS are a cost of the file. Here they are
never invented. A stack that holds too little raises `StackEmpty`, and whoever writes the file
starts it with messages that need none.

Models stay outside: a codec of latents or pixels is given, or a function that makes one from what
is known by then.

Source: Ullrich 1.4, eq. 1.26-1.27 ("bits-back with feedback"); Frey, Hinton 1997; Townsend, Bird,
Barber 2019 (BB-ANS); Kingma, Abbeel, Ho, "Bit-Swap", 2019.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar, final

from laconic.coding.stack.ans import IntArray, Stack, StackEmpty
from laconic.coding.stack.symbols import Codec
from laconic.errors import CodingError, CorruptFileError

S = TypeVar("S")

CodecOf = Callable[[IntArray], Codec[IntArray]]
"""A conditional distribution: what is known -> codec."""

LevelCodec = Callable[[int, list[IntArray]], Codec[IntArray]]
"""Level and the latents above it, top first -> codec of the level's latent."""


@contextmanager
def drawing(stack: Stack) -> Iterator[None]:
    """A sender's draws: all succeed, or the stack is as it was and `StackEmpty` is raised."""
    before = stack.snapshot()
    try:
        yield
    except CorruptFileError as error:
        stack.restore(before)
        raise StackEmpty(
            f"the stack's {stack.bits:.0f} bits are too few to draw the latents: "
            "begin with messages that need no initial bits"
        ) from error


@final
class BitsBack:
    """One level of latents: BB-ANS.

    Args:
        prior: p(z).
        posterior: x -> q(z | x).
        likelihood: z -> p(x | z).
    """

    def __init__(self, prior: Codec[IntArray], posterior: CodecOf, likelihood: CodecOf) -> None:
        self._prior, self._posterior, self._likelihood = prior, posterior, likelihood

    def push(self, stack: Stack, symbols: IntArray) -> None:
        """Put x on the stack.

        Raises:
            StackEmpty: the stack holds too few bits for z; it is left as it was.
        """
        with drawing(stack):
            latent = self._posterior(symbols).pop(stack)
        self._likelihood(latent).push(stack, symbols)
        self._prior.push(stack, latent)

    def pop(self, stack: Stack) -> IntArray:
        """Take x off, and give the bits back."""
        latent = self._prior.pop(stack)
        symbols = self._likelihood(latent).pop(stack)
        self._posterior(symbols).push(stack, latent)
        return symbols


@final
class BitSwap:
    """A ladder z_L -> ... -> z_1 -> x whose posteriors climb it: q(z_1 | x), q(z_2 | z_1), ...

    Each level's likelihood is pushed before the next level is drawn, so that the draw can use its
    bits: the initial bits are those of the first draw, and what later draws need beyond that.

    Args:
        prior: p(z_L).
        posteriors: z_(i-1) -> q(z_i | z_(i-1)), bottom first; z_0 is x.
        likelihoods: z_i -> p(z_(i-1) | z_i), bottom first.
    """

    def __init__(
        self,
        prior: Codec[IntArray],
        posteriors: Sequence[CodecOf],
        likelihoods: Sequence[CodecOf],
    ) -> None:
        if len(posteriors) != len(likelihoods):
            raise CodingError(
                f"{len(posteriors)} posteriors for {len(likelihoods)} likelihoods of a ladder"
            )
        self._prior = prior
        self._levels = list(zip(posteriors, likelihoods, strict=True))

    def push(self, stack: Stack, symbols: IntArray) -> None:
        """Put x on the stack.

        Raises:
            StackEmpty: the stack holds too few bits for a level; it is left as it was.
        """
        with drawing(stack):
            below = symbols
            for posterior, likelihood in self._levels:
                latent = posterior(below).pop(stack)
                likelihood(latent).push(stack, below)
                below = latent
        self._prior.push(stack, below)

    def pop(self, stack: Stack) -> IntArray:
        """Take x off, and give the bits back."""
        latent = self._prior.pop(stack)
        for posterior, likelihood in reversed(self._levels):
            below = likelihood(latent).pop(stack)
            posterior(below).push(stack, latent)
            latent = below
        return latent


@final
class Ladder:
    """Latents z_1 (top), ..., z_L that are all drawn first, then x: for any inference.

    Top-down inference q(z_l | z_<l, x) needs this order, since its first draw depends on all of x
    and its last one, the largest, on all draws before. The initial bits are those of all levels.

    Args:
        levels: number of latents.
        prior: level, latents above -> p(z_l | z_<l).
        posterior: x -> (level, latents above -> q(z_l | z_<l, x)); what depends on x alone is
            computed once.
        likelihood: all latents, top first -> p(x | z).
    """

    def __init__(
        self,
        levels: int,
        prior: LevelCodec,
        posterior: Callable[[IntArray], LevelCodec],
        likelihood: Callable[[list[IntArray]], Codec[IntArray]],
    ) -> None:
        self._levels = levels
        self._prior, self._posterior, self._likelihood = prior, posterior, likelihood

    def push(self, stack: Stack, symbols: IntArray) -> None:
        """Put x on the stack.

        Raises:
            StackEmpty: the stack holds too few bits for the latents; it is left as it was.
        """
        posterior = self._posterior(symbols)
        latents: list[IntArray] = []
        with drawing(stack):
            for level in range(self._levels):
                latents.append(posterior(level, latents[:level]).pop(stack))
        self._likelihood(latents).push(stack, symbols)
        for level in reversed(range(self._levels)):
            self._prior(level, latents[:level]).push(stack, latents[level])

    def pop(self, stack: Stack) -> IntArray:
        """Take x off, and give the bits back."""
        latents: list[IntArray] = []
        for level in range(self._levels):
            latents.append(self._prior(level, latents[:level]).pop(stack))
        symbols = self._likelihood(latents).pop(stack)
        posterior = self._posterior(symbols)
        for level in reversed(range(self._levels)):
            posterior(level, latents[:level]).push(stack, latents[level])
        return symbols


def push_chain(stack: Stack, codecs: Sequence[Codec[S]], items: Sequence[S]) -> None:
    """Bits-back with feedback: put items on one stack, the last first.

    The first item ends on top, so that items pop in order, and a file cut short has its first ones.
    The chain's beginning on an empty stack are the last codecs: let them be ones without latents.

    Args:
        stack: where the items go.
        codecs: one for each item.
        items: what the codecs take.

    Raises:
        StackEmpty: an item needs more bits than those before it left; the stack is as it was.
    """
    before = stack.snapshot()
    try:
        for codec, item in zip(reversed(codecs), reversed(items), strict=True):
            codec.push(stack, item)
    except CodingError:
        stack.restore(before)
        raise


def pop_chain(stack: Stack, codecs: Sequence[Codec[S]]) -> Iterator[S]:
    """Yield the items of `push_chain` in order.

    Raises:
        CorruptFileError: the message ends; every item before that has been yielded.
    """
    for codec in codecs:
        yield codec.pop(stack)
