"""The report's page is one file that needs no network; surfaces are seen from outside."""

import numpy as np
import pytest
import torch

from laconic.evaluation.imaging import page
from laconic.evaluation.imaging.reconstruction import Reconstruction
from laconic.evaluation.imaging.surface import draw_surface
from laconic.imaging import rotations, slices
from laconic.imaging.empirical import fit
from laconic.imaging.phantoms import random_blobs
from laconic.imaging.statistics import Statistics, Views
from laconic.metrics.fourier_shells import shell_correlation

SIZE = 16


def test_a_page_is_one_file() -> None:
    generator = torch.Generator().manual_seed(0)
    turns = rotations.uniform(80, generator)
    images = slices.project(random_blobs(6, 3.0, 1.3, generator).volume(SIZE), turns).float()
    images = images + 0.05 * torch.randn(images.shape, generator=generator)
    halves = [Statistics.empty(SIZE) for _ in range(2)]
    for k, half in enumerate(halves):
        half.insert(Views(images[k::2], turns[k::2]))
    whole = fit(halves[0] + halves[1], views=Views(images, turns), rounds=1)
    first, second = (fit(h, noise=whole.noise, prior=whole.prior) for h in halves)
    maps = (first.posterior.volume(), second.posterior.volume())
    found = Reconstruction(whole, maps, shell_correlation(*maps), 3.0, 80)
    text = page.render("<particles>", found, turns)
    assert "&lt;particles&gt;" in text
    assert "<particles>" not in text
    assert text.count("data:image/png;base64,") == 6
    assert 'src="http' not in text
    for heading in ("Surface", "Local resolution", "Angular coverage", "stayed at the prior"):
        assert heading in text


def test_a_ball_is_brightest_towards_the_light() -> None:
    axis = np.arange(SIZE, dtype=np.float32) - SIZE // 2
    square = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2
    shown = draw_surface((6 - np.sqrt(square)).astype(np.float32), 0.0)
    assert shown.shape == (2 * SIZE, 2 * SIZE)
    assert shown[0, 0] == 1
    assert shown[12, 12] > shown[20, 20]
    assert shown.min() >= 0


def test_an_empty_volume_shows_nothing() -> None:
    shown = draw_surface(np.zeros((4, 4, 4), np.float32), 1.0)
    assert shown == pytest.approx(1.0)
