"""Channels that are kept or removed together, and which of them are needed.

A *space* is a set of tensors whose channels are kept or removed together: a layer's output, results
of elementwise operations on it, and all terms of a sum. The channels of a flattened, joined or cut
tensor come from other spaces: its space has *views* of these.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

View = list[tuple["Value", Tensor]]
"""Parts in order: a value, and the indices of its channels that the part consists of."""


class Space:
    """Tensors whose channels are kept or removed together.

    Args:
        size: number of channels.
        device: of the masks.

    Attributes:
        need: which channels must be computed; bool, shape `(size,)`.
        views: where the channels come from, if from other spaces. There are several views if such
            tensors are terms of one sum; then all views have the same channels.
        is_piece: whether it is cut from another space, so that it could be left without channels.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self.need = torch.zeros(size, dtype=torch.bool, device=device)
        self.views: list[View] = []
        self.is_piece = False

    @property
    def present(self) -> Tensor:
        """Which channels the smaller network has; at least one, since empty tensors may fail."""
        if self.views:
            parts = self.views[0]
            return torch.cat([part.space.present[channels] for part, channels in parts])
        if bool(self.need.any()):
            return self.need
        first = self.need.clone()
        first[0] = True
        return first

    def keep(self) -> None:
        """Need every channel."""
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
        """Need every channel here and in the spaces that they come from, and drop the views."""
        if self.views:
            self.keep()
        for view in self.views:
            for part, _ in view:
                part.space.keep()
        self.views = []

    def ask_views(self) -> None:
        """Exchange needs with the spaces that channels come from, in both directions."""
        for view in self.views:
            pieces = torch.split(self.need, [len(channels) for _, channels in view])
            for (part, channels), need in zip(view, pieces, strict=True):
                part.space.need[channels[need]] = True
            self.need |= torch.cat([part.space.need[channels] for part, channels in view])

    def fill_views(self) -> None:
        """Need one channel of every part of which no channel is needed."""
        for view in self.views:
            for part, channels in view:
                if not bool(part.space.need[channels].any()):
                    part.space.need[channels[0]] = True


@dataclass(eq=False)
class Value:
    """One tensor of the forward pass.

    Attributes:
        shape: for the example.
        axis: of its channels.
        space: the space of its channels.
        constant: each channel's value if it is the same for all positions and inputs, else NaN.
    """

    shape: tuple[int, ...]
    axis: int
    space: Space
    constant: Tensor


def tie(values: list[Value], everything: Collection[Value]) -> Space:
    """Merge the spaces of some values into one.

    Args:
        values: with equally many channels.
        everything: all values of the network; those in a merged space get the new one.
    """
    first = values[0].space
    for other in {value.space for value in values} - {first}:
        first.need |= other.need
        first.views += other.views
        first.is_piece |= other.is_piece
        for value in everything:
            if value.space is other:
                value.space = first
    if first in first.sources():  # Its channels would come from itself.
        first.keep_views()
    return first


def settle(values: Collection[Value], ask: Callable[[], None]) -> None:
    """Propagate needs until nothing changes; needs only grow.

    Args:
        values: of the whole network.
        ask: propagates needs from the outputs of layers to their inputs, once.
    """
    spaces = list({value.space: None for value in reversed(list(values))})
    _spread(spaces, ask)
    # Several views must have the same channels, even if none is needed.
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
