"""Rounds: which images a reference is made of, the support, and what a support is worth."""

import pytest
import torch

from laconic.errors import InputError
from laconic.imaging import rotations, slices
from laconic.imaging.empirical import fit
from laconic.imaging.phantoms import random_blobs
from laconic.imaging.poses import rounds
from laconic.imaging.poses.rounds import RefineSettings, support_of, within
from laconic.imaging.posterior import solve
from laconic.imaging.statistics import Statistics, Views
from laconic.metrics.fourier_shells import shell_correlation

SIZE, NOISE = 24, 12.0


def test_every_image_is_in_one_part_of_its_half_set() -> None:
    halves = (torch.arange(0, 50, 2), torch.arange(1, 50, 2))
    parts = rounds.parts_of(halves, 8)
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(50))
    for number, part in enumerate(parts):
        assert set(part.tolist()) <= set(halves[number % 2].tolist())


def test_a_reference_is_made_of_other_parts() -> None:
    together = RefineSettings(band=4, parts=4)
    assert rounds._others(1, together) == [0, 2, 3]
    apart = RefineSettings(band=4, parts=4, independent=True)
    assert rounds._others(1, apart) == [3]
    with pytest.raises(InputError, match="parts: 3"):
        RefineSettings(band=4, parts=3)
    with pytest.raises(InputError, match="at least 4"):
        RefineSettings(band=4, parts=2, independent=True)


def test_a_support_takes_noise_out_of_all_shells() -> None:
    """The same images, noise and prior with and without it; the volume fills 2 % of the box."""
    generator = torch.Generator().manual_seed(0)
    volume = random_blobs(10, 3.0, 1.0, generator).volume(SIZE).float()
    volume = volume / volume.std()
    support = support_of([volume])
    assert float((volume * (1 - support)).norm() / volume.norm()) < 0.05
    assert float(support.mean()) < 0.25
    turns = rotations.uniform(150, generator)
    images = slices.project(volume, turns, wide=False).float()
    images = images + NOISE * torch.randn(images.shape, generator=generator)
    statistics = Statistics.empty(SIZE)
    statistics.insert(Views(images, turns))
    whole = fit(statistics, noise=torch.tensor(NOISE**2))
    curves = [
        shell_correlation(within(statistics, whole, chosen).posterior.volume(), volume)
        for chosen in (None, support)
    ]
    assert float((curves[1] - curves[0])[2:10].mean()) > 0.1


def test_a_support_of_ones_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(1)
    turns = rotations.uniform(30, generator)
    statistics = Statistics.empty(8)
    statistics.insert(Views(torch.randn(30, 8, 8, generator=generator), turns))
    plain = solve(statistics, 1.0)
    same = solve(statistics, 1.0, support=torch.ones(8, 8, 8))
    assert torch.allclose(plain.mean, same.mean, atol=2e-3)
    assert torch.allclose(plain.variance, same.variance, rtol=1e-5)
