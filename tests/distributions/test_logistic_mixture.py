"""The pixels' distribution against enumeration."""

import math

import pytest
import torch

from laconic.distributions.logistic_mixture import ColourMixture, SharedMixture


def parameters(mixtures: int = 2, size: int = 2, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def draw() -> torch.Tensor:
        return torch.randn(1, 3, mixtures, size, size, generator=generator, dtype=torch.float64)

    return [draw(), 128 + 60 * draw(), 1.5 + draw(), 0.3 * draw()]


def every_value(place: int, start: torch.Tensor) -> torch.Tensor:
    """256 pictures that differ from `start` in one colour of the first pixel."""
    pictures = start.expand(256, -1, -1, -1).clone()
    pictures[:, place, 0, 0] = torch.arange(256) / 255
    return pictures


def expand(given: list[torch.Tensor]) -> ColourMixture:
    return ColourMixture(*(part.expand(256, -1, -1, -1, -1) for part in given))


@pytest.mark.parametrize("colour", [0, 1, 2])
def test_the_masses_of_all_values_add_up_to_one(colour: int) -> None:
    start = torch.full((1, 3, 2, 2), 200 / 255)
    nats = expand(parameters()).colour_log_prob(every_value(colour, start))
    assert float(nats[:, colour, 0, 0].exp().sum()) == pytest.approx(1, abs=1e-5)


def test_a_mass_is_the_difference_of_two_logistic_cdfs() -> None:
    logits, means, log_scales, couplings = parameters(mixtures=2, size=1)
    x = torch.tensor([90.0, 140.0, 60.0]).reshape(1, 3, 1, 1) / 255
    said = ColourMixture(logits, means, log_scales, couplings).colour_log_prob(x)
    c = couplings[0, :, :, 0, 0]
    shift = [0 * c[0], c[0] * (90 - 128), c[1] * (90 - 128) + c[2] * (140 - 128)]
    for colour, value in enumerate((90, 140, 60)):
        weights = torch.softmax(logits[0, colour, :, 0, 0], 0)
        mean = means[0, colour, :, 0, 0] + shift[colour]
        scale = log_scales[0, colour, :, 0, 0].exp()
        mass = torch.sigmoid((value + 0.5 - mean) / scale) - torch.sigmoid(
            (value - 0.5 - mean) / scale
        )
        expected = math.log(float((weights * mass).sum()))
        assert float(said[0, colour, 0, 0]) == pytest.approx(expected, rel=1e-4)


def test_far_tails_keep_a_finite_density_and_gradient() -> None:
    logits, means, log_scales, couplings = parameters()
    means = (means * 0 - 5000).requires_grad_()
    log_scales = torch.full_like(log_scales, -3.0)
    nats = ColourMixture(logits, means, log_scales, couplings).log_prob(torch.rand(1, 3, 2, 2))
    nats.sum().backward()
    assert bool(torch.isfinite(nats).all())
    assert means.grad is not None
    assert bool(torch.isfinite(means.grad).all())
    assert float(means.grad.abs().max()) > 0


def test_a_grey_picture_costs_its_first_colour_alone() -> None:
    mixture = ColourMixture(*parameters(size=3))
    grey = (torch.arange(9.0) * 20).reshape(1, 1, 3, 3).expand(1, 3, 3, 3) / 255
    assert torch.allclose(mixture.log_prob(grey), mixture.colour_log_prob(grey)[:, 0].sum((1, 2)))
    coloured = grey.clone()
    coloured[0, 2, 1, 1] += 1 / 255
    assert torch.allclose(
        mixture.log_prob(coloured), mixture.colour_log_prob(coloured).sum((1, 2, 3))
    )


def test_the_mean_is_that_of_narrow_components() -> None:
    shape = (1, 3, 1, 1, 1)
    means = torch.tensor([100.0, 50.0, 30.0]).reshape(shape)
    couplings = torch.tensor([0.5, 0.25, 1.0]).reshape(shape)
    mixture = ColourMixture(torch.zeros(shape), means, torch.full(shape, -3.0), couplings)
    green = 50 + 0.5 * (100 - 128)
    blue = 30 + 0.25 * (100 - 128) + (green - 128)
    expected = torch.tensor([100, green, max(blue, 0)]) / 255
    assert torch.allclose(mixture.mean.flatten(), expected)


def shared() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits of two pixels, means and log-scales of three components."""
    logits = torch.tensor([[[0.0, 2.0]], [[1.0, -1.0]], [[-2.0, 0.5]]])[None]
    return logits, torch.tensor([-20.0, 90.0, 260.0]), torch.tensor([0.5, 3.0, 1.5])


def test_shared_components_add_up_and_are_what_logistics_say() -> None:
    logits, means, log_scales = shared()
    edges = torch.arange(257.0)[:, None] - 0.5
    cdf = torch.sigmoid((edges - means) / log_scales.exp()).double()
    cdf[0], cdf[256] = 0, 1
    weights = torch.softmax(logits[0, :, 0].double(), 0)
    expected = (cdf[1:] - cdf[:-1]) @ weights * (1 - 2.0**-20) + 2.0**-28
    values = torch.arange(256.0) / 255
    x = values[:, None, None, None].expand(-1, 1, 1, 2)
    for pixel in range(2):
        one = SharedMixture(
            logits[..., pixel : pixel + 1].expand(256, -1, -1, -1), means, log_scales
        )
        masses = one.log_prob(x[..., :1]).exp().double()
        assert float(masses.sum()) == pytest.approx(1, abs=1e-5)
        assert torch.allclose(masses, expected[:, pixel], rtol=2e-3, atol=1e-7)
        mean = float((expected[:, pixel] * values).sum())
        assert float(one.mean[0, 0, 0, 0]) == pytest.approx(mean, abs=1e-5)
    both = SharedMixture(logits.expand(256, -1, -1, -1), means, log_scales).log_prob(x)
    assert torch.allclose(both, expected.log().sum(1).float(), rtol=1e-3)


def test_no_value_costs_more_than_coders_ask() -> None:
    logits, means, _ = shared()
    narrow = SharedMixture(logits.requires_grad_(), means, torch.full((3,), -9.0))
    nats = narrow.log_prob(torch.full((1, 1, 1, 2), 200 / 255))
    assert float(nats.detach()) == pytest.approx(-56 * math.log(2), rel=1e-4)
    nats.backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())
