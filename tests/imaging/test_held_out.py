"""Held-out likelihood against the normal distribution that it estimates."""

import math

import pytest
import torch

from laconic.errors import InputError
from laconic.imaging import rotations, slices
from laconic.imaging.held_out import held_out_log_likelihood, image_log_likelihood
from laconic.imaging.posterior import VolumePosterior
from laconic.imaging.statistics import Views
from laconic.metrics.fourier_shells import multiplicity, shell_numbers

SIZE = 8
NOISE = torch.full((SIZE // 2 + 1,), 4.0)


def views(number: int) -> Views:
    generator = torch.Generator().manual_seed(0)
    images = 2 * torch.randn(number, SIZE, SIZE, generator=generator)
    return Views(images, rotations.uniform(number, generator))


def posterior(variance: float) -> VolumePosterior:
    shape = (SIZE, SIZE, SIZE // 2 + 1)
    zeros = torch.zeros(shape, dtype=torch.complex64)
    return VolumePosterior(zeros, torch.full(shape, variance), SIZE)


def test_of_an_empty_volume_it_is_that_of_noise() -> None:
    seen = views(5)
    found = image_log_likelihood(torch.zeros(SIZE, SIZE, SIZE), NOISE, seen)
    power = (slices.to_slices(seen.images).abs().square() / SIZE**2).double()
    terms = (power / 4 + math.log(2 * math.pi * 4)) * multiplicity(SIZE)
    inside = shell_numbers(SIZE, 2) <= slices.largest_band(SIZE)
    assert found.numpy() == pytest.approx((-0.5 * terms[:, inside].sum(-1)).numpy(), rel=1e-6)


def test_more_draws_come_nearer() -> None:
    """A bound from below, which grows with the draws: its mean does, for 20 images."""
    seen, wide = views(20), posterior(0.1)
    means = [
        float(
            held_out_log_likelihood(
                wide, NOISE, seen, draws, torch.Generator().manual_seed(1)
            ).mean()
        )
        for draws in (1, 8, 64)
    ]
    assert means[0] < means[1] < means[2]


def test_without_uncertainty_one_draw_is_exact() -> None:
    seen = views(3)
    found = held_out_log_likelihood(posterior(0.0), NOISE, seen, 1)
    exact = image_log_likelihood(torch.zeros(SIZE, SIZE, SIZE), NOISE, seen)
    assert torch.allclose(found, exact)


def test_at_least_one_draw() -> None:
    with pytest.raises(InputError, match="draws: 0"):
        held_out_log_likelihood(posterior(1.0), NOISE, views(1), 0)
