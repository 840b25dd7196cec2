"""The posterior by gradients against the closed form, and its bound against Monte Carlo."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from laconic.errors import InputError
from laconic.imaging import posterior, rotations, slices
from laconic.imaging.phantoms import random_blobs
from laconic.imaging.statistics import Statistics, Views
from laconic.imaging.variational import Descent, VariationalVolume, chosen_of, descend
from laconic.metrics.fourier_shells import multiplicity, shell_correlation, shell_sums
from laconic.threads import using

SIZE, IMAGES, NOISE = 12, 150, 3.0


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The volumes are tiny: threads would wait for each other."""
    with using(1):
        yield


@pytest.fixture(scope="module")
def views() -> Views:
    generator = torch.Generator().manual_seed(0)
    volume = random_blobs(10, 2.6, 1.2, generator).volume(SIZE).float()
    turns = rotations.uniform(IMAGES, generator)
    images = slices.project(volume / volume.std(), turns, wide=False).float()
    return Views(images + NOISE * torch.randn(images.shape, generator=generator), turns)


@pytest.fixture(scope="module")
def closed(views: Views) -> posterior.VolumePosterior:
    statistics = Statistics.empty(SIZE)
    statistics.insert(views)
    return posterior.solve(statistics, NOISE**2, 1.0)


@pytest.fixture(scope="module")
def noise() -> Tensor:
    return torch.tensor(NOISE**2)


def test_gradients_find_the_closed_form(
    views: Views, closed: posterior.VolumePosterior, noise: Tensor
) -> None:
    """Means agree to an FSC of .93 in this small box, variances of shells within 15 %.

    The closed form takes A' A for a convolution, which is a few percent off towards the box's
    faces, and its variances are of waves under a window.
    """
    how = Descent(epochs=50, batch=50, rate=0.15)
    found = descend(chosen_of(views), IMAGES, SIZE, noise=noise, prior=torch.ones(()), how=how)
    curve = shell_correlation(found.fit.posterior.volume(), closed.volume())
    assert float(curve[:-1].min()) > 0.93
    assert float(curve[1:4].min()) > 0.97
    ratio = shell_sums(found.fit.posterior.variance, SIZE) / shell_sums(closed.variance, SIZE)
    assert ratio[1:-1].numpy() == pytest.approx(1.0, abs=0.15)
    assert found.bounds_nats[-1] < found.bounds_nats[0]


def test_the_delta_posterior_is_the_closed_forms_mean(
    views: Views, closed: posterior.VolumePosterior, noise: Tensor
) -> None:
    """To the same degree."""
    how = Descent(epochs=50, batch=50, rate=0.15)
    found = descend(
        chosen_of(views), IMAGES, SIZE, kind="delta", noise=noise, prior=torch.ones(()), how=how
    )
    curve = shell_correlation(found.fit.posterior.volume(), closed.volume())
    assert float(curve[:-1].min()) > 0.93
    assert float(found.fit.posterior.variance.max()) == 0


def test_noise_is_learned(views: Views) -> None:
    how = Descent(epochs=50, batch=50, rate=0.15)
    found = descend(chosen_of(views), IMAGES, SIZE, how=how)
    assert (found.fit.noise[2:-1] / NOISE**2).numpy() == pytest.approx(1.0, abs=0.2)


def test_divergence_is_the_posteriors() -> None:
    prior = torch.linspace(2.0, 0.5, SIZE // 2 + 1)
    volume = VariationalVolume(SIZE, torch.ones(SIZE // 2 + 1), prior, prior.sqrt())
    with torch.no_grad():
        volume.centre.copy_(torch.randn(volume.centre.shape))
    expected = posterior.VolumePosterior(
        volume.mean().detach(), (volume.log_scale.exp() * volume.unit).square().detach(), SIZE
    ).kl(posterior.over_shells(prior, SIZE))
    assert float(volume.kl().detach()) == pytest.approx(float(expected), rel=1e-4)


def test_the_bound_of_all_batches_is_the_bound(views: Views) -> None:
    """(5.15) summed over batches is (5.14); a delta posterior has no draw, so it is exact."""
    ones = torch.ones(SIZE // 2 + 1)
    volume = VariationalVolume(SIZE, ones, ones, ones, "delta")
    with torch.no_grad():
        volume.centre.copy_(torch.randn(volume.centre.shape))
    choose = chosen_of(views)
    parts = torch.arange(IMAGES).split(40)
    total = sum(float(volume.bound(choose(part), IMAGES, 2, None).detach()) for part in parts)
    whole = float(volume.bound(views, IMAGES, 2, None).detach())
    assert total == pytest.approx(whole, rel=1e-5)


def test_a_drawn_volume_costs_what_the_variances_say(views: Views, noise: Tensor) -> None:
    """E |A s e|^2 / (2 noise) = half the sum of variances over closed-form diagonals, by draws."""
    ones = torch.ones(SIZE // 2 + 1)
    volume = VariationalVolume(SIZE, noise * ones, ones, ones)
    generator = torch.Generator().manual_seed(1)
    few = chosen_of(views)(torch.arange(10))
    drawn = [float(volume.bound(few, 10, 2, generator).detach()) for _ in range(20)]
    middle = posterior.to_space(volume.mean(), SIZE)
    seen = slices.to_slices(few.images)
    at_mean = float((volume.fidelity(few, seen, middle, 2) + volume.kl()).detach())
    statistics = Statistics.empty(SIZE)
    statistics.insert(few)
    precision = 1 / posterior.solve(statistics, float(noise), 1.0).variance - 1
    variance = (volume.log_scale.exp() * volume.unit).square().detach()
    expected = 0.5 * float((precision * variance * multiplicity(SIZE)).sum())
    extra = sum(drawn) / len(drawn) - at_mean
    assert extra == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "point"}, "kind: 'point' is not one of gaussian, delta"),
        ({"kind": "delta"}, "a delta posterior cannot learn it"),
        ({"number": 0}, "images: there are none"),
    ],
)
def test_what_cannot_be_is_refused(
    views: Views, arguments: dict[str, object], message: str
) -> None:
    settings = {"number": IMAGES, "size": SIZE, **arguments}
    with pytest.raises(InputError, match=message):
        descend(chosen_of(views), **settings)  # type: ignore[arg-type]


def test_settings_must_be_positive() -> None:
    with pytest.raises(InputError, match="epochs: 0 is not positive"):
        Descent(epochs=0)
