"""The enumerated toy: exact sums, the known optimum, and what either objective makes of it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Categorical, kl_divergence

from laconic.errors import ConfigError
from laconic.models.families.binned import BinnedMixture, solve_scale
from laconic.models.families.enumerated import (
    EnumeratedModel,
    FitConfig,
    Tables,
    divergence,
    entropy,
    fit,
    information,
    tables_of,
)

SCALE = 0.59842196907015
"""At which 30 bins carry 0.5 nats of the coin."""


@pytest.fixture(scope="module")
def joint() -> Tensor:
    return BinnedMixture(SCALE).joint()


def random_tables(seed: int, symbols: int = 5) -> Tables:
    model = EnumeratedModel(symbols, [seed])
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            generator = torch.Generator().manual_seed(100 * seed + index)
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        tables: Tables = model()
    return tables


def test_the_source_carries_half_a_nat_of_its_coin(joint: Tensor) -> None:
    assert solve_scale(0.5) == pytest.approx(SCALE, abs=1e-12)
    assert float(information(joint)) == pytest.approx(0.5, abs=1e-12)
    torch.testing.assert_close(joint.sum(1), torch.tensor([0.7, 0.3]).double())
    assert joint.shape == (2, 30)


def test_more_information_than_the_entropy_of_the_coin_is_refused() -> None:
    with pytest.raises(ConfigError, match="is not between"):
        solve_scale(0.62)


def test_measures_agree_with_torchs_distributions() -> None:
    source = torch.tensor([0.1, 0.2, 0.4, 0.25, 0.05], dtype=torch.float64)
    tables = random_tables(3)
    encoder, marginal = Categorical(tables.encoder[0]), Categorical(tables.marginal[0])
    rate = (source * kl_divergence(encoder, marginal)).sum()
    torch.testing.assert_close(tables.rate(source)[0], rate)
    costs = [
        source[x] * tables.encoder[0, x, z] * -Categorical(tables.decoder[0, z]).logits[x]
        for x in range(5)
        for z in range(5)
    ]
    torch.testing.assert_close(tables.distortion(source)[0], torch.stack(costs).sum())
    torch.testing.assert_close(entropy(source), Categorical(source).entropy())
    for part in (tables.generated(), tables.reconstructed(source), tables.aggregate(source)):
        torch.testing.assert_close(part.sum(-1), torch.ones(1).double())


def test_encoder_and_decoder_are_the_sources() -> None:
    """e(z_i | x_j) ∝ exp(-(w_i x_j - b_i)²): 2 K numbers each, all used."""
    model = EnumeratedModel(30, [0, 1])
    names = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert names.pop("log_marginal") == (2, 30)
    assert set(names.values()) == {(2, 30)}
    assert len(names) == 4
    w, b, x = model.encoder_slopes[1], model.encoder_offsets[1], model.positions[7]
    expected = torch.exp(-((w * x - b) ** 2))
    torch.testing.assert_close(model().encoder[1, 7], expected / expected.sum())


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000))
def test_the_sandwich_holds(seed: int) -> None:
    """H - D <= I <= R, and the ELBO is below -KL(p* || g) - H.  Source: Alemi, section 2."""
    source = torch.rand(5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    source /= source.sum()
    tables = random_tables(seed)
    rate, distortion = tables.rate(source), tables.distortion(source)
    mutual = information(tables.joint(source))
    assert bool((entropy(source) - distortion <= mutual + 1e-12).all())
    assert bool((mutual <= rate + 1e-12).all())
    gap = rate + distortion - entropy(source)
    assert bool((divergence(source, tables.generated()) <= gap + 1e-12).all())


def test_who_knows_the_process_stands_on_the_diagonal(joint: Tensor) -> None:
    source, tables = joint.sum(0), tables_of(joint)
    rate = tables.rate(source)
    assert float(rate) == pytest.approx(0.5, abs=1e-12)
    torch.testing.assert_close(rate + tables.distortion(source), entropy(source)[None])
    torch.testing.assert_close(tables.generated()[0], source)
    torch.testing.assert_close(tables.aggregate(source)[0], joint.sum(1))


@pytest.mark.slow
def test_elbo_ignores_the_latent_and_a_target_rate_does_not(joint: Tensor) -> None:
    """Three of the experiment's seeds, in two thirds of its steps."""
    source = joint.sum(0)
    for target in (0.0, 0.5):
        model = EnumeratedModel(30, [0, 1, 2])
        multiplier = fit(model, source, FitConfig(target_nats=target, steps=2000))
        with torch.no_grad():
            tables = model()
        torch.testing.assert_close(
            tables.rate(source), torch.full((3,), target).double(), atol=0.005, rtol=0
        )
        assert bool((divergence(source, tables.generated()) < 0.01).all())
        torch.testing.assert_close(multiplier, torch.ones(3).double(), atol=0.05, rtol=0)


def test_runs_do_not_depend_on_their_neighbours(joint: Tensor) -> None:
    source, config = joint.sum(0), FitConfig(target_nats=0.5, steps=50)
    together, alone = EnumeratedModel(30, [4, 5]), EnumeratedModel(30, [5])
    fit(together, source, config)
    fit(alone, source, config)
    torch.testing.assert_close(together.encoder_slopes[1:], alone.encoder_slopes)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="fit"):
        FitConfig(steps=0)
