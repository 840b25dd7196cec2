"""The family "---" in integers: near the floats, the same for any batch, and good for archives."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from laconic.codecs.lossless.codec import Core, LosslessCodec
from laconic.codecs.lossless.file import make_coder
from laconic.errors import ConfigError
from laconic.evaluation.images.lossless import measure_set
from laconic.models.base import Condition, Context
from laconic.models.exact import BernoulliParameters, ExactLadder, Shape
from laconic.models.families.exact import log_scale
from laconic.models.families.family import Family
from laconic.models.families.networks import PRESETS, FamilyConfig

ONE = 2.0**16
SIZES = {
    "latents": 6,
    "encoder": ((4, 4, 2), (5, 3, 1)),
    "read_out": 8,
    "decoder_start": 4,
    "decoder": ((4, 5, 1), (4, 4, 2)),
    "last": (4, 1),
}


def make(**config: object) -> Family:
    torch.manual_seed(0)
    model = Family(FamilyConfig(**config)).eval()  # type: ignore[arg-type]
    nn.init.normal_(model.encoder.mean.weight, std=0.7)
    nn.init.constant_(model.encoder.variance.bias, -2.0)
    return model.requires_grad_(False)


def small() -> Family:
    return make(sizes=SIZES, side=8)


def pictures(count: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return (torch.rand(count, 1, height, width, generator=generator) < 0.3).double()


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_integers_are_the_floats_rounded(preset: str) -> None:
    """Within 1e-3, some 60 units of 2^-16, after all layers, at the sizes of both presets."""
    model = make(preset=preset).double()
    exact, x = model.exact_ladder(), pictures(2, 28, 28)
    context = Context((28, 28), Condition(torch.zeros(2, dtype=torch.float64)))
    known = exact.prior(0, exact.start(2, 28, 28))
    mean, scale = model.encode(x, context)
    found = exact.posterior(0, known, exact.encode(255 * x))
    assert float((found[0].flatten(1) / ONE - mean).abs().max()) < 1e-3
    assert float((found[1].flatten(1) / ONE - scale.log()).abs().max()) < 1e-3
    z = torch.floor(ONE * mean)
    logits = model.likelihood([z / ONE], context).base_dist.logits  # type: ignore[attr-defined]
    state = exact.take_in(0, known, z[:, :, None, None])
    for image, own in zip(
        exact.likelihood(state, Shape(2, 1, 28, 28)).given(x), logits, strict=True
    ):
        assert isinstance(image, BernoulliParameters)
        assert np.abs(image.logits[:, 0] / ONE - own.flatten().numpy()).max() < 1e-3


def test_a_picture_says_the_same_in_any_batch_and_as_a_cell_of_a_larger_one() -> None:
    exact = small().exact_ladder()
    assert isinstance(exact, ExactLadder)
    x = 255 * pictures(3, 16, 24)
    found = exact.encode(x)
    assert found.shape == (3, 12, 2, 3)
    assert torch.equal(exact.encode(x[1:2]), found[1:2])
    assert torch.equal(exact.encode(x[:, :, 8:, 8:16])[..., 0, 0], found[..., 1, 1])
    z = torch.floor(ONE * torch.randn(3, 6, 2, 3, dtype=torch.float64))
    whole = exact.likelihood(z, Shape(3, 1, 15, 24)).given(x)
    cell = exact.likelihood(z[2:, :, 1:, 1:2], Shape(1, 1, 7, 8)).given(x)
    inner = whole[2].logits.reshape(15, 24)[8:, 8:16]
    assert np.array_equal(cell[0].logits.reshape(7, 8), inner)


def test_log_scales_follow_the_encoders_formula() -> None:
    """½ ln(softplus(x) + 1e-6), constant beyond +-24."""
    x = torch.linspace(-24, 24, 997, dtype=torch.float64)
    found = log_scale()(torch.floor(ONE * x)) / ONE
    own = 0.5 * torch.log(torch.nn.functional.softplus(x) + 1e-6)
    assert float((found - own).abs().max()) < 5e-5
    far = log_scale()(torch.tensor([-1e9, 1e9], dtype=torch.float64)) / ONE
    assert far.tolist() == pytest.approx([0.5 * math.log(1e-6), 0.5 * math.log(24)], abs=1e-4)


@pytest.mark.slow
def test_an_archive_comes_back_and_costs_the_ideal() -> None:
    """200 pictures in one file, everything included; the header is what small sets pay for."""
    codec = LosslessCodec(Core(make_coder(small(), threads=1), "tiny", b"a family"))
    drawn = [x.numpy().astype(np.uint8) * 255 for x in pictures(200, 8, 8)[:, 0]]
    result = measure_set(drawn, codec)
    assert result.net_bytes == pytest.approx(result.ideal_bytes, rel=0.03)


def test_other_families_write_no_files() -> None:
    for name in ("+--", "-+-", "--v", "--+"):
        with pytest.raises(ConfigError, match="files need a normal posterior"):
            make(family=name).exact_ladder()
    large = small()
    nn.init.constant_(large.decoder.last.convolution.weight, 1e6)
    with pytest.raises(ConfigError, match="too large for exact"):
        large.exact_ladder()
