"""Bits-back: latents that cost no more than their KL, because their random bits are returned.

To send x with a latent z, the sender must choose some z ~ q(z | x). It takes the bits for that
choice from the stack, where earlier messages lie. The receiver, who ends up with x and z, has q
too and puts the same bits back. The net length of one x is

    -log p(x | z) - log p(z) + log q(z | x)        on average the negative ELBO.

The first message finds nothing on the stack: its INITIAL BITS are a cost of the file. They are
never invented here. A stack with too few bits raises `StackEmpty`, and the writer of the file
starts it with messages that need none.

The combinators do not see models. They take codecs of latents and of data, or functions that make
one from what is known by then. They never look into the stack, so they work alike for one stack
and for several at once (`codecs.lossless.chains`).

Source: Ullrich 1.4, eq. 1.26-1.27 ("bits-back with feedback"); Frey, Hinton 1997; Townsend, Bird,
Barber 2019 (BB-ANS); Kingma, Abbeel, Ho, "Bit-Swap", 2019.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar, final

from laconic.coding.stack.ans import StackEmpty
from laconic.errors import CodingError, CorruptFileError

K = TypeVar("K", bound="Restorable")
"""One stack, or several at once."""
KIn = TypeVar("KIn", contravariant=True)
X = TypeVar("X")
Z = TypeVar("Z")
S = TypeVar("S")


class Restorable(Protocol):
    """What has a content in bits and can go back to an earlier state."""

    @property
    def bits(self) -> float:
        """Content in bits."""
        ...

    def snapshot(self) -> Any:
        """Remember this state."""
        ...

    def restore(self, snapshot: Any, /) -> None:
        """Go back to a state."""
        ...


class CodecOn(Protocol[KIn, S]):
    """A codec (`stack.symbols.Codec`) on any kind of stack."""

    def push(self, stack: KIn, symbols: S, /) -> None:
        """Put symbols on the stack."""
        ...

    def pop(self, stack: KIn, /) -> S:
        """Take them off: the exact inverse of `push`."""
        ...


@contextmanager
def drawing(stack: Restorable) -> Iterator[None]:
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
class BitsBack(Generic[K, X, Z]):
    """BB-ANS: all latents are drawn first, then x is pushed, then the latents.

    The latents of a ladder are one z here: any inference can be used, and the initial bits are
    those of all levels.

    Args:
        prior: p(z).
        posterior: x -> q(z | x).
        likelihood: z -> p(x | z).
    """

    def __init__(
        self,
        prior: CodecOn[K, Z],
        posterior: Callable[[X], CodecOn[K, Z]],
        likelihood: Callable[[Z], CodecOn[K, X]],
    ) -> None:
        self._prior, self._posterior, self._likelihood = prior, posterior, likelihood

    def push(self, stack: K, symbols: X) -> None:
        """Put x on the stack.

        Raises:
            StackEmpty: the stack holds too few bits for z; it is left as it was.
        """
        with drawing(stack):
            latent = self._posterior(symbols).pop(stack)
        self._likelihood(latent).push(stack, symbols)
        self._prior.push(stack, latent)

    def pop(self, stack: K) -> X:
        """Take x off, and return the bits of the draw."""
        latent = self._prior.pop(stack)
        symbols = self._likelihood(latent).pop(stack)
        self._posterior(symbols).push(stack, latent)
        return symbols


@final
class BitSwap(Generic[K]):
    """A ladder z_L -> ... -> z_1 -> x with inference from below: q(z_1 | x), q(z_2 | z_1), ...

    Each level's likelihood is pushed before the next level is drawn, so that the draw can use its
    bits: the initial bits are those of the first draw, and what later draws need beyond that.

    Args:
        prior: p(z_L).
        posteriors: z_(i-1) -> q(z_i | z_(i-1)), bottom first; z_0 is x.
        likelihoods: z_i -> p(z_(i-1) | z_i), bottom first.
    """

    def __init__(
        self,
        prior: CodecOn[K, Any],
        posteriors: Sequence[Callable[[Any], CodecOn[K, Any]]],
        likelihoods: Sequence[Callable[[Any], CodecOn[K, Any]]],
    ) -> None:
        if len(posteriors) != len(likelihoods):
            raise CodingError(
                f"{len(posteriors)} posteriors for {len(likelihoods)} likelihoods of a ladder"
            )
        self._prior = prior
        self._levels = list(zip(posteriors, likelihoods, strict=True))

    def push(self, stack: K, symbols: Any) -> None:
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

    def pop(self, stack: K) -> Any:
        """Take x off, and return the bits of the draws."""
        latent = self._prior.pop(stack)
        for posterior, likelihood in reversed(self._levels):
            below = likelihood(latent).pop(stack)
            posterior(below).push(stack, latent)
            latent = below
        return latent
