"""The system for photographs: power, bands, the receiver's knowledge, its range."""

import math

import pytest
import torch
from torch import Tensor

from laconic.channels.systems.photographs import PhotographConfig, PhotographSystem, Point
from laconic.errors import ConfigError

SMALL = PhotographConfig(
    block=8,
    bands=3,
    band_share=24,
    width=8,
    blocks=(1, 1),
    fine_width=4,
    fine_blocks=1,
    embedding=4,
)


def smooth(count: int, side: int = 16) -> Tensor:
    """Pictures of a few waves."""
    torch.manual_seed(3)
    low = torch.rand(count, 3, 4, 4)
    return torch.nn.functional.interpolate(low, (side, side), mode="bicubic").clamp(0, 1)


@pytest.fixture(scope="module")
def system() -> PhotographSystem:
    torch.manual_seed(0)
    made = PhotographSystem(SMALL)
    made.prepare([smooth(200)])
    return made.eval().requires_grad_(False)


@pytest.mark.parametrize("bands", [1, 3])
def test_power_is_one_per_complex_use_of_the_bands_that_pass(
    system: PhotographSystem, bands: int
) -> None:
    y = system.encode(smooth(2), Point.of(10.0, bands, 2))
    uses = bands * SMALL.band_numbers * 4 / 2
    torch.testing.assert_close(y.square().sum((1, 2, 3)) / uses, torch.ones(2))
    assert not y[:, bands * SMALL.band_numbers :].any()


def test_untrained_it_is_a_linear_code_that_improves_with_ratio_and_bands(
    system: PhotographSystem,
) -> None:
    x = smooth(20, 32)
    errors = []
    for snr_db, bands in ((0.0, 1), (0.0, 3), (20.0, 1), (20.0, 3)):
        point = Point.of(snr_db, bands, len(x))
        y = system.encode(x, point)
        z = y + point.noise_scale * torch.randn_like(y)
        errors.append(float((system.decode(z, point) - x).square().mean()))
    assert errors[0] > errors[1] > errors[3]
    assert errors[0] > errors[2] > errors[3]
    assert errors[0] < float(x.var())


def test_the_receiver_finds_the_scale_by_the_pilot(system: PhotographSystem) -> None:
    """Pictures of little contrast come back as such, although all codewords have one power."""
    x = 0.5 + 0.3 * (smooth(8, 32) - 0.5)
    point = Point.of(20.0, 3, 8)
    shown = system.decode(system.encode(x, point), point)
    assert float((shown - x).square().mean()) < 0.2 * float((x - 0.5).square().mean())


def test_lost_bands_are_not_looked_at(system: PhotographSystem) -> None:
    point = Point.of(5.0, 1, 2)
    y = system.encode(smooth(2), point)
    noisy = y.clone()
    noisy[:, SMALL.band_numbers :] = 100.0
    torch.testing.assert_close(system.decode(y, point), system.decode(noisy, point))


def test_every_parameter_learns() -> None:
    made = PhotographSystem(SMALL)
    made.prepare([smooth(50)])
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if not name.startswith(("transform", "gains")):
                parameter += 0.05 * torch.randn_like(parameter)
    loss, terms = made.loss(smooth(6))
    loss.backward()
    missing = [name for name, p in made.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []
    assert terms.distortion.shape == (6,)


@pytest.mark.parametrize(
    ("bandwidth", "message"),
    [(0.0, "above 0"), (math.nan, "above 0"), (0.01, "outside"), (0.5, "outside")],
)
def test_bandwidths_beyond_the_model_are_refused(bandwidth: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SMALL.bands_of(bandwidth)


def test_the_range_of_the_model() -> None:
    assert [SMALL.bands_of(k / 24) for k in (1, 2, 3)] == [1, 2, 3]
    assert SMALL.bands_of(0.0833) == 2
    assert SMALL.check_snr_db(20.0) == 20.0
    for snr_db in (-0.1, 20.1, math.nan):
        with pytest.raises(ConfigError, match="0 to 20 dB"):
            SMALL.check_snr_db(snr_db)


@pytest.mark.parametrize(
    "change", [{"snr_db": (5.0, 5.0)}, {"bands": 0}, {"block": 7}, {"bands": 20}, {"pilot": 0.0}]
)
def test_sizes_that_cannot_be(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        PhotographConfig(**change)  # type: ignore[arg-type]
