"""Optional parts of a sliced ladder; each starts as a correction of zero.

A ladder that is built with growth and given the weights of one without computes what that one
computes, so that its training is not lost. `SlicedConfig` selects the parts.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from laconic.models.sliced.config import SlicedConfig
from laconic.networks.arithmetic import LEAK, Network
from laconic.networks.gated_residual import GatedStack
from laconic.networks.residual import Head


def checkerboard(x: Tensor) -> tuple[Tensor, Tensor]:
    """Split a map into its even places (row + column even) and its odd ones.

    Args:
        x: `(batch, channels, h, w)`, w even.

    Returns:
        Two maps `(batch, channels, h, w / 2)`.

    >>> even, odd = checkerboard(torch.arange(8.0).reshape(1, 1, 2, 4))
    >>> even[0, 0].tolist(), odd[0, 0].tolist()
    ([[0.0, 2.0], [5.0, 7.0]], [[1.0, 3.0], [4.0, 6.0]])
    """
    left, right = x[..., 0::2], x[..., 1::2]
    swapped = _odd_rows(x)
    return torch.where(swapped, right, left), torch.where(swapped, left, right)


def interleave(even: Tensor, odd: Tensor) -> Tensor:
    """Undo `checkerboard`."""
    swapped = _odd_rows(even)
    pair = torch.where(swapped, odd, even), torch.where(swapped, even, odd)
    return torch.stack(pair, dim=-1).flatten(-2)


def _odd_rows(x: Tensor) -> Tensor:
    return (torch.arange(x.shape[-2], device=x.device) % 2 == 1)[:, None]


def gather(parts: Sequence[Tensor], passes: Sequence[int]) -> tuple[list[Tensor], Tensor | None]:
    """Put the latents below the top together again.

    Args:
        parts: latents in the order of the levels; a slice with two passes takes two of them.
        passes: of each slice, 1 or 2.

    Returns:
        The complete slices, `(batch, channels, h, w)` each, and a first pass whose second is
        still to come, zeros in its place; None where there is none.
    """
    slices, rest = [], list(parts)
    for count in passes:
        if len(rest) < count:
            break
        taken, rest = rest[:count], rest[count:]
        slices.append(taken[0] if count == 1 else interleave(*taken))
    return slices, interleave(rest[0], torch.zeros_like(rest[0])) if rest else None


class EncoderBranch(nn.Module):
    """A second bottom-up network, at 1/4, 1/8 and 1/16 of the size; it sees the first one's maps.

    Fractions of the size are those of a ladder with blocks of 16 pixels.
    """

    def __init__(self, config: SlicedConfig) -> None:
        super().__init__()
        (finest, fine, coarse), counts = config.encoder_widths, config.encoder_blocks
        embedding, kernel = config.embedding, config.kernel
        self.stride = config.block // 4
        self.finest = GatedStack(3 * self.stride**2, finest, counts[0], embedding, 3, enter=3)
        self.fine = GatedStack(4 * finest + config.fine_width, fine, counts[1], embedding, kernel)
        self.coarse = GatedStack(
            4 * fine + config.coarse_width, coarse, counts[2], embedding, kernel
        )
        self.head = Head(coarse, 2 * config.latents)

    def forward(
        self, x: Tensor, first: tuple[Tensor, Tensor], embedding: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Corrections to the location (image units) and to the log-scale.

        Args:
            x: `(batch, 3, height, width)` around zero.
            first: the first encoder's maps at 1/8 and 1/16 of the size.
            embedding: of the operating point, `(batch, embedding)`.
        """
        finest = self.finest(functional.pixel_unshuffle(x, self.stride), embedding)
        seen = torch.cat([functional.pixel_unshuffle(finest, 2), first[0]], dim=1)
        fine = self.fine(functional.leaky_relu(seen, LEAK), embedding)
        seen = torch.cat([functional.pixel_unshuffle(fine, 2), first[1]], dim=1)
        coarse = self.coarse(functional.leaky_relu(seen, LEAK), embedding)
        loc, log_scale = self.head(functional.leaky_relu(coarse, LEAK)).chunk(2, dim=1)
        return loc, log_scale


class DecoderBranch(nn.Module):
    """A second top-down network, at 1/16, 1/8 and 1/4 of the size, beside the first one."""

    def __init__(self, config: SlicedConfig) -> None:
        super().__init__()
        (coarse, fine, finest), counts = config.decoder_widths, config.decoder_blocks
        embedding, kernel = config.embedding, config.kernel
        self.stride = config.block // 4
        seen = 2 * config.latents + config.coarse_width
        self.coarse = GatedStack(seen, coarse, counts[0], embedding, kernel)
        self.up = nn.Conv2d(coarse, 4 * config.fine_width, 1)
        blocks = 3 * (config.block // 2) ** 2
        self.fine = GatedStack(2 * config.fine_width + blocks, fine, counts[1], embedding, kernel)
        self.finest = GatedStack(fine // 4, finest, counts[2], embedding, 3)
        self.out = nn.Conv2d(finest, 3 * self.stride**2, 3, padding=1)
        for parameter in (*self.up.parameters(), *self.out.parameters()):
            nn.init.zeros_(parameter)

    def lift(self, seen: Tensor, coarse: Tensor, embedding: Tensor) -> Tensor:
        """What is added to the first network's map at 1/16 before it is unfolded to 1/8.

        Args:
            seen: what the first network sees of the latents, `(batch, 2 latents, h, w)`.
            coarse: the first network's map, `(batch, coarse_width, h, w)`.
            embedding: of the operating point.
        """
        hidden = self.coarse(torch.cat([seen, coarse], dim=1), embedding)
        result: Tensor = self.up(functional.leaky_relu(hidden, LEAK))
        return result

    def forward(self, entered: Tensor, fine: Tensor, embedding: Tensor) -> Tensor:
        """The correction of the picture.

        Args:
            entered: what entered the first network's stack at 1/8.
            fine: what left it.
            embedding: of the operating point.

        Returns:
            `(batch, 3, height, width)`.
        """
        hidden = self.fine(torch.cat([entered, fine], dim=1), embedding)
        hidden = functional.pixel_shuffle(functional.leaky_relu(hidden, LEAK), 2)
        hidden = self.finest(hidden, embedding)
        correction = self.out(functional.leaky_relu(hidden, LEAK))
        return functional.pixel_shuffle(correction, self.stride)


class Refiner(Network):
    """Corrections to a slice's prior; in a second pass it sees the first."""

    def __init__(self, config: SlicedConfig, size: int, second: bool) -> None:
        super().__init__()
        inputs = config.prior_width + (size if second else 0)
        width, blocks = config.refiner_width, config.refiner_blocks
        self.stack = GatedStack(inputs, width, blocks, config.embedding, config.kernel)
        self.head = Head(width, 2 * size)

    def forward(self, seen: Tensor, embedding: Tensor) -> Tensor:
        """`seen`: the prior's own map, then the first pass; -> `(batch, 2 size, h, w)`."""
        hidden = self.stack(seen, embedding)
        return self.arithmetic.apply(self.head, hidden, True, False)
