"""Small networks of the kinds that methods meet."""

import pytest
import torch
from torch import nn


@pytest.fixture
def small_net() -> nn.Sequential:
    """A convolution, a flattening and two linear layers on `(batch, 1, 8, 8)`."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 16), nn.ReLU(),
        nn.Linear(16, 3),
    )  # fmt: skip


@pytest.fixture
def small_data() -> tuple[torch.Tensor, torch.Tensor]:
    """600 noisy pictures of three patterns; the other pixels say nothing."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(600) % 3
    x = 0.5 * torch.randn(600, 1, 8, 8, generator=generator)
    for label in range(3):
        x[labels == label, 0, 2 * label : 2 * label + 2, 2:6] += 1.5
    return x, labels
