"""The closed form against the model that it solves, by gradients, enumeration and simulation."""

import pytest
import torch
from torch import Tensor

from laconic.errors import InputError
from laconic.imaging import posterior, rotations, slices
from laconic.imaging.empirical import Fit, fit, mean_under
from laconic.imaging.phantoms import random_blobs
from laconic.imaging.posterior import VolumePosterior, over_shells
from laconic.imaging.statistics import Statistics, Views
from laconic.metrics.fourier_shells import shell_correlation

SIZE = 24


def simulated(number: int, noise: float, seed: int = 0) -> tuple[Tensor, Views]:
    """A volume of unit variance and images of it."""
    generator = torch.Generator().manual_seed(seed)
    volume = random_blobs(30, 0.22 * SIZE, 1.3, generator).volume(SIZE)
    volume = volume / volume.std()
    turns = rotations.uniform(number, generator)
    shifts = 3 * (torch.rand(number, 2, generator=generator, dtype=torch.float64) - 0.5)
    images = slices.project(volume, turns, shifts, wide=False)
    images = images + noise * torch.randn(images.shape, generator=generator, dtype=torch.float64)
    return volume.float(), Views(images.float(), turns, shifts)


def gathered(views: Views) -> Statistics:
    statistics = Statistics.empty(SIZE)
    statistics.insert(views)
    return statistics


def test_the_mean_is_the_minimum_of_the_objective() -> None:
    """The gradient of -log p(x, v) at the mean, by the operator itself, is 2 % of that at 0.

    The convolution stands for A' A up to the error of interpolation, which grows towards the faces
    of the box: the middle is compared.
    """
    noise = 8.0
    _, views = simulated(300, noise)
    found = posterior.solve(gathered(views), noise**2, 1.0)

    def gradient(volume: Tensor) -> Tensor:
        leaf = volume.double().requires_grad_()
        shown = slices.project(leaf, views.rotations, views.shifts, wide=False)
        loss = (shown - views.images).square().sum() / (2 * noise**2) + leaf.square().sum() / 2
        return torch.autograd.grad(loss, leaf)[0]

    start, middle = gradient(torch.zeros(SIZE, SIZE, SIZE)), (slice(6, 18),) * 3
    assert float(gradient(found.volume())[middle].norm() / start.norm()) < 0.02


@pytest.mark.parametrize("place", [(0, 0, 2), (2, 3, 1), (21, 5, 0), (1, 20, 6)])
def test_precisions_are_what_images_show_of_a_windowed_wave(place: tuple[int, int, int]) -> None:
    noise = 8.0
    _, views = simulated(300, noise)
    found = posterior.solve(gathered(views), noise**2, 1.0)
    window = torch.cos(torch.pi * (torch.arange(SIZE).double() - SIZE // 2) / SIZE).square()
    axis = torch.fft.fftfreq(SIZE, 1 / SIZE)
    offsets = torch.arange(SIZE).double() - SIZE // 2
    wave = torch.ones(SIZE, SIZE, SIZE, dtype=torch.complex128)
    for side, frequency in enumerate(place):
        turns = torch.exp(2j * torch.pi * axis[frequency] * offsets / SIZE) * window
        wave = wave * turns.reshape([SIZE if k == side else 1 for k in range(3)])
    volume = wave / wave.abs().square().sum().sqrt()
    seen = [
        slices.project(part, views.rotations, views.shifts, wide=False).square().sum()
        for part in (volume.real, volume.imag)
    ]
    expected = float(sum(seen)) / noise**2
    assert float(1 / found.variance[place] - 1) == pytest.approx(expected, rel=0.03)


def test_statistics_of_parts_add_up() -> None:
    _, views = simulated(40, 1.0)
    assert views.shifts is not None
    parts = [
        Views(views.images[part], views.rotations[part], views.shifts[part])
        for part in (slice(0, 10), slice(10, 20), slice(20, 30), slice(30, 40))
    ]
    whole = gathered(views)
    total = gathered(parts[0])
    for part in parts[1:]:
        total = total + gathered(part)
    assert total.number == whole.number == 40
    assert torch.allclose(total.data, whole.data, atol=1e-4)
    assert torch.allclose(total.weight, whole.weight, atol=1e-4)


def test_where_nothing_was_seen_the_posterior_is_the_prior() -> None:
    """Beams within 15 degrees of z leave a double cone about z unseen in Fourier space."""
    generator = torch.Generator().manual_seed(0)
    turns = rotations.cone(500, 15, generator)
    statistics = Statistics.empty(SIZE)
    statistics.insert(Views(torch.zeros(500, SIZE, SIZE), turns))
    found = posterior.solve(statistics, 1.0, 1.0)
    axis = torch.fft.fftfreq(SIZE, 1 / SIZE)
    z, y, x = torch.meshgrid(axis, axis, axis[: SIZE // 2 + 1].abs(), indexing="ij")
    radius = (z.square() + y.square() + x.square()).sqrt()
    elevation = torch.rad2deg(torch.arcsin(z.abs() / radius.clamp(min=1e-9)))
    inside = (radius > 6) & (radius < SIZE // 2 - 1)
    unseen, seen = inside & (elevation > 60), inside & (elevation < 10)
    assert float(found.variance[unseen].min()) > 0.9
    assert float(found.variance[seen].max()) < 0.05
    assert float(found.mean.abs().max()) == 0


def test_draws_have_the_posteriors_moments() -> None:
    _, views = simulated(60, 8.0)
    found = posterior.solve(gathered(views), 64.0, 1.0)
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([found.sample(generator) for _ in range(400)])
    assert float((draws.mean(0) - found.volume()).square().mean()) < 1.2 * float(
        found.variance.mean() / 400
    )
    spread = draws.var(0).mean()
    shared = (found.variance * posterior.multiplicity(SIZE)).sum() / SIZE**3
    assert float(spread) == pytest.approx(float(shared), rel=0.02)


def test_kl_is_that_of_independent_normals() -> None:
    _, views = simulated(60, 8.0)
    found = posterior.solve(gathered(views), 64.0, 1.0)
    counts = posterior.multiplicity(SIZE)
    real = torch.distributions.Normal(found.mean.real, found.variance.sqrt())
    divergence = torch.distributions.kl_divergence(real, torch.distributions.Normal(0.0, 1.0))
    # Of a pair of conjugates one gives the real part, the other the imaginary part.
    imaginary = found.mean.imag.square() / 2
    expected = ((divergence + imaginary) * counts).sum()
    assert float(found.kl(torch.ones(()))) == pytest.approx(float(expected), rel=1e-4)


def test_learned_variances_find_noise_and_resolution() -> None:
    """The square root of a / (1 + a) estimates the correlation with the truth: within .06."""
    noise = 8.0
    truth, views = simulated(600, noise, seed=1)
    found = fit(gathered(views), views=views)
    assert (found.noise[3:] / noise**2).numpy() == pytest.approx(1.0, abs=0.08)
    ratio = found.posterior.spectral_snr()
    estimate = (ratio / (1 + ratio)).sqrt()
    curve = shell_correlation(found.posterior.volume(), truth)
    signal = curve > 0.5
    assert float((estimate - curve)[signal].abs().mean()) < 0.06


def test_variances_must_be_positive() -> None:
    with pytest.raises(InputError, match="variances must be positive"):
        posterior.solve(Statistics.empty(SIZE), 0.0)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match=r"images: \(8, 8\) pixels"):
        Statistics.empty(SIZE).insert(Views(torch.zeros(1, 8, 8), torch.eye(3)[None]))


def test_the_mean_under_another_prior_is_exact_where_coefficients_are_seen_one_by_one() -> None:
    """m = g y with g = t^2 d / (1 + t^2 d): a new prior and noise change g alone."""
    size, generator = 6, torch.Generator().manual_seed(0)
    shape, shells = (size, size, size // 2 + 1), size // 2 + 1
    seen = torch.rand(shape, generator=generator) + 0.1
    data = torch.randn(*shape, 2, generator=generator)
    y = torch.view_as_complex(data)
    old = {"noise": torch.rand(shells) + 0.5, "prior": torch.rand(shells) + 0.5}
    new = {"noise": torch.rand(shells) + 0.5, "prior": torch.rand(shells) + 0.5}

    def made(noise: Tensor, prior: Tensor) -> VolumePosterior:
        precision = seen / over_shells(noise, size) + 1 / over_shells(prior, size)
        return VolumePosterior(y * seen / over_shells(noise, size) / precision, 1 / precision, size)

    found = mean_under(Fit(made(**old), **old), **new)
    torch.testing.assert_close(found, made(**new).mean)
