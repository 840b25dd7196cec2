"""The search against scores by torch, against all poses of a grid, and against the truth."""

import math

import pytest
import torch
from torch import Tensor

from laconic.errors import InputError
from laconic.imaging import rotations, slices
from laconic.imaging.phantoms import random_blobs
from laconic.imaging.poses import kernels
from laconic.imaging.poses.axes import laid_on_axes, rotated
from laconic.imaging.poses.newton import polish
from laconic.imaging.poses.samples import Middle, Observed, Plane, axes_of
from laconic.imaging.poses.search import Search, SearchSettings

SIZE, BAND = 24, 9


def scene(number: int, noise: float, group: str = "C1") -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A volume with this symmetry, images of it, and their poses."""
    generator = torch.Generator().manual_seed(number)
    volume = random_blobs(12, 6.0, 1.3, generator).volume(SIZE)
    for turn in rotations.symmetry(group)[1:]:
        volume = volume + rotated(volume, turn) if group == "C2" else volume
    volume = volume / volume.std()
    turns = rotations.uniform(number, generator)
    shifts = 2 * torch.rand(number, 2, generator=generator, dtype=torch.float64) - 1
    images = slices.project(volume, turns, shifts, wide=False)
    images = images + noise * torch.randn(images.shape, generator=generator, dtype=torch.float64)
    return volume.float(), images.float(), turns, shifts


def test_lists_and_tangents_are_those_of_the_operator() -> None:
    volume, _, turns, _ = scene(4, 0.0)
    spectrum, plane = slices.to_spectrum(volume), Plane.within(SIZE, BAND)
    middle = Middle.of(spectrum, SIZE, BAND)
    expected = plane.gather(slices.read_slices(spectrum, turns, SIZE)) / SIZE
    assert torch.allclose(plane.read(middle, turns), expected, atol=1e-4)
    read = plane.tangents(middle, turns)
    assert torch.allclose(read[:, 0], expected, atol=1e-4)
    # Weighted sums of the slices' real parts, differentiated by the operator.
    weights = torch.linspace(-1, 1, len(plane))
    vectors = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    moved = slices.read_slices(spectrum, rotations.from_vectors(vectors) @ turns, SIZE)
    loss = ((plane.gather(moved) / SIZE).real * weights).sum()
    gradient = torch.autograd.grad(loss, vectors)[0].float()
    assert torch.allclose((read[:, 1:].real * weights).sum(-1), gradient, rtol=1e-3, atol=1e-2)


def test_scores_are_log_likelihoods() -> None:
    """With a transfer function, at nine shifts, against the images themselves."""
    volume, images, turns, shifts = scene(3, 3.0)
    transfer = 0.5 + torch.rand(3, SIZE, SIZE // 2 + 1, generator=torch.Generator().manual_seed(1))
    noise = torch.linspace(2, 9, SIZE // 2 + 1)
    spectrum, plane = slices.to_spectrum(volume), Plane.within(SIZE, BAND)
    middle, observed = Middle.of(spectrum, SIZE, BAND), Observed.of(plane, images, transfer, noise)
    scores = torch.empty(3, 9)
    kernels.score(
        middle.array, axes_of(turns), torch.arange(3).numpy(), shifts.numpy(), 0.5,
        observed.data.numpy(), observed.power.numpy(), *plane.places(middle), scores.numpy(),
    )  # fmt: skip
    data = plane.gather(slices.to_slices(images)) / SIZE
    read = plane.read(middle, turns) * plane.gather(transfer)
    for number in range(9):
        step = 0.5 * torch.tensor([number % 3 - 1, number // 3 - 1])
        left = data - read * plane.phases(shifts + step)
        expected = (data.abs().square() - left.abs().square()) / plane.over_shells(noise)
        assert torch.allclose(scores[:, number], expected.sum(1), rtol=1e-3, atol=1e-2)


def test_the_bound_keeps_the_best_pose() -> None:
    """The search's score is at least that of the maximum next to the true pose."""
    noise = 6.0
    volume, images, turns, shifts = scene(24, noise)
    variances = torch.full((SIZE // 2 + 1,), noise**2)
    spectrum = slices.to_spectrum(volume)
    found = Search(spectrum, SIZE, variances, BAND, SearchSettings(spacing=12, reach=2))(images)
    plane = Plane.within(SIZE, BAND)
    near = polish(
        Observed.of(plane, images, None, variances), Middle.of(spectrum, SIZE, BAND),
        turns[:, None], shifts[:, None], torch.zeros(24, 1), rotations.symmetry("C1"), reach=0.05,
    )  # fmt: skip
    assert float((found.evidence - near.evidence).min()) > -0.5
    angles = rotations.distance(found.rotations[:, 0], turns)
    assert float(angles.median()) < 3
    assert float((found.shifts[:, 0] - shifts).norm(dim=1).median()) < 0.3
    assert torch.allclose(found.weights.sum(1), torch.ones(24, dtype=found.weights.dtype))
    # The posterior's own width is that of the errors, within a factor of two.
    assert 0.5 < float(found.spread().median() / angles.median()) < 2


def test_symmetric_poses_are_searched_once() -> None:
    volume, images, turns, _ = scene(12, 4.0, "C2")
    variances = torch.full((SIZE // 2 + 1,), 16.0)
    search = Search(
        slices.to_spectrum(volume),
        SIZE,
        variances,
        BAND,
        SearchSettings(spacing=15, reach=1.5),
        "C2",
    )
    found = search(images)
    angles = rotations.distance(found.rotations[:, 0], turns, rotations.symmetry("C2"))
    assert float(angles.median()) < 3
    assert float(found.entropy().max()) < math.log(4)


def test_a_symmetric_volume_is_laid_on_its_axes() -> None:
    generator = torch.Generator().manual_seed(5)
    blobs = random_blobs(8, 5.0, 1.6, generator).volume(SIZE)
    group = rotations.symmetry("C4")
    volume = torch.stack([rotated(blobs, turn) for turn in group]).sum(0)
    crooked = rotated(volume, rotations.uniform(1, generator)[0])
    same, identity = laid_on_axes(volume, group, 8)
    assert torch.equal(identity, torch.eye(3, dtype=torch.float64))
    assert same is volume
    straight, _ = laid_on_axes(crooked, group, 8)
    gap = (rotated(straight, group[1]) - straight).norm() / straight.norm()
    assert float(gap) < 0.25 < float((rotated(crooked, group[1]) - crooked).norm() / crooked.norm())


def test_settings_are_checked() -> None:
    with pytest.raises(InputError, match="shifts: -1 pixels"):
        SearchSettings(reach=-1)
    with pytest.raises(InputError, match="doubt: 2"):
        SearchSettings(doubt=2)
