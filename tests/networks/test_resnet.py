"""Residual networks: sizes of the source, and what blocks add up to."""

import pytest
import torch
from torch import nn

from laconic.errors import ConfigError
from laconic.networks.resnet import ResidualBlock, ResNet


def test_layers_and_parameters_are_the_sources() -> None:
    """20 layers, 0.27 million parameters (He et al. 2016, table 6), and two projections."""
    net = ResNet(20)
    counted = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    projections = [m for m in counted if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)]
    assert len(counted) - len(projections) == 20
    assert len(projections) == 2
    assert sum(p.numel() for p in net.parameters()) == 269_722 + 2_752
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_a_block_that_says_nothing_passes_its_input_on() -> None:
    block = ResidualBlock(4, 4).eval()
    nn.init.zeros_(block.norm2.weight)
    x = torch.rand(2, 4, 6, 6)
    assert torch.equal(block(x), x)


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="depth: 21"):
        ResNet(21)
    with pytest.raises(ConfigError, match="widths"):
        ResNet(8, (4, 8))
