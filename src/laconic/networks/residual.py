"""Residual blocks, plain or conditioned on log beta, and heads of the networks made of them."""

import torch
from torch import Tensor, nn

from laconic.networks.arithmetic import LEAK, Network


class Block(Network):
    """x + outer(leaky(inner(leaky(x)))); `outer` is a 1x1 convolution that starts at zero.

    Args:
        inner: a convolution that keeps the size.
        width: channels in and out.
    """

    def __init__(self, inner: nn.Module, width: int) -> None:
        super().__init__()
        self.inner = inner
        self.outer = nn.Conv2d(width, width, 1)
        for parameter in self.outer.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, width, h, w)` -> the same shape."""
        hidden = self.arithmetic.apply(self.inner, x, True, True)
        return self.arithmetic.add(x, self.outer(hidden))


class OperatingPoint(Network):
    """Embed log beta and, optionally, taste, so that one network serves every quality.

    Args:
        beta_range: the smallest and largest beta, mapped to -1 and 1.
        width: channels of the embedding.
        taste: whether taste is a second coordinate; its term in the embedding is initially zero.
    """

    def __init__(self, beta_range: tuple[float, float], width: int, taste: bool = False) -> None:
        super().__init__()
        low, high = (float(torch.tensor(beta).log()) for beta in beta_range)
        self.centre, self.half_range = (low + high) / 2, (high - low) / 2
        self.network = nn.Sequential(
            nn.Linear(3, width), nn.LeakyReLU(LEAK), nn.Linear(width, width)
        )
        self.taste: nn.Sequential | None = None
        if taste:
            leave = nn.Linear(width, width)
            for parameter in leave.parameters():
                nn.init.zeros_(parameter)
            self.taste = nn.Sequential(nn.Linear(5, width), nn.LeakyReLU(LEAK), leave)

    def forward(self, log_beta: Tensor, taste: Tensor | None = None) -> Tensor:
        """Map operating points to embeddings.

        Args:
            log_beta: `(batch,)`, in nats.
            taste: `(batch,)`, 0 for squared error, 1 for MS-SSIM; None: 1/2.

        Returns:
            `(batch, width)`.
        """
        position = (log_beta - self.centre) / self.half_range
        side = torch.zeros_like(position) if taste is None else 2 * taste - 1
        return self.embed(position, side)

    def embed(self, position: Tensor, side: Tensor) -> Tensor:
        """Both coordinates of the operating point, `(batch,)` from -1 to 1 -> `(batch, width)`."""
        rescale = self.arithmetic.rescale
        square = rescale(position * position)
        powers = torch.stack([position, square, rescale(square * position)], dim=-1)
        embedding: Tensor = self.network(powers)
        if self.taste is not None:
            squared = rescale(side * side)
            mixed = [rescale(side * position), rescale(side * square), squared]
            features = [side, *mixed, rescale(squared * position)]
            embedding = embedding + self.taste(torch.stack(features, dim=-1))
        return embedding


class SteeredBlock(Network):
    """x + conv(leaky(gain * conv(x) + shift)), where gain and shift come from the operating point.

    The second convolution starts at zero: an untrained block is the identity.

    Args:
        width: channels in and out.
        embedding: channels of the operating point's embedding.
    """

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(width, width, 3, padding=1)
        self.outer = nn.Conv2d(width, width, 3, padding=1)
        self.steer = nn.Linear(embedding, 2 * width)
        for parameter in (*self.outer.parameters(), *self.steer.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """`x`: `(batch, width, h, w)`; `embedding`: `(batch, embedding)`."""
        gain, shift = self.steer(embedding)[:, :, None, None].chunk(2, dim=1)
        a = self.arithmetic
        hidden = a.rescale(self.inner(x) * (a.one + gain)) + shift
        return a.add(x, a.apply(self.outer, hidden, True, False))


class SteeredStack(nn.Module):
    """A chain of `SteeredBlock`s between two optional 1x1 convolutions."""

    def __init__(self, inputs: int, width: int, blocks: int, embedding: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(inputs, width, 1)
        self.blocks = nn.ModuleList(SteeredBlock(width, embedding) for _ in range(blocks))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """`x`: `(batch, inputs, h, w)` -> `(batch, width, h, w)`."""
        x = self.enter(x)
        for block in self.blocks:
            x = block(x, embedding)
        return x


class Head(nn.Module):
    """A 1x1 convolution in full precision that starts at zero: location and log-scale corrections.

    Full precision because what it computes is multiplied by scales of up to a few hundred.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(width, outputs, 1)
        for parameter in self.project.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """`x`: `(batch, width, h, w)` -> `(batch, outputs, h, w)`, never in half precision."""
        with torch.autocast(x.device.type, enabled=False):
            wide = x.to(self.project.weight.dtype)
            result: Tensor = self.project(wide)
        return result
