"""Networks of a thousand weights, and their training in the suite of weight methods."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from laconic.weights import NotSettled, convert
from laconic.weights.base import WeightMethod

COUNT = 60
"""Pictures to train with."""

LAYERS: tuple[tuple[nn.Module, tuple[int, ...]], ...] = (
    (nn.Linear(9, 4), (5, 9)),
    (nn.Linear(9, 4), (9,)),
    (nn.Linear(9, 4, bias=False), (5, 3, 9)),
    (nn.Conv1d(2, 3, 3), (4, 2, 9)),
    (nn.Conv1d(2, 3, 3), (2, 9)),
    (nn.Conv2d(2, 4, 3, stride=2, padding=1, padding_mode="reflect"), (2, 2, 9, 8)),
    (nn.Conv2d(4, 8, 3, groups=2, dilation=2, bias=False), (2, 4, 7, 7)),
    (nn.Conv3d(1, 3, 2), (2, 1, 3, 3, 3)),
    (nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2), (2, 4, 5)),
    (nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1), (2, 2, 4, 3)),
    (nn.ConvTranspose2d(2, 3, 3, bias=False), (2, 4, 3)),
    (nn.ConvTranspose3d(2, 1, 2), (2, 2, 3, 3, 3)),
    (nn.Embedding(9, 4, padding_idx=0), (5, 3)),
    (nn.Embedding(9, 4), (5,)),
)
"""Layers of every kind, and the shapes of their inputs."""


def given(layer: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """An input of a layer: indices for an embedding, normal numbers for others."""
    if isinstance(layer, nn.Embedding):
        return torch.randint(layer.num_embeddings, shape)
    return torch.randn(shape)


def small_net(seed: int = 0) -> nn.Sequential:
    """A convolution, a flattening and two linear layers on `(batch, 1, 8, 8)`."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 16), nn.ReLU(),
        nn.Linear(16, 3),
    )  # fmt: skip


def every_kind() -> nn.Sequential:
    """Options that a method must leave to the layer, on `(batch, 2, 16, 12)`."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1, padding_mode="reflect"), nn.ReLU(),
        nn.Conv2d(4, 8, 3, groups=2, dilation=2, bias=False), nn.Flatten(2), nn.Conv1d(8, 3, 2),
        nn.Flatten(), nn.Linear(21, 5),
    )  # fmt: skip


class Twice(nn.Module):
    """One layer in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.second = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, 4)` to the same."""
        result: Tensor = self.second(torch.relu(self.first(x)))
        return result


def doubled(layer: nn.Module) -> nn.Linear:
    """A linear layer with every output twice."""
    assert isinstance(layer, nn.Linear)
    result = nn.Linear(layer.in_features, 2 * layer.out_features)
    with torch.no_grad():
        result.weight.copy_(layer.weight.repeat(2, 1))
        result.bias.copy_(layer.bias.repeat(2))
    return result


def pictures() -> tuple[Tensor, Tensor]:
    """Noise of shape `(COUNT, 1, 8, 8)`, and labels without information."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(COUNT, 1, 8, 8, generator=generator), torch.arange(COUNT) % 3


class Bench:
    """A converted network, its prior and its optimiser.

    Args:
        method: to convert with.
        seed: of the network's weights.
        rate: learning rate.
        zeros: whether a filter and a hidden unit are zero, with their biases.
    """

    def __init__(
        self, method: WeightMethod, seed: int = 0, rate: float = 1e-3, zeros: bool = False
    ) -> None:
        self.net = small_net(seed)
        if zeros:
            for layer, row in ((self.net[0], 2), (self.net[4], 3)):
                for parameter in layer.parameters():
                    parameter.data[row] = 0
        self.penalty = convert(self.net, method)
        self.everything = nn.ModuleDict({"net": self.net, "prior": self.penalty.prior})
        self.optimizer = torch.optim.Adam(self.everything.parameters(), rate)
        self.x, self.y = pictures()

    def loss(self) -> Tensor:
        """Mean cross-entropy + penalty / N, in nats."""
        error = functional.cross_entropy(self.net(self.x), self.y)
        return error + self.penalty() / len(self.x)

    def train(self, steps: int) -> None:
        """Take some steps, each with all pictures."""
        for _ in range(steps):
            self.optimizer.zero_grad()
            self.loss().backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.penalty.constrain()

    def quantise(self) -> None:
        """Call the penalty's `quantise`; it may change weights much after so little training."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotSettled)
            self.penalty.quantise()


def check_raises(
    kind: type[Exception], words: str, call: Callable[..., object], *args: Any
) -> None:
    """Check that a call raises this error, with these words in its message."""
    try:
        call(*args)
    except kind as error:
        found = str(error)
    else:
        raise AssertionError(f"no {kind.__name__} was raised")
    assert words in found, found
