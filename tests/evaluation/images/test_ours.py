"""Our codec in an evaluation, and exact draws, with a model small enough to reason about."""

import math

import numpy as np
import pytest
import torch

from laconic.codecs.image.codec import ImageCodec
from laconic.evaluation.images.ours import OurCodec, context_of, exact_draw
from laconic.evaluation.images.rate_distortion import measure_picture
from laconic.metrics import psnr
from laconic.models.base import LatentVariableModel


@pytest.fixture
def pixels() -> np.ndarray:
    blocks = np.random.default_rng(0).integers(60, 200, (22, 24, 3))
    return blocks.repeat(8, 0).repeat(8, 1)[:170, :188].astype(np.uint8)


@pytest.mark.parametrize("quality", [1, 50, 100])
def test_an_exact_draw_has_the_posterior_s_noise(
    tiny_model: LatentVariableModel, pixels: np.ndarray, quality: float
) -> None:
    """PSNR against the noiseless blocks is -10 log10 beta, within 4 standard errors of 1449 draws;
    rounding to 8 bits adds 1/12 of a squared grey level."""
    whole = pixels[:168, :184]
    generator = torch.Generator().manual_seed(1)
    beta = math.exp(float(context_of(tiny_model, 168, 184, quality).log_beta[0]))
    got = psnr(whole, exact_draw(tiny_model, whole, quality, generator))
    expected = -10 * math.log10(beta + 1 / 12 / 255**2)
    assert got == pytest.approx(expected, abs=4 * 4.34 * math.sqrt(2 / 1449))


def test_the_padding_is_cut_off(tiny_model: LatentVariableModel, pixels: np.ndarray) -> None:
    assert exact_draw(tiny_model, pixels, 50, torch.Generator()).shape == pixels.shape


def test_a_draw_follows_its_generator(tiny_model: LatentVariableModel, pixels: np.ndarray) -> None:
    draws = [
        exact_draw(tiny_model, pixels, 20, torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


@pytest.mark.parametrize("quality", [1.0, 37.0, 100.0])
def test_the_context_is_the_codec_s(tiny_model: LatentVariableModel, quality: float) -> None:
    from laconic.codecs.image.codec import quality_step

    codec = ImageCodec(tiny_model, "pixels", bytes(16))
    ours, theirs = (
        context_of(tiny_model, 33, 50, quality),
        codec.runtime.context(33, 50, quality_step(quality)),
    )
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours.log_beta, theirs.log_beta.float())


def test_our_codec_is_measured(tiny_model: LatentVariableModel, pixels: np.ndarray) -> None:
    codec = OurCodec(ImageCodec(tiny_model, "pixels", bytes(16)))
    got = measure_picture(codec, "blocks", pixels, 60)
    length = got.code_length
    assert length is not None
    assert length.file_bits == 8 * got.bytes
    assert len(length.levels) == 1
    assert 0 < length.overhead_bits < length.file_bits
    assert 0 < length.ideal_bits < length.theory_bits
    assert got.psnr > 20
    assert "pixels" in codec.description
