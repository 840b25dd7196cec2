"""The amortised posterior of poses: better than chance, a start for Newton steps, checked input."""

import pytest
import torch
from torch import Tensor

from laconic.errors import InputError
from laconic.imaging import rotations, slices
from laconic.imaging.phantoms import random_blobs
from laconic.imaging.poses.encoder import Lesson, PoseEncoder, encoded, learned

SIZE, REACH = 16, 1.0


def scene(number: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A spectrum, noise, images and their rotations; the encoder does not see these images."""
    volume = random_blobs(8, 5.0, 1.3, torch.Generator().manual_seed(3)).volume(SIZE).float()
    spectrum = slices.to_spectrum(volume / volume.std())
    generator = torch.Generator().manual_seed(9)
    turns = rotations.uniform(number, generator)
    shifts = REACH * (2 * torch.rand(number, 2, generator=generator) - 1) / 2**0.5
    clean = slices.images_of(spectrum, turns, shifts, wide=False)
    images = clean + 2 * torch.randn(clean.shape, generator=generator)
    return spectrum, torch.full((SIZE // 2 + 1,), 4.0), images, turns


def test_a_short_lesson_beats_chance_by_far() -> None:
    """Uniform rotations lie 127 degrees apart in the middle; the errors' middle is a third."""
    spectrum, noise, images, turns = scene(100)
    encoder = learned(spectrum, noise, REACH, lesson=Lesson(steps=150, batch=64))
    guess = encoded(encoder, images)
    angles = rotations.distance(guess.rotations[:, 0], turns)
    chance = rotations.distance(guess.rotations[:, 0], turns.roll(1, 0))
    assert float(angles.median()) < 50 < 100 < float(chance.median())
    assert torch.allclose(guess.weights.sum(1), torch.ones(100))
    assert bool((guess.weights.diff(dim=1) <= 0).all())
    # Newton steps in the volume make poses of it, of most images.
    found = encoded(encoder, images, spectrum=spectrum, noise=noise, band=7)
    errors = rotations.distance(found.rotations[:, 0], turns)
    assert float(errors.median()) < 10


def test_its_poses_are_rotations_and_shifts_within_reach() -> None:
    encoder = PoseEncoder(SIZE, REACH, "C3", modes=2)
    images = torch.randn(5, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = encoder(images)
    turned = found.rotations.mT @ found.rotations
    assert torch.allclose(turned, torch.eye(3).expand_as(turned), atol=1e-5)
    assert float(found.shifts.abs().max()) <= REACH
    assert len(found.group) == 3


def test_symmetric_poses_are_equally_dense() -> None:
    encoder = PoseEncoder(SIZE, REACH, "C3", modes=2)
    generator = torch.Generator().manual_seed(1)
    images, turns = torch.randn(4, SIZE, SIZE, generator=generator), rotations.uniform(4, generator)
    first = encoder.log_density(images, turns, torch.zeros(4, 2))
    group = rotations.symmetry("C3")
    again = encoder.log_density(images, turns @ group[1], torch.zeros(4, 2))
    assert torch.allclose(first, again, atol=1e-4)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="images of 4 pixels"):
        PoseEncoder(4, 1.0)
    with pytest.raises(InputError, match="steps: 0"):
        Lesson(steps=0)
    spectrum, _, images, _ = scene(2)
    with pytest.raises(InputError, match="noise and band"):
        encoded(PoseEncoder(SIZE, REACH), images, spectrum=spectrum)
