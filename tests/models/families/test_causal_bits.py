"""The autoregressive likelihood is a probability, and its draws follow it."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from laconic.models.families.causal_bits import CausalBits, pattern_indices, pattern_pixels
from laconic.networks.pixel_cnn import PAPER, PixelCNN, PixelCNNConfig

LATENTS = 2
TINY = {
    "pixels": replace(PAPER, side=4, width=4, layers=(1, 1)),
    "patches": PixelCNNConfig(side=4, patch=2, width=4, layers=(1, 1), first_kernel=3),
}


@pytest.fixture(params=list(TINY.values()), ids=list(TINY))
def config(request: pytest.FixtureRequest) -> PixelCNNConfig:
    assert isinstance(request.param, PixelCNNConfig)
    return request.param


def likelihood(config: PixelCNNConfig, batch: int) -> CausalBits:
    """A random network's, far from uniform, given as many random latents."""
    torch.manual_seed(0)
    network = PixelCNN(config, LATENTS)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.5 * torch.randn_like(parameter))
    return CausalBits(network, torch.randn(batch, LATENTS))


def every_image(side: int) -> Tensor:
    """`(2^(side²), 1, side, side)`; pixel i of image n is bit i of n."""
    numbers = torch.arange(2 ** (side**2))[:, None]
    return ((numbers >> torch.arange(side**2)) & 1).float().reshape(-1, 1, side, side)


def log_probs_of_all(distribution: CausalBits) -> Tensor:
    """Of every image, `(images, batch)`, float64."""
    side = distribution.event_shape[-1]
    batch = len(distribution.z)
    parts = torch.split(every_image(side), 4096)
    with torch.no_grad():
        tables = [
            distribution.log_prob(part[:, None].expand(-1, batch, -1, -1, -1)) for part in parts
        ]
    return torch.cat(tables).double()


@given(st.sampled_from([1, 2]), st.integers(1, 3), st.integers(0, 2**32))
def test_patterns_come_back(patch: int, cells: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 1, cells * patch, 2 * patch)
    x = torch.randint(2, shape, generator=generator).float()
    indices = pattern_indices(x, patch)
    assert set(indices.flatten().tolist()) <= set(range(2 ** (patch**2)))
    assert torch.equal(pattern_pixels(indices, patch), x)


@pytest.mark.slow
def test_the_probabilities_of_all_images_sum_to_one(config: PixelCNNConfig) -> None:
    total = log_probs_of_all(likelihood(config, 2)).logsumexp(0)
    assert torch.allclose(total, torch.zeros(2).double(), atol=1e-4)


def test_every_patch_s_probabilities_sum_to_one(config: PixelCNNConfig) -> None:
    distribution = likelihood(config, 3)
    table = distribution.given(every_image(4)[[3, 777, 40_000]])
    assert table.shape == (3, 2 ** (config.patch**2), config.grid, config.grid)
    assert torch.allclose(table.logsumexp(1), torch.zeros(()), atol=1e-5)


def test_bernoulli_logits_are_the_log_odds_of_ones() -> None:
    distribution = likelihood(TINY["pixels"], 2)
    x = every_image(4)[[5, 60_000]]
    bernoulli = torch.distributions.Bernoulli(logits=distribution.network(x, distribution.z))
    expected: Tensor = bernoulli.log_prob(x).sum((1, 2, 3))  # type: ignore[no-untyped-call]
    assert torch.allclose(distribution.log_prob(x), expected, atol=1e-5)


def test_draws_of_many_shapes_have_densities(config: PixelCNNConfig) -> None:
    distribution = likelihood(config, 3)
    torch.manual_seed(1)
    assert distribution.sample().shape == (3, 1, 4, 4)
    draws = distribution.sample(torch.Size((2, 5)))
    assert draws.shape == (2, 5, 3, 1, 4, 4)
    densities = distribution.log_prob(draws)
    assert densities.shape == (2, 5, 3)
    assert torch.allclose(densities[1, 4], distribution.log_prob(draws[1, 4]), atol=1e-5)


def test_draws_follow_torch_s_seed(config: PixelCNNConfig) -> None:
    distribution = likelihood(config, 2)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(distribution.sample(torch.Size((8,))))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.slow
def test_draws_follow_the_density(config: PixelCNNConfig) -> None:
    """Chi-square of images in 64 classes of equal probability; false alarm once in 1,000."""
    distribution, count = likelihood(config, 1), 10_000
    probabilities = log_probs_of_all(distribution)[:, 0].exp()
    probabilities = probabilities / probabilities.sum()
    torch.manual_seed(2)
    draws = distribution.sample(torch.Size((count,)))[:, 0]
    numbers = (draws.flatten(1).long() << torch.arange(16)).sum(1)
    # Numbered at random, so that a class holds images of all kinds, not those that start alike.
    order = torch.randperm(len(probabilities))
    edges = torch.searchsorted(probabilities[order].cumsum(0), torch.linspace(0, 1, 65).double())
    bounds = [int(edge) for edge in edges[:-1]] + [len(order)]
    kinds = torch.empty(len(order), dtype=torch.long)
    expected = torch.zeros(64).double()
    for kind, (start, stop) in enumerate(pairwise(bounds)):
        kinds[order[start:stop]] = kind
        expected[kind] = count * probabilities[order[start:stop]].sum()
    seen = torch.bincount(kinds[numbers], minlength=64)
    some = expected > 0
    assert torch.all(seen[~some] == 0)
    statistic = ((seen - expected).square()[some] / expected[some]).sum()
    freedom = torch.tensor(float(some.sum() - 1)).double()
    tail = torch.special.gammaincc(freedom / 2, statistic / 2)
    assert tail > 1e-3


@pytest.mark.slow
def test_mean_code_length_of_draws_is_the_entropy(config: PixelCNNConfig) -> None:
    """By 10,000 draws against enumeration, within 3.3 standard errors: one false alarm in 1,000."""
    distribution, count = likelihood(config, 1), 10_000
    table = log_probs_of_all(distribution)[:, 0]
    entropy = -(table.exp() * table).sum()
    torch.manual_seed(3)
    with torch.no_grad():
        lengths = -distribution.log_prob(distribution.sample(torch.Size((count,))))[:, 0].double()
    assert abs(lengths.mean() - entropy) < 3.3 * lengths.std() / count**0.5


def test_gradients_reach_network_and_latents(config: PixelCNNConfig) -> None:
    distribution = likelihood(config, 2)
    distribution.z.requires_grad_()
    distribution.log_prob(every_image(4)[:2]).sum().backward()  # type: ignore[no-untyped-call]
    assert distribution.z.grad is not None
    assert torch.all(distribution.z.grad != 0)
    head = distribution.network.head.weight
    assert head.grad is not None
    assert head.grad.abs().sum() > 0


@pytest.mark.slow
def test_it_learns_what_independent_pixels_cannot() -> None:
    """Columns of one colour each: 8 bits an image, where single pixels look like 64."""
    torch.manual_seed(4)
    sizes = PixelCNNConfig(side=8, patch=2, width=16, layers=(1,), first_kernel=3)
    network = PixelCNN(sizes, LATENTS)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-2)
    distribution = CausalBits(network, torch.zeros(64, LATENTS))
    for _ in range(60):
        x = torch.randint(2, (64, 1, 1, 8)).float().expand(-1, -1, 8, -1)
        nats = -distribution.log_prob(x).mean()
        optimizer.zero_grad()
        nats.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    bits = float(nats.detach()) / math.log(2)
    assert 7.5 < bits < 9
