"""The one loop over the levels of a ladder of latents.

```
 walk(model.begin(context), step)        what differs is the step:

 training     draws from the posterior, with gradients
 measuring    draws from the posterior or the prior, or takes a latent that is given
 sender       encodes a draw of the posterior
 receiver     decodes it, without the posterior
```
"""

from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

K = TypeVar("K")
Z = TypeVar("Z")
KnownOut = TypeVar("KnownOut", covariant=True)
LatentIn = TypeVar("LatentIn", contravariant=True)


@runtime_checkable
class Walk(Protocol[KnownOut, LatentIn]):
    """The state of one walk: what follows from the latents so far."""

    @property
    def levels(self) -> int:
        """Number of latents."""
        ...

    def prior(self, level: int) -> KnownOut:
        """What both sides know before the latent of `level`; called once per level, top first."""
        ...

    def take_in(self, level: int, latent: LatentIn) -> None:
        """Continue from the latent of `level`."""
        ...


def walk(state: Walk[K, Z], step: Callable[[int, K], Z]) -> list[Z]:
    """Go up a ladder once.

    Args:
        state: at the first level; it ends after the last.
        step: level and what both sides know of it -> the level's latent.

    Returns:
        The latents, top first.
    """
    latents: list[Z] = []
    for level in range(state.levels):
        latents.append(step(level, state.prior(level)))
        state.take_in(level, latents[-1])
    return latents
