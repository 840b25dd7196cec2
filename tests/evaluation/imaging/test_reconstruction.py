"""Half sets, interruption, and a variance map that is symmetric."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from laconic.data.microscopy.maps import stack_bytes
from laconic.data.microscopy.particles import Particles
from laconic.errors import InputError
from laconic.evaluation.imaging import reconstruction
from laconic.evaluation.imaging.reconstruction import Settings, half_sets, reconstruct, variance_map
from laconic.evaluation.imaging.views import rotations_of, shifts_of
from laconic.imaging import rotations, slices
from laconic.imaging.phantoms import random_blobs

SIZE, NUMBER = 12, 50


@pytest.fixture
def particles(tmp_path: Path) -> Particles:
    generator = torch.Generator().manual_seed(0)
    turns = rotations.uniform(NUMBER, generator)
    volume = random_blobs(6, 2.0, 1.3, generator).volume(SIZE)
    images = slices.project(volume, turns).float().numpy()
    path = tmp_path / "p.mrcs"
    path.write_bytes(b"".join(stack_bytes([images], NUMBER, SIZE, 3.0)))
    return Particles(
        stacks=(path,),
        stack=np.zeros(NUMBER, np.int64),
        index=np.arange(NUMBER),
        size=SIZE,
        pixel_size=3.0,
        angles=rotations.to_angles(turns).numpy(),
        origins=np.zeros((NUMBER, 2)),
        optics=None,
        half=None,
    )


def test_half_sets_alternate_where_the_file_has_none(particles: Particles) -> None:
    first, second = half_sets(particles)
    assert sorted([*first, *second]) == list(range(NUMBER))
    assert abs(len(first) - len(second)) <= 1


def test_an_interrupted_run_goes_on(
    particles: Particles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconstruction, "BATCH", 8)
    monkeypatch.setattr(reconstruction, "SAVE_SECONDS", 0.0)
    whole = reconstruct(particles, Settings())
    saved = tmp_path / "partial"
    seen: list[int] = []

    def stop(done: int, total: int) -> None:
        seen.append(done)
        if done > 30 and not saved.with_name("stopped").exists():
            saved.with_name("stopped").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reconstruct(particles, Settings(), saved, stop)
    with pytest.raises(InputError, match="other particles or settings"):
        reconstruct(particles, Settings(invert=True), saved)
    before = len(seen)
    again = reconstruct(particles, Settings(), saved, stop)
    assert seen[before] > 8
    assert not saved.exists()
    assert torch.allclose(
        again.whole.posterior.mean, whole.whole.posterior.mean, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("size", [8, 9])
def test_a_variance_map_is_even(size: int) -> None:
    shape = (size, size, size)
    volume = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    spectrum = torch.fft.rfftn(volume).abs()
    from laconic.imaging.posterior import VolumePosterior

    shown = variance_map(VolumePosterior(spectrum.to(torch.complex64), spectrum, size))
    whole = torch.fft.fftshift(torch.fft.fftn(volume).abs()).numpy()
    assert shown == pytest.approx(whole, rel=1e-4, abs=1e-4)


def test_too_large_a_box_says_how_much_it_takes() -> None:
    with pytest.raises(InputError, match="a box of 4096 pixels takes"):
        reconstruction.check_memory(4096)


def test_poses_out_of_range_are_refused(particles: Particles) -> None:
    assert particles.angles is not None
    wild = particles.angles.copy()
    wild[3, 1] = 1e5
    with pytest.raises(InputError, match="particle 4 has the angles"):
        rotations_of(replace(particles, angles=wild))
    far = particles.origins.copy()
    far[2, 0] = 1000.0
    with pytest.raises(InputError, match=r"particle 3: its origin .* lies outside"):
        shifts_of(replace(particles, origins=far))
