"""Shells of half spectra against whole ones, correlations of known value."""

import pytest
import torch

from laconic.errors import InputError
from laconic.metrics.fourier_shells import resolution, shell_correlation, shell_sums


@pytest.mark.parametrize("size", [8, 9])
def test_sums_are_those_of_whole_spectra(size: int) -> None:
    volume = torch.rand(size, size, size, generator=torch.Generator().manual_seed(0))
    half = shell_sums(torch.fft.rfftn(volume).abs().square(), size)
    whole = torch.fft.fftn(volume).abs().square()
    axis = torch.fft.fftfreq(size, 1 / size)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    shells = (z * z + y * y + x * x).sqrt().round()
    for shell in range(size // 2 + 1):
        assert float(half[shell]) == pytest.approx(float(whole[shells == shell].sum()), rel=1e-4)


def test_correlations_of_a_volume_with_itself_its_negative_and_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    volume, noise = torch.randn(2, 32, 32, 32, generator=generator)
    assert shell_correlation(volume, volume).numpy() == pytest.approx(1)
    assert shell_correlation(volume, -volume).numpy() == pytest.approx(-1)
    # Independent: standard deviation 1 / sqrt(places), under .03 from shell 8 on; five of them.
    assert float(shell_correlation(volume, noise)[8:].abs().max()) < 0.15
    half = shell_correlation(volume, volume + noise)[8:]
    assert half.numpy() == pytest.approx(0.5**0.5, abs=0.1)


def test_resolutions_are_interpolated() -> None:
    curve = torch.tensor([1.0, 1.0, 0.9, 0.4, 0.1])
    # Between shells 2 and 3, at 2.8 of 4; Nyquist's wavelength is 6.
    assert resolution(curve, 3.0, 0.5) == pytest.approx(6 * 4 / 2.8)
    assert resolution(torch.ones(5), 3.0, 0.5) == 6
    assert resolution(torch.tensor([1.0, 0.1, 0.0]), 3.0, 0.5) == 12


def test_other_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="not equal cubes"):
        shell_correlation(torch.zeros(4, 4, 4), torch.zeros(5, 5, 5))
