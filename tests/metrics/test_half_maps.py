"""Masks that pretend to resolution are corrected; local resolution finds where maps agree."""

import pytest
import torch

from laconic.errors import InputError
from laconic.metrics.fourier_shells import shell_correlation
from laconic.metrics.half_maps import (
    local_resolution,
    masked_correlation,
    randomise_phases,
    smooth,
    soft_mask,
)

SIZE = 24


def ball(radius: float) -> torch.Tensor:
    axis = torch.arange(SIZE).float() - SIZE // 2
    square = axis[:, None, None].square() + axis[:, None].square() + axis.square()
    return (square < radius**2).float()


def noise(seed: int) -> torch.Tensor:
    return torch.randn(SIZE, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def test_what_a_sharp_mask_adds_is_taken_away() -> None:
    """Two maps that share low frequencies alone agree falsely within a sharp mask."""
    shared = 30 * smooth(noise(0), 3.0) + 3
    maps = [shared + noise(1), shared + noise(2)]
    found = masked_correlation(*maps, ball(5), torch.Generator().manual_seed(0))
    high = slice(found.first + 3, SIZE // 2)
    assert float(found.masked[high].mean()) > 0.3
    assert abs(float(found.corrected[high].mean())) < 0.15
    assert torch.equal(found.plain, shell_correlation(*maps))
    assert torch.equal(found.corrected[: found.first], found.masked[: found.first])


def test_randomised_phases_keep_amplitudes() -> None:
    volume = noise(0)
    found = randomise_phases(volume, 5, torch.Generator().manual_seed(1))
    assert torch.allclose(torch.fft.rfftn(found).abs(), torch.fft.rfftn(volume).abs(), atol=1e-3)
    curve = shell_correlation(found, volume)
    assert curve[:5].numpy() == pytest.approx(1.0, abs=1e-6)
    assert float(curve[5:].abs().max()) < 0.5


def test_local_resolution_is_finer_where_maps_agree() -> None:
    """On the left the maps are the same, on the right each has noise of its own."""
    side = torch.zeros(SIZE, SIZE, SIZE)
    side[..., SIZE // 2 :] = 2.0
    shared = noise(0)
    found = local_resolution(shared + side * noise(1), shared + side * noise(2), 2.0, bands=3)
    assert float(found[..., 5].median()) < 5.0
    assert float(found[..., 18].median()) > 12.0


def test_a_mask_follows_the_density() -> None:
    mask = soft_mask(ball(6.0), edge=1.0)
    assert float(mask[12, 12, 12]) == pytest.approx(1.0, abs=0.01)
    assert float(mask[0, 0, 0]) == pytest.approx(0.0, abs=0.01)
    assert ((mask >= 0) & (mask <= 1)).all()


def test_a_mask_of_another_box_is_refused() -> None:
    with pytest.raises(InputError, match="mask:"):
        masked_correlation(noise(0), noise(1), torch.ones(8, 8, 8))
