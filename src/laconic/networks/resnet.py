"""Residual networks for small pictures, such as CIFAR's."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from laconic.errors import ConfigError


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, added to the input.

    Args:
        channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the first convolution. If it is not 1, or the numbers of channels differ,
            a 1x1 convolution with batch norm replaces the input in the sum.
    """

    def __init__(self, channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out_channels, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channels, height, width)` to `(batch, out_channels, height', width')`."""
        y = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """A residual network with stages of one width each; takes `(batch, 3, height, width)`.

    Args:
        depth: number of layers with weights: 6 n + 2 for n blocks in each of three stages.
        widths: channels of the stages.
        classes: number of outputs.

    Raises:
        ConfigError: a depth that is not 6 n + 2.

    Source: He et al. 2016, section 4.2, with projections where the size changes (their option B).
    """

    def __init__(
        self, depth: int = 20, widths: Sequence[int] = (16, 32, 64), classes: int = 10
    ) -> None:
        super().__init__()
        stages = 3
        if (depth - 2) % (2 * stages) or depth < 2 + 2 * stages:
            raise ConfigError(f"depth: {depth} is not 6 n + 2, such as 20 or 32")
        if len(widths) != stages:
            raise ConfigError(f"widths: {len(widths)} numbers for {stages} stages")
        self.conv = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        blocks, channels = [], widths[0]
        for stage, width in enumerate(widths):
            for block in range((depth - 2) // (2 * stages)):
                blocks.append(ResidualBlock(channels, width, 2 if stage and not block else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape `(batch, classes)`."""
        y = self.blocks(functional.relu(self.norm(self.conv(x))))
        logits: Tensor = self.fc(self.pool(y).flatten(1))
        return logits
