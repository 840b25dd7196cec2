"""A PixelCNN one place at a time, in reading order: fast sampling without repeated work.

Every map caches the features of earlier places, so that each place computes only its own part of
the network. Source: Ramachandran et al. 2017 (fast generation).
"""

import torch
from torch import Tensor
from torch.nn import functional

from laconic.networks.causal import CausalConvolution
from laconic.networks.pixel_cnn import GatedLayer, PixelCNN


class Seen:
    """The inputs that a causal convolution has read so far, with the zeros beyond the border.

    Args:
        convolution: the convolution.
        batch: number of images.
        side: side of the map.
    """

    def __init__(self, convolution: CausalConvolution, batch: int, side: int) -> None:
        self.convolution, self.reach = convolution, convolution.kernel // 2
        rows, columns = side + self.reach, side + 2 * self.reach
        weight = convolution.weight
        self.map = weight.new_zeros(batch, weight.shape[1], rows, columns)
        self.map = self.map.contiguous(memory_format=torch.channels_last)

    def put(self, place: tuple[int, int], values: Tensor) -> None:
        """Store the inputs of a place, `(batch, inputs, 1, 1)`."""
        row, column = place[0] + self.reach, place[1] + self.reach
        self.map[:, :, row, column] = values[:, :, 0, 0].to(self.map.dtype)

    def at(self, place: tuple[int, int]) -> Tensor:
        """The convolution's output at a place, `(batch, outputs, 1, 1)`."""
        row, column = place
        rows, columns = row + self.reach + 1, column + 2 * self.reach + 1
        window = self.map[:, :, row:rows, column:columns]
        return functional.conv2d(window, self.convolution.rectangle, self.convolution.bias)


class LayerWalk:
    """A gated layer, place by place.

    Args:
        layer: the layer.
        z: `(batch, latents)`.
        side: side of its map.
    """

    def __init__(self, layer: GatedLayer, z: Tensor, side: int) -> None:
        self.layer = layer
        self.inner = Seen(layer.inner, len(z), side)
        self.outer = Seen(layer.outer, len(z), side)
        self.shift = layer.steered(z)

    def at(self, place: tuple[int, int], x: Tensor, shortcut: Tensor | None) -> Tensor:
        """`(batch, width, 1, 1)` of a place -> the same shape."""
        self.inner.put(place, x)
        hidden = self.layer.gated(self.inner.at(place), self.shift, shortcut)
        self.outer.put(place, hidden)
        result: Tensor = x + self.layer.gate(self.outer.at(place))
        return result


class PixelCNNWalk:
    """Logits of one patch after the other.

    Args:
        network: the network.
        z: `(batch, latents)`.
    """

    def __init__(self, network: PixelCNN, z: Tensor) -> None:
        self.network, config, batch = network, network.config, len(z)
        sides = [config.grid >> level for level in range(len(config.layers))]
        self.start = network.start(z)
        self.patches = Seen(network.enter, batch, config.grid)
        self.down, self.up = (
            [
                [LayerWalk(layer, z, side) for layer in block]  # type: ignore[attr-defined]
                for block, side in zip(blocks, sides, strict=True)
            ]
            for blocks in (network.down, network.up)
        )
        self.halving = [
            Seen(convolution, batch, side)  # type: ignore[arg-type]
            for convolution, side in zip(network.halving, sides[:-1], strict=True)
        ]
        self.doubled = [z.new_zeros(batch, config.width, side, side) for side in sides[:-1]]

    def logits(self, place: tuple[int, int]) -> Tensor:
        """Logits `(batch, outputs)` of the patch at (row, column); `put` all earlier ones first."""
        row, column = place
        hidden = self.patches.at(place) + self.start[:, :, row, column, None, None]
        output: Tensor = self.network.head(self._visit(0, place, hidden))
        return output[:, :, 0, 0]

    def put(self, place: tuple[int, int], patch: Tensor) -> None:
        """Store the patch drawn at (row, column), `(batch, 1, patch, patch)`, 0 or 1."""
        self.patches.put(place, functional.pixel_unshuffle(2 * patch - 1, patch.shape[-1]))

    def _visit(self, level: int, place: tuple[int, int], x: Tensor) -> Tensor:
        """Compute one place of a resolution: down to the coarser maps, and up again."""
        kept: list[Tensor] = []
        for layer in self.down[level]:
            x = layer.at(place, x, None)
            kept.append(x)
        if level < len(self.halving):
            x = self._through_coarser(level, place, x)
        for layer in self.up[level]:
            x = layer.at(place, x, kept.pop())
        return x

    def _through_coarser(self, level: int, place: tuple[int, int], x: Tensor) -> Tensor:
        """The coarser map's features at a place; computed at the first place of each cell."""
        row, column = place
        self.halving[level].put(place, x)
        if row % 2 == 0 and column % 2 == 0:
            below = self._visit(level + 1, (row // 2, column // 2), self.halving[level].at(place))
            cell = self.network.doubling[level](below)
            self.doubled[level][:, :, row : row + 2, column : column + 2] = cell
        return self.doubled[level][:, :, row : row + 1, column : column + 1]
