"""Projections against analytic blobs, the adjoint, gradients, the two implementations."""

import pytest
import torch
from torch import Tensor

from laconic.errors import InputError
from laconic.imaging import position, rotations, slices
from laconic.imaging.phantoms import Blobs, random_blobs


def scene(size: int, number: int = 8) -> tuple[Blobs, Tensor, Tensor]:
    """Blobs within a fifth of the box from its origin, poses that turn, and shifts."""
    generator = torch.Generator().manual_seed(size)
    blobs = random_blobs(20, 0.2 * size - 1.5, 1.5, generator)
    shifts = 3 * (torch.rand(number, 2, generator=generator, dtype=torch.float64) - 0.5)
    return blobs, rotations.uniform(number, generator), shifts


def error(images: Tensor, truth: Tensor) -> float:
    return float((images - truth).norm() / truth.norm())


@pytest.mark.parametrize("size", [32, 33, 64, 65])
def test_slices_agree_with_analytic_projections(size: int) -> None:
    blobs, turns, shifts = scene(size)
    volume, truth = blobs.volume(size), blobs.images(size, turns, shifts)
    assert error(slices.project(volume, turns, shifts), truth) < 0.006
    assert error(slices.project(volume, turns, shifts, padding=3), truth) < 0.002
    assert error(slices.project(volume, turns, shifts, wide=False), truth) < 0.015


def test_conventions_of_position_space_are_the_same() -> None:
    """Linear interpolation blurs blobs by some percent; a wrong sign or transpose gives 100."""
    blobs, turns, shifts = scene(32)
    images = position.project(blobs.volume(32), turns, shifts)
    assert error(images, blobs.images(32, turns, shifts)) < 0.04


def test_one_blob_lies_where_the_convention_says() -> None:
    """A blob on the volume's x axis lies on the image's negative y axis for rot = 90."""
    blob = Blobs(*(torch.tensor(v, dtype=torch.float64) for v in ([[6.0, 0, 0]], [1.5], [1.0])))
    turn = rotations.from_angles(torch.tensor([[90.0, 0.0, 0.0]], dtype=torch.float64))
    shift = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    image = slices.project(blob.volume(32), turn, shift)[0]
    y, x = divmod(int(image.argmax()), 32)
    assert (x - 16, y - 16) == (2, -6)


def test_adding_is_the_adjoint_of_reading() -> None:
    size, grid = 16, 32
    generator = torch.Generator().manual_seed(0)
    turns = rotations.uniform(5, generator)
    volume = torch.randn(grid, grid, grid, generator=generator, dtype=torch.float64)
    images = torch.randn(5, size, size, generator=generator, dtype=torch.float64)
    spectrum, half = torch.fft.rfftn(volume), slices.to_slices(images)
    read = slices.read_slices(spectrum, turns, size)
    left = float((slices.to_images(read, size) * images).sum()) * size**2
    total = torch.zeros_like(spectrum)
    inside = slices.read_slices(torch.ones_like(spectrum), turns, size) != 0
    slices.add_slices(half * inside, turns, total)
    added = torch.fft.irfftn(slices.with_mirrors(total), s=volume.shape)
    right = float((added * volume).sum()) * grid**3
    assert left == pytest.approx(right, rel=1e-6)


def test_gradients_are_those_of_finite_differences() -> None:
    size = 8
    generator = torch.Generator().manual_seed(1)
    volume = torch.randn(size, size, size, generator=generator, dtype=torch.float64)
    angles = 360 * torch.rand(2, 3, generator=generator, dtype=torch.float64)
    shifts = torch.randn(2, 2, generator=generator, dtype=torch.float64)

    def images(v: Tensor, a: Tensor, t: Tensor) -> Tensor:
        return slices.project(v, rotations.from_angles(a), t, wide=False)

    leaves = tuple(leaf.requires_grad_() for leaf in (volume, angles, shifts))
    assert torch.autograd.gradcheck(images, leaves, atol=1e-5, fast_mode=True)


def test_torchs_operations_give_the_same_slices_and_gradients() -> None:
    blobs, turns, _ = scene(17, 3)
    spectrum = slices.to_spectrum(blobs.volume(17)).requires_grad_()
    axes = turns.clone().requires_grad_()
    found = []
    for read in (slices.read_slices, slices._read_by_torch):
        sliced = read(spectrum, axes, 17, 7.5)
        weights = torch.linspace(0, 1, sliced.numel()).reshape(sliced.shape)
        loss = (sliced.abs().square() * weights).sum()
        found.append((sliced, *torch.autograd.grad(loss, (spectrum, axes))))
    for compiled, reference in zip(*found, strict=True):
        assert torch.allclose(compiled, reference, rtol=1e-9, atol=1e-9)


def test_a_band_leaves_the_rest_zero() -> None:
    blobs, turns, _ = scene(32, 2)
    spectrum = slices.to_spectrum(blobs.volume(32))
    full = slices.read_slices(spectrum, turns, 32)
    low = slices.read_slices(spectrum, turns, 32, 5)
    y, x = slices.frequencies(32, low)
    inside = (32 * y).square() + (32 * x).square() <= 25
    assert torch.equal(low, full * inside)


@pytest.mark.parametrize(
    ("size", "band", "message"),
    [(16, 20.0, "band: 20.0 is not in"), (15, None, "size: 15 does not divide")],
)
def test_what_does_not_fit_is_refused(size: int, band: float | None, message: str) -> None:
    spectrum = slices.to_spectrum(torch.zeros(16, 16, 16))
    with pytest.raises(InputError, match=message):
        slices.read_slices(spectrum, torch.eye(3)[None], size, band)


def test_a_volume_must_be_a_cube() -> None:
    with pytest.raises(InputError, match="not that of a cube"):
        slices.to_spectrum(torch.zeros(4, 4, 5))
