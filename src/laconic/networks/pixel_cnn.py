"""An autoregressive decoder of binary images: each patch depends on the patches before it and z.

```
 x ─ patches ─ causal k x k ─┬─ block ─┐ halve ─ block ─┐ halve ─ block ─┐
          position map ──────┤         │                │                │    way down
 z ─ gated dense ─ planes ───┘         ▼                ▼                ▼
              logits ◄─ 1x1 ◄─ gate ◄─ block ◄─ double ◄─ block ◄─ double ◄─ block    way up
```

A place of a map depends on the patches strictly before that place in reading order, and on z. The
place of a halved map's cell is the first place of the cell: halving reads only places up to it, and
doubling passes its features to places from it on, so the rule holds at every resolution.
Source: Alemi, appendix F.2; Salimans et al. 2017 (PixelCNN++); Dauphin et al. 2017 (gates).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from laconic.errors import ConfigError
from laconic.networks.causal import CausalConvolution
from laconic.networks.gated import Gate, gated


@dataclass(frozen=True)
class PixelCNNConfig:
    """Sizes.

    Attributes:
        side: side of the image in pixels.
        patch: side of a patch in pixels, 1 or 2. A patch of 1 has the log odds of a Bernoulli, one
            of 2 the logits of its 16 patterns: an exact joint distribution, with a quarter of the
            places.
        width: channels of every map.
        layers: residual layers at every resolution of the way down, mirrored on the way up; each
            resolution is half the one before it.
        first_kernel: side of the first causal kernel, in patches.
        kernels: sides of a residual layer's two causal kernels.
        planes: number of maps of the image's size that are computed from z.
        steered: whether z is an input of every residual layer, not only of the first one.
    """

    side: int = 28
    patch: int = 2
    width: int = 64
    layers: tuple[int, ...] = (1, 2)
    first_kernel: int = 7
    kernels: tuple[int, int] = (3, 1)
    planes: int = 1
    steered: bool = True

    def __post_init__(self) -> None:
        """Raise `ConfigError` for impossible sizes."""
        if self.patch not in (1, 2):
            raise ConfigError(f"pixel_cnn.patch: {self.patch} is not one of 1, 2")
        if min(self.width, self.planes, len(self.layers), *self.layers, 1) < 1:
            raise ConfigError(
                "pixel_cnn: width, planes and every number of layers must be positive"
            )
        if any(kernel % 2 == 0 or kernel < 1 for kernel in (self.first_kernel, *self.kernels)):
            raise ConfigError("pixel_cnn: kernels must have odd sides")
        if self.first_kernel < 3:
            raise ConfigError("pixel_cnn.first_kernel: must be 3 or more; one of 1 has no inputs")
        if self.side < 1 or self.side % self.unit:
            raise ConfigError(
                f"pixel_cnn.side: {self.side} is not a multiple of {self.unit}, a cell of the "
                "coarsest map; change side, patch or the number of layers"
            )

    @property
    def unit(self) -> int:
        """Pixels along the side of a cell of the coarsest map."""
        return int(self.patch << (len(self.layers) - 1))

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.side // self.patch

    @property
    def outputs(self) -> int:
        """Parameters of a patch's distribution."""
        return 1 if self.patch == 1 else 2 ** (self.patch**2)


PAPER = PixelCNNConfig(
    patch=1, width=64, layers=(2, 2, 2), first_kernel=7, kernels=(3, 3), steered=False
)
"""The source's sizes; it names no kernels, and its PixelCNN++ has two streams, ours has one."""
SMALL = PixelCNNConfig()
"""Small sizes: one core trains static binarised MNIST to below 85 nats in four minutes."""


class GatedLayer(nn.Module):
    """x + gated(gated(x) + shortcut), both causal.

    Args:
        width: channels in and out.
        kernels: sides of the two causal kernels.
        latents: numbers of z that condition the layer, 0 for none.
        shortcut: whether a map from the way down is an input.
    """

    def __init__(self, width: int, kernels: tuple[int, int], latents: int, shortcut: bool) -> None:
        super().__init__()
        self.inner = CausalConvolution(width, 2 * width, kernels[0], centre=True)
        self.gate = Gate()
        self.outer = CausalConvolution(width, 2 * width, kernels[1], centre=True)
        self.steer = nn.Linear(latents, 2 * width) if latents else None
        self.shortcut = nn.Conv2d(width, 2 * width, 1) if shortcut else None
        with torch.no_grad():  # initially near the identity
            self.outer.weight[:width].mul_(0.1)

    def forward(self, x: Tensor, z: Tensor, shortcut: Tensor | None) -> Tensor:
        """`(batch, width, h, w)` -> the same shape."""
        hidden = self.gated(self.inner(x), self.steered(z), shortcut)
        result: Tensor = x + self.gate(self.outer(hidden))
        return result

    def steered(self, z: Tensor) -> Tensor | None:
        """The term that z adds inside the layer, `(batch, 2 width, 1, 1)`."""
        return None if self.steer is None else self.steer(z)[:, :, None, None]

    def gated(self, hidden: Tensor, shift: Tensor | None, shortcut: Tensor | None) -> Tensor:
        """The first kernel's output `(batch, 2 width, h, w)` -> `(batch, width, h, w)`."""
        if self.shortcut is not None and shortcut is not None:
            hidden = hidden + self.shortcut(shortcut)
        gated: Tensor = self.gate(hidden if shift is None else hidden + shift)
        return gated


class LatentPlanes(nn.Module):
    """z -> planes of the image's size, by a gated dense layer.

    Args:
        config: sizes.
        latents: numbers of z.
    """

    def __init__(self, config: PixelCNNConfig, latents: int) -> None:
        super().__init__()
        self.config = config
        self.dense = gated(nn.Linear(latents, 2 * config.planes * config.side**2))

    def forward(self, z: Tensor) -> Tensor:
        """`(batch, latents)` -> `(batch, planes patch², grid, grid)`."""
        side, patch = self.config.side, self.config.patch
        planes = self.dense(z).reshape(len(z), self.config.planes, side, side)
        return functional.pixel_unshuffle(planes, patch)


class PixelCNN(nn.Module):
    """Logits of every patch, given z and the patches before it in reading order.

    Args:
        config: sizes.
        latents: numbers of z.

    Raises:
        ConfigError: `latents` is below 1.
    """

    def __init__(self, config: PixelCNNConfig, latents: int) -> None:
        super().__init__()
        if latents < 1:
            raise ConfigError(f"pixel_cnn: {latents} latents; there must be one or more")
        self.config, self.latents = config, latents
        width, cells = config.width, config.patch**2
        self.planes = LatentPlanes(config, latents)
        self.enter = CausalConvolution(cells, width, config.first_kernel, centre=False)
        self.enter_planes = nn.Conv2d(cells * config.planes, width, 3, padding=1)
        self.positions = nn.Parameter(torch.zeros(width, config.grid, config.grid))
        self.down = nn.ModuleList(self._block(count, False) for count in config.layers)
        self.up = nn.ModuleList(self._block(count, True) for count in config.layers)
        inner = range(len(config.layers) - 1)
        self.halving = nn.ModuleList(
            CausalConvolution(width, width, 3, centre=True, stride=2) for _ in inner
        )
        self.doubling = nn.ModuleList(nn.ConvTranspose2d(width, width, 2, stride=2) for _ in inner)
        self.head = nn.Conv2d(width, config.outputs, 1)

    def _block(self, count: int, shortcut: bool) -> nn.ModuleList:
        config, latents = self.config, self.latents if self.config.steered else 0
        layers = (GatedLayer(config.width, config.kernels, latents, shortcut) for _ in range(count))
        return nn.ModuleList(layers)

    def start(self, z: Tensor) -> Tensor:
        """The features of every place from its position and z, `(batch, width, grid, grid)`."""
        start: Tensor = self.positions + self.enter_planes(self.planes(z))
        return start

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Logits of all patches at once.

        Args:
            x: `(batch, 1, side, side)`, 0 or 1.
            z: `(batch, latents)`.

        Returns:
            `(batch, config.outputs, side / patch, side / patch)`.
        """
        patches = functional.pixel_unshuffle(2 * x - 1, self.config.patch)
        hidden = self.enter(patches.to(memory_format=torch.channels_last)) + self.start(z)
        kept: list[Tensor] = []
        for level, block in enumerate(self.down):
            hidden = self.halving[level - 1](hidden) if level else hidden
            for layer in block:  # type: ignore[attr-defined]
                hidden = layer(hidden, z, None)
                kept.append(hidden)
        for level in reversed(range(len(self.up))):
            for layer in self.up[level]:  # type: ignore[attr-defined]
                hidden = layer(hidden, z, kept.pop())
            hidden = self.doubling[level - 1](hidden) if level else hidden
        logits: Tensor = self.head(hidden)
        return logits
