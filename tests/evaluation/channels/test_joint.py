"""Photographs over a channel: any size, what is refused, pages."""

import numpy as np
import pytest
import torch

from laconic.channels.fading import FastRayleigh, SlowRayleigh
from laconic.channels.gaussian import ComplexAwgn, NoiseConfig
from laconic.channels.systems.photographs import PhotographConfig, PhotographSystem
from laconic.errors import ConfigError, InputError
from laconic.evaluation.channels.joint import transmit_joint, uses_of
from laconic.evaluation.channels.page import Shown, render

SMALL = PhotographConfig(
    block=8, bands=3, width=8, blocks=(1, 1), fine_width=4, fine_blocks=1, embedding=4
)


@pytest.fixture(scope="module")
def system() -> PhotographSystem:
    torch.manual_seed(0)
    made = PhotographSystem(SMALL)
    low = torch.rand(60, 3, 4, 4)
    made.prepare([torch.nn.functional.interpolate(low, (16, 16), mode="bilinear")])
    return made.eval()


def awgn(snr_db: float = 10.0) -> ComplexAwgn:
    return ComplexAwgn(NoiseConfig(snr_db))


@pytest.mark.parametrize(("height", "width"), [(8, 8), (17, 40)])
@pytest.mark.parametrize("channel", [ComplexAwgn, SlowRayleigh])
def test_any_size_passes_and_uses_are_counted(
    system: PhotographSystem, height: int, width: int, channel: type[ComplexAwgn]
) -> None:
    pixels = np.full((height, width, 3), 200, np.uint8)
    outcome = transmit_joint(system, pixels, channel(NoiseConfig(20.0)), 1 / 12)
    assert outcome.picture.shape == pixels.shape
    assert outcome.bands == 2
    blocks = -(-height // 8) * -(-width // 8)
    assert outcome.budget.uses == uses_of(system, height, width, 2) == blocks * 192 // 12


def test_the_same_seed_gives_the_same_picture(system: PhotographSystem) -> None:
    pixels = np.random.randint(0, 255, (16, 24, 3), dtype=np.uint8)
    found = []
    for _ in range(2):
        torch.manual_seed(5)
        found.append(transmit_joint(system, pixels, awgn(), 1 / 8).picture)
    assert (found[0] == found[1]).all()


def test_what_cannot_be_sent_is_refused(system: PhotographSystem) -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    with pytest.raises(InputError, match="7 x 16 pixels"):
        transmit_joint(system, pixels[:, :7], awgn(), 1 / 12)
    with pytest.raises(ConfigError, match="bandwidth"):
        transmit_joint(system, pixels, awgn(), 0.9)
    with pytest.raises(ConfigError, match="snr"):
        transmit_joint(system, pixels, awgn(30.0), 1 / 12)
    with pytest.raises(ConfigError, match="rayleigh-slow"):
        transmit_joint(system, pixels, FastRayleigh(NoiseConfig(10.0)), 1 / 12)


def test_the_page_needs_no_network_and_escapes_names() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    page = render("<b>", "5 dB", [Shown("Sent", pixels, ["8 x 8"]), Shown("Got", pixels, [])])
    assert "&lt;b&gt;" in page
    assert page.count("data:image/webp;base64,") == 2
    assert "https:" not in page
