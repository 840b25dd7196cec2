"""One place at a time gives what all places at once give."""

from dataclasses import replace
from itertools import product

import pytest
import torch

from laconic.networks.pixel_cnn import PAPER, SMALL, PixelCNN, PixelCNNConfig
from laconic.networks.pixel_cnn_walk import PixelCNNWalk

CONFIGS = {
    "pixels": PixelCNNConfig(side=8, patch=1, width=4, layers=(2,), first_kernel=3),
    "pixels, three resolutions": replace(PAPER, side=8, width=4),
    "patches": PixelCNNConfig(side=12, patch=2, width=4, layers=(1,), first_kernel=5),
    "patches, wide kernels": PixelCNNConfig(
        side=16, patch=2, width=4, layers=(2, 1), kernels=(5, 3), planes=2
    ),
    "small": replace(SMALL, side=16, width=4),
}


@pytest.mark.parametrize("config", list(CONFIGS.values()), ids=list(CONFIGS))
def test_place_by_place_says_what_all_at_once_says(config: PixelCNNConfig) -> None:
    torch.manual_seed(0)
    network = PixelCNN(config, latents=3).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.4 * torch.randn_like(parameter))
    x = (torch.rand(2, 1, config.side, config.side) < 0.5).double()
    z = torch.randn(2, 3).double()
    whole, walk = network(x, z), PixelCNNWalk(network, z)
    for row, column in product(range(config.grid), repeat=2):
        logits = walk.logits((row, column))
        assert torch.allclose(logits, whole[:, :, row, column], atol=1e-9), (row, column)
        top, left = row * config.patch, column * config.patch
        walk.put((row, column), x[:, :, top : top + config.patch, left : left + config.patch])
