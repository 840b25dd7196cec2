"""Systems: codes and priors against Monte Carlo, gradients to every part, bands in order."""

import math

import pytest
import torch
from tests.channels.conftest import close
from torch import Tensor

from laconic.channels import make_channel
from laconic.channels.systems.bands import BandSystem
from laconic.channels.systems.base import System, SystemLoss
from laconic.channels.systems.choice import make_system, read_system
from laconic.channels.systems.code import Code
from laconic.channels.systems.priors import BandPrior, DrawPrior, SphericalPrior
from laconic.errors import ConfigError

SMALL = {"depth": 4, "blocks": 1, "hidden": 8}
PAIR = {"name": "pair", "numbers": 6, **SMALL}
BANDS = {"name": "bands", "bands": 3, "numbers": 4, "steps": 1, **SMALL}
SHAPE = (1, 8, 12)


def system(**settings: object) -> System:
    channel = make_channel({"name": "awgn-real", "snr_db": 3.0})
    return make_system(settings, channel, SHAPE)


def pictures(count: int = 3) -> Tensor:
    return torch.rand(count, *SHAPE)


def test_the_rate_of_a_code_is_its_kl_by_monte_carlo() -> None:
    code = Code(torch.tensor([[0.5, -1.0]]), torch.tensor([[0.7, 0.2]]))
    many = Code(code.mean.expand(20_000, 2), code.scale.expand(20_000, 2))
    draw = many.draw()
    own = torch.distributions.Normal(many.mean, many.scale).log_prob(draw).sum(1)
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(draw).sum(1)
    assert close(own - prior, float(code.kl_nats()))


@pytest.mark.parametrize("numbers_per_use", [1, 2])
def test_every_part_of_a_normalised_code_has_power_one(numbers_per_use: int) -> None:
    code = Code(torch.randn(2, 12), torch.rand(2, 12)).normalised(3, numbers_per_use)
    power = (code.mean.square() + code.scale.square()).reshape(2, 3, 4).mean(2)
    torch.testing.assert_close(power * numbers_per_use, torch.ones(2, 3))
    drawn = Code(code.mean[:1].expand(5000, 12), code.scale[:1].expand(5000, 12)).draw()
    assert close(drawn.square().mean(1), 1 / numbers_per_use)


@pytest.mark.parametrize("prior", [SphericalPrior(3, 2, 1.5), DrawPrior(3, 2, 8)])
def test_priors_keep_what_passed_and_draw_the_rest(prior: BandPrior) -> None:
    torch.manual_seed(1)
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    received = torch.randn(4, 3, 2)
    passed = torch.tensor([0, 1, 2, 3])
    filled = prior.fill(received, passed)
    for row, count in enumerate(passed.tolist()):
        assert torch.equal(filled[row, :count], received[row, :count])
        assert not (filled[row, count:] == received[row, count:]).any()


def test_a_draw_of_the_prior_is_predicted_from_the_bands_before() -> None:
    """The rate of codes that follow the prior's own law is zero."""
    prior = DrawPrior(2, 3, 8)
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    drawn = prior.fill(torch.zeros(5, 2, 3), torch.zeros(5))
    known, means, scales = prior.begin(drawn), [], []
    for index in range(2):
        law = prior.band(known)
        means.append(law.loc)
        scales.append(law.scale)
        known = prior.take(known, drawn[:, index])
    code = Code(torch.cat(means, 1), torch.cat(scales, 1))
    torch.testing.assert_close(prior.kl_nats(code, drawn), torch.zeros(5), atol=1e-5, rtol=0)


def test_the_spherical_prior_has_the_power_that_arrives() -> None:
    prior = SphericalPrior(1, 1, 1.5)
    drawn = prior.fill(torch.zeros(5000, 1, 1), torch.zeros(5000))
    assert close(drawn.square(), 1.5)


@pytest.mark.parametrize(
    "settings",
    [
        {**PAIR, "kind": "joint"},
        {**PAIR, "kind": "separate"},
        {**BANDS, "prior": "spherical"},
        {**BANDS, "prior": "draw"},
        {**BANDS, "prior": "draw", "auxiliary": 2},
        {**BANDS, "prior": "draw", "marginal": True},
    ],
)
def test_every_parameter_has_a_gradient_and_pictures_come_back(settings: dict[str, object]) -> None:
    made = system(**settings).train()
    with torch.no_grad():  # Layers that start at zero hide those before them.
        for parameter in made.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    loss, numbers = SystemLoss(made)([pictures(8)], 0)
    loss.backward()
    missing = [name for name, p in made.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []
    assert numbers["mse"] > 0
    assert made.eval().transmit(pictures()).shape == (3, *SHAPE)
    assert made.receipt.budget.uses == made.numbers


def test_auxiliary_latents_have_a_weight_of_their_own() -> None:
    """The rate grows by the latents' KL times what the weight grows by."""
    rates = []
    for weight in (1.0, 3.0, 5.0):
        torch.manual_seed(1)
        made = system(**BANDS, prior="draw", auxiliary=2, auxiliary_weight=weight).train()
        rates.append(made.terms(pictures()).rate_nats.detach())
    torch.testing.assert_close(rates[2] - rates[1], rates[1] - rates[0])
    assert bool((rates[1] > rates[0]).all())
    with pytest.raises(ConfigError, match="auxiliary_weight"):
        system(**BANDS, prior="draw", auxiliary_weight=0.0)


def test_the_parts_of_a_separate_system_do_not_see_each_other() -> None:
    """No gradient of the source's objective reaches the channel's networks, and the reverse."""
    made = system(**PAIR, kind="separate").train()
    terms = made.terms(pictures())
    (terms.distortion + terms.rate_nats).sum().backward()
    touched = {name.split(".")[0] for name, p in made.named_parameters() if p.grad is not None}
    assert touched == {"source_encoder", "source_decoder"}


def test_a_separate_system_has_power_one_on_average_over_the_prior() -> None:
    """Weaker codes stay weaker, so that what arrives has its size."""
    made = system(**PAIR, kind="separate").train()
    with torch.no_grad():
        for parameter in made.channel_encoder.parameters():  # type: ignore[union-attr]
            parameter += 0.3 * torch.randn_like(parameter)
    made.eval().requires_grad_(False)
    sent = made._scaled(made.channel_encoder(torch.randn(4000, 6)))  # type: ignore[operator]
    assert close(sent.square().mean(1), 1.0)
    assert float(sent.square().mean(1).std()) > 0.1


def test_both_kinds_of_pairs_have_the_same_networks() -> None:
    joint, separate = (system(**PAIR, kind=kind) for kind in ("joint", "separate"))
    shapes = [{n: p.shape for n, p in one.named_parameters()} for one in (joint, separate)]
    assert shapes[0] == shapes[1]


def test_a_joint_system_learns_to_send() -> None:
    """Pictures of one level: after some steps the error is far below their variance."""
    made = system(**{**PAIR, "kind": "joint", "beta": 0.0}).train()
    optimiser = torch.optim.Adam(made.parameters(), 2e-2)
    for _ in range(40):
        x = torch.rand(32, 1, 1, 1).expand(32, *SHAPE).contiguous()
        optimiser.zero_grad()
        made.loss(x)[0].backward()
        optimiser.step()
    x = torch.rand(64, 1, 1, 1).expand(64, *SHAPE).contiguous()
    error = float((made.eval().transmit(x) - x).square().mean())
    assert error < 0.7 / 12


def test_more_bands_are_sent_in_order() -> None:
    made = system(**BANDS).eval()
    assert isinstance(made, BandSystem)
    x = pictures()
    y = made.encode(x)
    torch.testing.assert_close(y.reshape(3, 3, 4).square().mean(2), torch.ones(3, 3))
    assert made.transmit_bands(x, 1).shape == x.shape
    assert made.receipt.budget.capacity_bits == pytest.approx(
        made.inner.capacity_bits * made.channel.mean_bands / 3
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "radio"}, "'radio' is not one of pair, bands"),
        ({**PAIR, "kind": "both"}, "kind: 'both'"),
        ({**PAIR, "beta": -1.0}, "beta"),
        ({**BANDS, "prior": "cubic"}, "prior: 'cubic'"),
        ({**BANDS, "shares": [1.0]}, "give 4 probabilities"),
        ({**PAIR, "depth": 3}, "even"),
    ],
)
def test_impossible_systems_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        system(**settings)


def test_sizes_of_pictures_and_channels_must_fit() -> None:
    with pytest.raises(ConfigError, match="multiples of 4"):
        make_system(PAIR, make_channel({"name": "awgn-real"}), (1, 9, 8))
    with pytest.raises(ConfigError, match="complex"):
        make_system({**PAIR, "numbers": 5}, make_channel({"name": "awgn"}), SHAPE)
    with pytest.raises(ConfigError, match="channel with noise"):
        make_system(BANDS, make_channel({"name": "bsc"}), SHAPE)
    assert read_system(PAIR)[0] == "pair"
    assert math.isfinite(read_system(PAIR)[1].beta)
