"""What is known of a map: from variances, from half maps; the noise that it may get."""

import numpy as np
import pytest
import torch

from laconic.codecs.volume import noise
from laconic.errors import InputError
from laconic.metrics.fourier_shells import shell_correlation


def test_variances_give_the_share_of_truth(density: np.ndarray, variance: np.ndarray) -> None:
    share = noise.share_from_variance(density, variance)
    power = noise.shell_power(density)
    assert share == pytest.approx(power / (power + 0.0025), rel=1e-5)


def test_coefficients_that_are_not_there_do_not_count(density: np.ndarray) -> None:
    """Half of the frequencies were not seen: the map has nothing there, and a large variance."""
    size = len(density)
    spectrum = np.fft.fftshift(np.fft.fftn(density))
    unseen = np.abs(np.arange(size) - size // 2) > 2
    unseen[0] = True
    spectrum[unseen] = 0
    seen = np.fft.ifftn(np.fft.ifftshift(spectrum)).real.astype(np.float32)
    variance = np.full((size,) * 3, 1e-4, np.float32)
    variance[unseen] = 1
    share = noise.share_from_variance(seen, variance)
    power = noise.shell_power(seen)
    assert share == pytest.approx(power / (power + 1e-4), rel=1e-3)


def test_half_maps_give_the_share_of_truth() -> None:
    """White truth and white noise: 2 F / (1 + F) is the share in the mean of the halves."""
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(24,) * 3)
    halves = [(truth + rng.normal(size=truth.shape)).astype(np.float32) for _ in range(2)]
    share = noise.share_from_halves(halves[0], halves[1])
    assert share[4:].mean() == pytest.approx(2 / 3, abs=0.03)
    apart = [rng.normal(size=truth.shape).astype(np.float32) for _ in range(2)]
    assert (noise.share_from_halves(apart[0], apart[1])[2:] == 0).mean() > 0.8


@pytest.mark.parametrize("loss", [0.001, 0.01, 0.1])
def test_noise_takes_no_more_correlation_than_allowed(loss: float) -> None:
    rng = np.random.default_rng(2)
    size = 40
    truth = rng.normal(size=(size,) * 3)
    known = truth + rng.normal(size=truth.shape)
    share = np.full(size // 2 + 1, 0.5)
    added = noise.noise_variances(known.astype(np.float32), share, loss)
    assert np.all(added <= 1.3)  # Of the error's 1.
    noisy = known + np.sqrt(added.mean()) * rng.normal(size=truth.shape)
    before, after = (
        shell_correlation(torch.from_numpy(one), torch.from_numpy(truth))[3:].mean()
        for one in (known, noisy)
    )
    assert float(before - after) == pytest.approx(loss, rel=0.2, abs=8e-4)


def test_shells_of_noise_are_not_kept(density: np.ndarray) -> None:
    share = np.zeros(len(density) // 2 + 1)
    added = noise.noise_variances(density, share, 0.01)
    assert np.all(added >= noise.MOST_NOISE * noise.shell_power(density) * 0.999)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v[:-2, :-2, :-2], "box of 16 voxels"),
        (lambda v: v - 1, "below 0"),
        (lambda v: v * np.arange(1, 19, dtype=np.float32), "not one of Fourier coefficients"),
    ],
)
def test_what_is_no_variance_is_refused(
    density: np.ndarray, variance: np.ndarray, change: object, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        noise.share_from_variance(density, change(variance))  # type: ignore[operator]


def test_a_map_of_one_value_is_refused() -> None:
    flat = np.ones((8, 8, 8), np.float32)
    with pytest.raises(InputError, match="all voxels"):
        noise.noise_variances(flat, np.ones(5), 0.01)
