"""Channels that are present or absent together, and which of them somebody reads.

A *space* holds the tensors whose channels are chosen together: a layer's outputs, what acts on them
number by number, and all terms of a sum. A space whose channels come from other spaces, as those of
a flattened, joined or cut tensor do, has *views* of them.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

View = list[tuple["Value", Tensor]]
"""Parts, one behind the other: for every channel of a part the channel there that it is."""


class Space:
    """Tensors whose channels are chosen together.

    Args:
        size: number of channels.
        device: of the masks.

    Attributes:
        need: which channels must be computed; bool, shape `(size,)`.
        views: what the channels consist of, if of other channels. Several where such tensors are
            terms of one sum: then all views have the same channels.
        is_piece: whether it is cut from another, so that it could end up without channels.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self.need = torch.zeros(size, dtype=torch.bool, device=device)
        self.views: list[View] = []
        self.is_piece = False

    @property
    def present(self) -> Tensor:
        """Which channels the smaller network has; at least one, so that it still runs."""
        if self.views:
            parts = self.views[0]
            return torch.cat([part.space.present[channels] for part, channels in parts])
        if bool(self.need.any()):
            return self.need
        first = self.need.clone()
        first[0] = True
        return first

    def keep(self) -> None:
        """Somebody reads every channel."""
        self.need[:] = True

    def sources(self) -> set["Space"]:
        """The spaces that its channels come from, directly or not."""
        found: set[Space] = set()
        waiting = [self]
        while waiting:
            for view in waiting.pop().views:
                for part, _ in view:
                    if part.space not in found:
                        found.add(part.space)
                        waiting.append(part.space)
        return found

    def keep_views(self) -> None:
        """Keep every channel here and where they come from, and choose none of them any more."""
        if self.views:
            self.keep()
        for view in self.views:
            for part, _ in view:
                part.space.keep()
        self.views = []

    def ask_views(self) -> None:
        """Pass the need on to where channels come from, and take over what is needed there."""
        for view in self.views:
            pieces = torch.split(self.need, [len(channels) for _, channels in view])
            for (part, channels), need in zip(view, pieces, strict=True):
                part.space.need[channels[need]] = True
            self.need |= torch.cat([part.space.need[channels] for part, channels in view])

    def fill_views(self) -> None:
        """Ask for one channel of every part of which nobody needs any."""
        for view in self.views:
            for part, channels in view:
                if not bool(part.space.need[channels].any()):
                    part.space.need[channels[0]] = True


@dataclass(eq=False)
class Value:
    """What is known of one tensor of the forward pass.

    Attributes:
        shape: on the example.
        axis: where its channels are.
        space: the channels, with all that is tied to them.
        constant: what each channel holds at every position of every input, NaN where it varies.
    """

    shape: tuple[int, ...]
    axis: int
    space: Space
    constant: Tensor


def tie(values: list[Value], everything: Collection[Value]) -> Space:
    """One space for all of these.

    Args:
        values: with as many channels each.
        everything: all values of the network, some of which share these spaces.
    """
    first = values[0].space
    for other in {value.space for value in values} - {first}:
        first.need |= other.need
        first.views += other.views
        first.is_piece |= other.is_piece
        for value in everything:
            if value.space is other:
                value.space = first
    if first in first.sources():  # its channels would come from themselves
        first.keep_views()
    return first


def settle(values: Collection[Value], ask: Callable[[], None]) -> None:
    """Spread the need until nothing changes; it only ever grows.

    Args:
        values: of the whole network.
        ask: one step of the need from what layers compute to what they read.
    """
    spaces = list({value.space: None for value in reversed(list(values))})
    _spread(spaces, ask)
    # Several views must agree on what is there, also where nobody needs anything.
    alike = any(len(space.views) > 1 for space in spaces)
    for space in spaces:
        if alike or space.is_piece:
            space.fill_views()
    _spread(spaces, ask)


def _spread(spaces: list[Space], ask: Callable[[], None]) -> None:
    before = -1
    while (now := sum(int(space.need.sum()) for space in spaces)) != before:
        before = now
        for space in spaces:
            space.ask_views()
        ask()
