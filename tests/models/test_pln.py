"""The two-level ladder: the order of levels, the source's sizes. Common laws: test_vae.py."""

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal

from laconic.models.base import Condition, Context
from laconic.models.pln import PLN, PLN_PRESETS

pytestmark = pytest.mark.usefixtures("float64")

TINY = PLN_PRESETS["tiny"]


def picture_and_context(height: int = 64, width: int = 96) -> tuple[Tensor, Context]:
    context = Context((height, width), Condition(torch.full((2,), -3.0)))
    return torch.rand(2, 3, height, width), context


def test_posterior_equals_the_encoders_under_a_wide_prior() -> None:
    model = PLN(TINY)
    x, context = picture_and_context()
    features = model.encode(x, context)
    mean, scale = features[2:]
    wide = Normal(torch.full_like(mean, 50.0), torch.full_like(mean, 1e8))
    posterior = model.posterior(1, features, [], wide, context)
    assert torch.allclose(posterior.loc, mean)
    assert torch.allclose(posterior.scale, scale)


def test_posterior_equals_a_narrow_prior() -> None:
    model = PLN(TINY)
    x, context = picture_and_context()
    features = model.encode(x, context)
    narrow = Normal(torch.full_like(features[2], 0.7), torch.full_like(features[2], 1e-8))
    posterior = model.posterior(1, features, [], narrow, context)
    assert torch.allclose(posterior.loc, narrow.loc)
    assert torch.allclose(posterior.scale, narrow.scale)


def test_lower_posterior_is_narrower_than_both_that_it_combines() -> None:
    model = PLN(TINY)
    x, context = picture_and_context()
    scale = model.encode(x, context)[3]
    lower = model.draw_rungs(x, context)[1]
    assert (lower.posterior.scale < scale).all()
    assert (lower.posterior.scale < lower.prior.scale).all()


def test_top_latent_moves_the_lower_prior() -> None:
    model = PLN(TINY)
    _, context = picture_and_context()
    top = torch.randn(2, TINY.top, 2, 3)
    one, other = (model.prior(1, [z], context) for z in (top, -top))
    assert not torch.allclose(one.loc, other.loc)
    assert not torch.allclose(one.scale, other.scale)


def test_top_is_read_from_the_lower_mean_alone() -> None:
    """Flamich 3.2.2: the level-1 MEAN feeds the level-2 encoder, not its scale nor a draw."""
    model = PLN(TINY)
    x, context = picture_and_context()
    before = model.encode(x, context)
    for parameter in model.analysis.head.scale.parameters():
        nn.init.normal_(parameter)
    after = model.encode(x, context)
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])
    assert not torch.equal(before[3], after[3])


def test_top_scale_is_a_sigmoid() -> None:
    model = PLN(TINY)
    x, context = picture_and_context()
    for parameter in model.top_analysis.head.scale.parameters():
        nn.init.normal_(parameter, std=3.0)
    scale = model.encode(x, context)[1]
    assert ((scale > 0) & (scale < 1)).all()


def test_sizes_of_the_source() -> None:
    with torch.device("meta"):
        model = PLN(PLN_PRESETS["source"])
    x = torch.rand(1, 3, 512, 768, device="meta")
    context = Context((512, 768), Condition(torch.zeros(1, device="meta")))
    rungs = model.draw_rungs(x, context)
    assert [tuple(rung.latent.shape) for rung in rungs] == [(1, 24, 16, 24), (1, 128, 32, 48)]
    convolutions = [
        module for module in model.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    ]
    assert all(module.kernel_size == (5, 5) for module in convolutions)
    # Weights, by hand: 25 inputs outputs + outputs each; GDN and IGDN 196² + 196.
    n, m, f, g = 196, 128, 128, 24

    def conv(inputs: int, outputs: int) -> int:
        return 25 * inputs * outputs + outputs

    analysis = conv(3, n) + 2 * conv(n, n) + 3 * (n * n + n) + 2 * conv(n, f)
    top_analysis = conv(f, m) + conv(m, m) + 2 * conv(m, g)
    top_synthesis = conv(g, m) + conv(m, m) + 2 * conv(m, f)
    synthesis = conv(f, n) + 2 * conv(n, n) + 3 * (n * n + n) + conv(n, 3)
    expected = analysis + top_analysis + top_synthesis + synthesis
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


def test_unbounded_log_scales_are_bounded() -> None:
    model = PLN(TINY)
    x, context = picture_and_context()
    for head in (model.analysis.head, model.top_synthesis.head):
        nn.init.constant_(head.scale.layer.bias, 1e4)  # type: ignore[arg-type]
    for rung in model.draw_rungs(x, context):
        assert rung.posterior.scale.isfinite().all()
        assert rung.prior.scale.isfinite().all()


def test_bf16_autocast_keeps_distributions_in_full_precision() -> None:
    model = PLN(TINY).float()
    x, context = picture_and_context()
    context = Context(context.shape, Condition(context.log_beta.float()))
    with torch.autocast("cpu", torch.bfloat16):
        rungs = model.draw_rungs(x.float(), context)
        likelihood = model.likelihood([rung.latent for rung in rungs], context)
    for rung in rungs:
        assert rung.posterior.loc.dtype == rung.prior.scale.dtype == torch.float32
    assert likelihood.mean.dtype == torch.float32
