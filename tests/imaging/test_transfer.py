"""The contrast transfer function at frequencies that are worked out by hand."""

import math

import pytest
import torch

from laconic.imaging.transfer import contrast_transfer, wavelength


def of_one(defocus: list[float], amplitude: float = 0.1, aberration: float = 2.7) -> torch.Tensor:
    values = [torch.tensor([v], dtype=torch.float64) for v in (300.0, aberration, amplitude)]
    angles = torch.tensor([defocus], dtype=torch.float64)
    return contrast_transfer(64, 2.0, angles, *values)[0]


def test_wavelengths_are_relativistic() -> None:
    """300 kV: 0.0197 angstroms, 100 kV: 0.0370."""
    found = wavelength(torch.tensor([300.0, 100.0]))
    assert found.tolist() == pytest.approx([0.01969, 0.03701], abs=2e-5)


def test_values_follow_the_formula() -> None:
    found = of_one([15000, 15000, 0])
    length = 0.019687
    for x in (0, 3, 11):
        k = x / 128
        turn = math.pi * length * 15000 * k**2 - math.pi / 2 * 2.7e7 * length**3 * k**4
        assert float(found[0, x]) == pytest.approx(math.sin(turn + math.asin(0.1)), abs=2e-3)


def test_the_first_defocus_lies_along_its_angle() -> None:
    found = of_one([20000, 10000, 90], 0.0, 0.0)
    only = of_one([20000, 20000, 0], 0.0, 0.0), of_one([10000, 10000, 0], 0.0, 0.0)
    assert torch.allclose(found[:, 0], only[0][:, 0])
    assert torch.allclose(found[0], only[1][0])


def test_low_frequencies_are_positive() -> None:
    assert float(of_one([15000, 15000, 0])[0, :4].min()) > 0
