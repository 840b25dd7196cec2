"""PSNR against scikit-image, MS-SSIM against its laws and its authors' code."""

import math

import numpy as np
import pytest

from laconic.errors import InputError
from laconic.metrics import ms_ssim, ms_ssim_db, psnr


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth coloured picture."""
    rows, columns = np.mgrid[:height, :width]
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    waves = np.sin(rows[..., None] / 17 + phase) * np.cos(columns[..., None] / 23 + phase)
    return np.round(127 + 100 * waves).astype(np.uint8)


def noisy(image: np.ndarray, scale: float) -> np.ndarray:
    """The picture with Gaussian noise of `scale` grey levels."""
    noise = np.random.default_rng(1).normal(0, scale, image.shape)
    return np.clip(np.round(image + noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("scale", [0.5, 3.0, 40.0])
def test_psnr_agrees_with_scikit_image(scale: float) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    image = picture(33, 47)
    other = noisy(image, scale)
    expected = metrics.peak_signal_noise_ratio(image, other, data_range=255)
    assert psnr(image, other) == pytest.approx(expected, abs=1e-9)


def test_psnr_does_not_wrap_around() -> None:
    black, white = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)
    assert psnr(black, white) == psnr(white, black) == 0


def test_equal_pictures() -> None:
    image = picture(161, 161)
    assert psnr(image, image) == math.inf
    assert ms_ssim(image, image) == pytest.approx(1, abs=1e-6)


def test_ms_ssim_falls_with_noise() -> None:
    image = picture(200, 180)
    values = [ms_ssim(image, noisy(image, scale)) for scale in (2, 8, 32)]
    assert 1 > values[0] > values[1] > values[2] > 0


def test_ms_ssim_agrees_with_a_plain_numpy_version() -> None:
    image = picture(176, 192)
    other = noisy(image, 12)
    assert ms_ssim(image, other) == pytest.approx(plain_ms_ssim(image, other), abs=2e-5)


def plain_ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al. 2003 in float64, written out: valid windows, 2x2 means between the scales."""
    signal = pytest.importorskip("scipy.signal")
    taps = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()

    def blur(channel: np.ndarray) -> np.ndarray:
        return signal.convolve2d(channel, np.outer(taps, taps), mode="valid")

    def scale(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        mean_x, mean_y = blur(x), blur(y)
        structure = (2 * (blur(x * y) - mean_x * mean_y) + 58.5225) / (
            blur(x * x) - mean_x**2 + blur(y * y) - mean_y**2 + 58.5225
        )
        light = (2 * mean_x * mean_y + 6.5025) / (mean_x**2 + mean_y**2 + 6.5025)
        return float(structure.mean()), float((light * structure).mean())

    totals = []
    for channel in range(3):
        x, y, total = a[..., channel].astype(float), b[..., channel].astype(float), 1.0
        for level, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
            structure, full = scale(x, y)
            total *= (full if level == 4 else structure) ** weight
            x, y = (
                z.reshape(len(z) // 2, 2, -1, 2).mean((1, 3)) if level < 4 else z for z in (x, y)
            )
        totals.append(total)
    return float(np.mean(totals))


def test_small_pictures_have_no_ms_ssim() -> None:
    assert math.isnan(ms_ssim(picture(160, 300), picture(160, 300)))
    assert not math.isnan(ms_ssim(picture(161, 300), picture(161, 300)))


def test_decibels() -> None:
    assert ms_ssim_db(0.9) == pytest.approx(10)
    assert ms_ssim_db(1.0) == math.inf


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros((4, 4, 3)), np.zeros((4, 4, 3))),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)),
        (np.zeros((0, 4, 3), np.uint8), np.zeros((0, 4, 3), np.uint8)),
    ],
)
def test_other_arrays_are_refused(a: np.ndarray, b: np.ndarray) -> None:
    with pytest.raises(InputError):
        psnr(a, b)
    with pytest.raises(InputError):
        ms_ssim(a, b)
