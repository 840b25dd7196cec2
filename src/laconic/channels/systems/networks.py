"""Networks of the systems for small pictures: residual encoders and decoders, and codes' networks.

```
 picture ─ conv /2 ─ conv /2 ─ residual blocks ─ linear ─► moments of a code
 code ─ linear ─ residual blocks ─ up x2 ─ up x2 ─► picture
```

Source: Ullrich 6.6 (residual networks as encoders and decoders).
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from laconic.errors import ConfigError
from laconic.networks.arithmetic import LEAK
from laconic.networks.residual import Block

SHRINKAGE = 4
"""Pixels along a side per position of the innermost maps."""


@dataclass(frozen=True)
class PictureSizes:
    """Sizes of the networks.

    Attributes:
        channels: of the pictures: 1 or 3.
        height: rows, a multiple of 4.
        width: columns, a multiple of 4.
        numbers: of a codeword.
        depth: channels of the innermost maps.
        blocks: residual blocks of the encoder, and of the decoder.
        hidden: width of the networks between codes.
    """

    channels: int = 3
    height: int = 32
    width: int = 32
    numbers: int = 100
    depth: int = 32
    blocks: int = 2
    hidden: int = 128

    def __post_init__(self) -> None:
        """Raise `ConfigError` for sizes that cannot be."""
        if self.height % SHRINKAGE or self.width % SHRINKAGE:
            raise ConfigError(
                f"system: pictures of {self.height} x {self.width} pixels; both sides must be "
                f"multiples of {SHRINKAGE}"
            )
        if min(self.channels, self.height, self.width, self.numbers, self.hidden) < 1:
            raise ConfigError("system: every size must be 1 or more")
        if self.depth < 2 or self.depth % 2 or self.blocks < 0:
            raise ConfigError("system.depth must be an even number above 0, blocks 0 or more")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the innermost maps."""
        return self.height // SHRINKAGE, self.width // SHRINKAGE


@final
class PictureEncoder(nn.Module):
    """Pictures `(batch, channels, height, width)` in [0, 1] -> `(batch, outputs)`."""

    def __init__(self, sizes: PictureSizes, outputs: int) -> None:
        super().__init__()
        half, rows, columns = sizes.depth // 2, *sizes.grid
        self.maps = nn.Sequential(
            nn.Conv2d(sizes.channels, half, 4, stride=2, padding=1),
            nn.LeakyReLU(LEAK),
            nn.Conv2d(half, sizes.depth, 4, stride=2, padding=1),
            *residual_blocks(sizes),
            nn.LeakyReLU(LEAK),
        )
        self.last = nn.Linear(sizes.depth * rows * columns, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs of pictures."""
        outputs: Tensor = self.last(self.maps(x - 0.5).flatten(1))
        return outputs


@final
class MapsToPicture(nn.Module):
    """Innermost maps -> pictures, not limited to [0, 1]."""

    def __init__(self, sizes: PictureSizes) -> None:
        super().__init__()
        half = sizes.depth // 2
        self.layers = nn.Sequential(
            nn.LeakyReLU(LEAK),
            nn.ConvTranspose2d(sizes.depth, half, 4, stride=2, padding=1),
            nn.LeakyReLU(LEAK),
            nn.ConvTranspose2d(half, sizes.channels, 4, stride=2, padding=1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """`(batch, depth, rows, columns)` -> `(batch, channels, height, width)`."""
        picture: Tensor = self.layers(maps).float() + 0.5
        return picture


@final
class PictureDecoder(nn.Module):
    """Codewords `(batch, numbers)` -> pictures."""

    def __init__(self, sizes: PictureSizes) -> None:
        super().__init__()
        self.sizes = sizes
        rows, columns = sizes.grid
        self.first = nn.Linear(sizes.numbers, sizes.depth * rows * columns)
        self.blocks = nn.Sequential(*residual_blocks(sizes))
        self.last = MapsToPicture(sizes)

    def forward(self, z: Tensor) -> Tensor:
        """Pictures, not limited to [0, 1]."""
        maps = self.first(z).reshape(-1, self.sizes.depth, *self.sizes.grid)
        picture: Tensor = self.last(self.blocks(maps))
        return picture


@final
class CodeNetwork(nn.Module):
    """Codewords -> codewords: the identity plus two layers, which start at zero."""

    def __init__(self, numbers: int, hidden: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(numbers, hidden), nn.Linear(hidden, numbers)
        self.straight = nn.Linear(numbers, numbers)
        self.leaky = nn.LeakyReLU(LEAK)
        for parameter in (*self.outer.parameters(), self.straight.bias):
            nn.init.zeros_(parameter)
        nn.init.eye_(self.straight.weight)

    def forward(self, code: Tensor) -> Tensor:
        """`(batch, numbers)` -> the same shape."""
        changed: Tensor = self.straight(code) + self.outer(self.leaky(self.inner(code)))
        return changed.float()


def residual_blocks(sizes: PictureSizes) -> list[nn.Module]:
    """Residual blocks of 3x3 kernels."""
    depth = sizes.depth
    return [Block(nn.Conv2d(depth, depth, 3, padding=1), depth) for _ in range(sizes.blocks)]
