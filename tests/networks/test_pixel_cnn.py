"""The autoregressive decoder's network: strictly causal at every resolution, steered everywhere."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from laconic.errors import ConfigError
from laconic.networks.pixel_cnn import PAPER, SMALL, PixelCNN, PixelCNNConfig

LATENTS = 3
CONFIGS = {
    "pixels": PixelCNNConfig(side=8, patch=1, width=4, layers=(2,), first_kernel=3),
    "pixels, three resolutions": replace(PAPER, side=8, width=4),
    "patches": PixelCNNConfig(side=12, patch=2, width=4, layers=(1,), first_kernel=5),
    "patches, two resolutions": PixelCNNConfig(side=16, patch=2, width=4, layers=(1, 2)),
    "patches, wide kernels": PixelCNNConfig(side=16, patch=2, width=4, kernels=(5, 3)),
    "small": replace(SMALL, side=16, width=4),
}


@pytest.fixture(params=list(CONFIGS.values()), ids=list(CONFIGS))
def config(request: pytest.FixtureRequest) -> PixelCNNConfig:
    assert isinstance(request.param, PixelCNNConfig)
    return request.param


def random_network(config: PixelCNNConfig) -> PixelCNN:
    """A network in float64 none of whose weights is zero."""
    torch.manual_seed(0)
    network = PixelCNN(config, LATENTS).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.4 * torch.randn_like(parameter))
    return network


def patch_number(config: PixelCNNConfig) -> Tensor:
    """Every pixel's patch, counted in reading order: `(side, side)`."""
    place = torch.arange(config.side) // config.patch
    return place[:, None] * config.grid + place


def test_logits_depend_on_earlier_patches_alone(config: PixelCNNConfig) -> None:
    """The gradient of every patch's logits by every pixel, all at once."""
    network, grid = random_network(config), config.grid
    x = torch.rand(1, 1, config.side, config.side).double()
    z = torch.randn(1, LATENTS).double()
    x = x.expand(grid**2, -1, -1, -1).clone().requires_grad_()
    logits = network(x, z.expand(grid**2, -1))
    mixture = torch.randn(config.outputs).double()
    own = torch.einsum("bkp,k->bp", logits.flatten(2), mixture).diagonal()
    (gradient,) = torch.autograd.grad(own.sum(), x)
    earlier = patch_number(config) < torch.arange(grid**2)[:, None, None]
    assert torch.all(gradient[:, 0][~earlier] == 0)
    nearest = patch_number(config) == torch.arange(grid**2)[:, None, None] - 1
    inside = torch.arange(grid**2) % grid > 0
    assert torch.all(gradient[:, 0][nearest & inside[:, None, None]] != 0)


def test_a_changed_patch_moves_no_logits_up_to_its_own(config: PixelCNNConfig) -> None:
    network = random_network(config)
    x = (torch.rand(1, 1, config.side, config.side) < 0.5).double()
    z = torch.randn(1, LATENTS).double()
    before = network(x, z).flatten(2)
    for patch in (0, config.grid, config.grid**2 // 2 + 1, config.grid**2 - 1):
        here = patch_number(config) == patch
        moved = (network(torch.where(here, 1 - x, x), z).flatten(2) != before).any(1)[0]
        assert not moved[: patch + 1].any()
        assert patch == config.grid**2 - 1 or moved[patch + 1 :].any()


def test_latents_steer_every_patch(config: PixelCNNConfig) -> None:
    network = random_network(config)
    x = torch.zeros(1, 1, config.side, config.side).double()
    z = torch.randn(2, 1, LATENTS).double()
    assert torch.all(network(x, z[0]) != network(x, z[1]))


def test_every_parameter_learns(config: PixelCNNConfig) -> None:
    network = random_network(config)
    x, z = torch.rand(2, 1, config.side, config.side).double(), torch.randn(2, LATENTS).double()
    network(x, z).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_the_paper_s_sizes() -> None:
    network = PixelCNN(PAPER, 64)
    assert (PAPER.patch, PAPER.width, PAPER.outputs, PAPER.unit) == (1, 64, 1, 4)
    blocks = [len(block) for block in (*network.down, *network.up)]
    assert blocks == [2] * 6
    x = torch.zeros(1, 1, 28, 28)
    assert network(x, torch.zeros(1, 64)).shape == (1, 1, 28, 28)


@pytest.mark.parametrize(
    "sizes",
    [
        {"side": 27},
        {"side": 28, "layers": (1, 1, 1)},
        {"patch": 3},
        {"patch": 0},
        {"width": 0},
        {"layers": ()},
        {"layers": (1, 0)},
        {"first_kernel": 1},
        {"first_kernel": 4},
        {"kernels": (2, 1)},
        {"planes": 0},
        {"side": 0},
    ],
    ids=str,
)
def test_sizes_that_cannot_be(sizes: dict[str, int | tuple[int, ...]]) -> None:
    with pytest.raises(ConfigError, match="pixel_cnn"):
        replace(SMALL, **sizes)  # type: ignore[arg-type]


def test_a_network_without_latents_is_refused() -> None:
    with pytest.raises(ConfigError, match="latents"):
        PixelCNN(SMALL, 0)
