"""Gates against draws, the penalty's signs and units, targets, and what training closes."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from laconic.errors import ConfigError
from laconic.weights import Penalty, convert
from laconic.weights.methods.l0 import L0, L0Posterior, TargetedPrior

DRAWS = 4000


def posteriors(penalty: Penalty) -> list[L0Posterior]:
    found = [layer.posterior for layer in penalty.layers.values()]
    return [each for each in found if isinstance(each, L0Posterior)]


def one_layer(layer: nn.Module, **settings: Any) -> tuple[nn.Sequential, L0Posterior]:
    net = nn.Sequential(layer)
    (posterior,) = posteriors(convert(net, L0(**settings)))
    return net, posterior


def fit(net: nn.Module, penalty: Penalty, data: tuple[Tensor, Tensor], steps: int) -> None:
    x, y = data
    gates = [p for name, p in net.named_parameters() if name.endswith("log_alpha")]
    rest = [p for name, p in net.named_parameters() if not name.endswith("log_alpha")]
    adam = torch.optim.Adam([{"params": gates, "lr": 0.05}, {"params": rest, "lr": 0.005}])
    for _ in range(steps):
        adam.zero_grad()
        (functional.cross_entropy(net(x), y) + penalty() / len(x)).backward()
        adam.step()
        penalty.constrain()


def test_gates_start_at_dropouts_rates() -> None:
    """Louizos 7.4: alpha / (alpha + 1) is what dropout keeps, 0.8 of the data, else one half."""
    net = nn.Sequential(nn.Linear(500, 400), nn.Linear(400, 3))
    first, second = posteriors(convert(net, "l0"))
    assert torch.sigmoid(first.log_alpha).mean().item() == pytest.approx(0.8, abs=0.001)
    assert torch.sigmoid(second.log_alpha).mean().item() == pytest.approx(0.5, abs=0.001)
    assert second.log_alpha.std().item() == pytest.approx(0.01, rel=0.2)
    (of_filters,) = posteriors(convert(nn.Sequential(nn.Conv2d(1, 90, 3)), "l0"))
    assert torch.sigmoid(of_filters.log_alpha).mean().item() == pytest.approx(0.5, abs=0.002)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(7, 5), (1, 7)),
        (nn.Conv1d(2, 5, 3), (5, 1, 1)),
        (nn.Conv3d(1, 4, 2), (4, 1, 1, 1, 1)),
    ],
)
def test_groups_are_inputs_of_linear_layers_and_filters(
    layer: nn.Module, shape: tuple[int, ...]
) -> None:
    _, posterior = one_layer(layer)
    assert posterior.log_alpha.shape == shape


@torch.no_grad()
@pytest.mark.parametrize("gates", ["group", "weight"])
@pytest.mark.parametrize("layer", [nn.Linear(8, 5), nn.Conv2d(3, 5, 2, groups=1)])
def test_expectations_equal_draws(layer: nn.Module, gates: str) -> None:
    """E[L0] and E[L2] of drawn gates, five standard errors: a false-alarm rate of 5e-6."""
    torch.manual_seed(0)
    _, posterior = one_layer(layer, gates=gates, nats=1.0, decay=2.0)
    nn.init.normal_(posterior.log_alpha, -1, 1)
    assert posterior.bias is not None
    z = (posterior.gates.rsample((DRAWS,)) != 0).float()
    open_weights = z.expand(DRAWS, *posterior.weight.shape)
    of_bias = z.flatten(1) if posterior.axis == 0 else torch.ones(DRAWS, 1)
    count = open_weights.flatten(1).sum(1) + (of_bias.sum(1) if posterior.axis == 0 else 0)
    squares = (open_weights * posterior.weight.square()).flatten(1).sum(1)
    squares = squares + (of_bias * posterior.bias.square()).sum(1)
    for draws, closed in (
        (count, posterior.expected_open()),
        (count + squares, posterior.penalty()),  # 2 / 2 times the squares
    ):
        error = draws.std() / DRAWS**0.5
        assert bool((draws.mean() - closed).abs() < 5 * error)


@torch.no_grad()
def test_the_penalty_by_hand_with_the_biases_sign() -> None:
    """Field fault 1: the published code subtracts lambda for the bias of every open filter."""
    layer = nn.Conv2d(2, 3, 5)
    _, posterior = one_layer(layer, nats=0.1, decay=0.3)
    p = posterior.nonzero().flatten()
    squares = posterior.weight.square().sum((1, 2, 3)) + posterior.bias.square()  # type: ignore[union-attr]
    expected = (p * (0.1 * (2 * 25 + 1) + 0.5 * 0.3 * squares)).sum()
    assert float(posterior.penalty()) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("layer", [nn.Linear(6, 4), nn.Conv2d(1, 4, 3)])
@pytest.mark.parametrize("nats", [0.0, 10.0])
def test_a_gate_that_opens_never_lowers_the_penalty(layer: nn.Module, nats: float) -> None:
    """Field fault 1, at a lambda where its reward would outweigh the weights."""
    _, posterior = one_layer(layer, nats=nats, decay=1.0)
    with torch.no_grad():
        posterior.weight.mul_(1e-3)
    posterior.penalty().backward()
    alone = torch.as_tensor(posterior.log_alpha.grad).clone()
    assert float(alone.min()) > 0
    posterior.bias, posterior.log_alpha.grad = None, None  # the same layer without its bias
    posterior.penalty().backward()
    assert bool((alone >= torch.as_tensor(posterior.log_alpha.grad)).all())


@torch.no_grad()
def test_the_price_is_the_sources_lambda_times_n() -> None:
    """0.1 / N for each open number in the source is 0.1 nats here, whatever N."""
    net = nn.Sequential(nn.Linear(10, 20), nn.Linear(20, 3))
    penalty = convert(net, "l0", nats=0.1)
    for posterior in posteriors(penalty):
        nn.init.constant_(posterior.log_alpha, 30.0)
    assert float(penalty()) == pytest.approx(0.1 * (10 * 20 + 20 * 3), rel=1e-6)


def test_layers_have_prices_of_their_own(small_net: nn.Sequential) -> None:
    penalty = convert(small_net, "l0", nats=0.1, layer_nats={"0": 10.0, "[4]": 0.5})
    assert [posterior.nats for posterior in posteriors(penalty)] == [10.0, 0.5, 0.1]


def test_a_pattern_that_fits_nothing_leaves_the_network_alone(small_net: nn.Sequential) -> None:
    with pytest.raises(ConfigError, match="matches no layer"):
        convert(small_net, "l0", layer_nats={"conv*": 1.0})
    assert isinstance(small_net[0], nn.Conv2d)


@pytest.mark.parametrize("draws", ["batch", "example"])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(6, 4), (6,)),
        (nn.Linear(6, 4), (3, 6)),
        (nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"), (2, 5, 5)),
        (nn.Conv1d(2, 4, 3, groups=2), (2, 6)),
        (nn.Conv3d(1, 2, 2, bias=False), (1, 3, 3, 3)),
    ],
)
def test_outputs_of_draws_have_the_gates_mean(
    layer: nn.Module, shape: tuple[int, ...], draws: str
) -> None:
    """Field fault 2, biases in training mode; five standard errors for <= 100 numbers: 6e-5."""
    torch.manual_seed(0)
    if layer.bias is not None:
        nn.init.constant_(layer.bias, 3.0)  # type: ignore[arg-type]
    x = torch.randn(shape)
    net, posterior = one_layer(layer, draws=draws)
    shell = net[0]
    gates = posterior.gates.mean
    of_bias = gates.flatten() if posterior.axis == 0 else 1
    bias = None if posterior.bias is None else posterior.bias * of_bias
    expected = shell.apply_layer(x[None], posterior.weight * gates, bias)[0]  # type: ignore[operator]
    with torch.no_grad():
        if draws == "example":
            outputs = net(x.expand(DRAWS, *shape))
        else:
            outputs = torch.stack([net(x[None])[0] for _ in range(DRAWS // 4)])
    error = outputs.std(0) / len(outputs) ** 0.5
    assert bool(((outputs.mean(0) - expected).abs() < 5 * error + 1e-5).all())


@torch.no_grad()
@pytest.mark.parametrize("layer", [nn.Linear(6, 4), nn.Conv1d(6, 4, 1)])
def test_a_batch_shares_its_gates_by_default(layer: nn.Module) -> None:
    torch.manual_seed(0)
    x = torch.randn(6).expand(50, 6)
    x = x if isinstance(layer, nn.Linear) else x[:, :, None]
    shared, _ = one_layer(layer)
    each, _ = one_layer(layer, draws="example")
    assert float(shared(x).std(0).max()) < 1e-5
    assert float(each(x).std(0).min()) > 1e-3
    alone = each(x[0])  # no batch: one draw
    assert alone.shape == ((4,) if isinstance(layer, nn.Linear) else (4, 1))


def test_closed_groups_vanish_from_the_point() -> None:
    """A closed filter's bias too; zeros are +0, and no open number is 0."""
    torch.manual_seed(0)
    for layer in (nn.Conv2d(2, 6, 3), nn.Linear(6, 4)):
        _, posterior = one_layer(layer)
        with torch.no_grad():
            posterior.log_alpha.flatten()[::2] = -2.5
        point = posterior.point()
        assert point.bias is not None
        rows = point.weight if posterior.axis == 0 else point.weight.T
        assert bool((rows[::2] == 0).all())
        assert bool((rows[1::2] != 0).all())
        assert not bool(torch.signbit(rows[::2]).any())
        assert bool((point.bias[::2] == 0).all()) == (posterior.axis == 0)
        assert (point.weight_step, point.bias_step) == (None, None)


def test_gates_are_held_where_they_have_gradients() -> None:
    """Field fault 3: log alpha stays within ± log 100."""
    _, posterior = one_layer(nn.Linear(4, 2))
    with torch.no_grad():
        posterior.log_alpha.copy_(torch.tensor([[-50.0, 50.0, 0.5, -1.0]]))
    posterior.constrain()
    limit = math.log(100)
    torch.testing.assert_close(posterior.log_alpha.data[0], torch.tensor([-limit, limit, 0.5, -1]))


@pytest.mark.slow
def test_training_closes_gates_on_noise(small_data: tuple[Tensor, Tensor]) -> None:
    """24 pixels say something, 40 never do."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 3))
    penalty = convert(net, "l0", nats=0.3)
    fit(net, penalty, small_data, 300)
    kept = (posteriors(penalty)[0].gates.test_gate > 0).view(8, 8)
    informative = torch.zeros(8, 8, dtype=torch.bool)
    informative[:6, 2:6] = True
    assert int(kept[~informative].sum()) <= 4
    assert 3 <= int(kept[informative].sum()) <= 24
    answers = net.eval()(small_data[0]).argmax(1)
    assert float((answers == small_data[1]).float().mean()) > 0.95


@torch.no_grad()
def test_the_multiplier_rises_while_too_much_is_open(small_net: nn.Sequential) -> None:
    """arXiv 2208.04425: ascent on the excess, a restart at 0 once the target is met."""
    prior = convert(small_net, "l0", target=0.3, nats=0.0, dual_rate=0.5).prior
    assert isinstance(prior, TargetedPrior)
    assert float(prior()) == 0
    excess = float(prior.share) - 0.3
    prior.constrain()
    prior.constrain()
    assert float(prior.multiplier) == pytest.approx(2 * 0.5 * excess, rel=1e-5)
    expected = float(prior.multiplier) * float(prior.expected_open())
    assert float(prior()) == pytest.approx(expected, rel=1e-5)
    for posterior in prior.posteriors.values():
        assert isinstance(posterior, L0Posterior)
        nn.init.constant_(posterior.log_alpha, -4.0)
    prior.constrain()
    assert float(prior.multiplier) == 0


@torch.no_grad()
def test_the_share_is_of_all_gated_numbers(small_net: nn.Sequential) -> None:
    """Of the filters' biases too, not of the linear layers'."""
    prior = convert(small_net, "l0", target=0.5).prior
    assert isinstance(prior, TargetedPrior)
    numbers = 6 * 9 + 6 + 54 * 16 + 16 * 3
    closed = sum(float(p.expected_open()) for p in prior.posteriors.values())  # type: ignore[operator]
    assert float(prior.share) == pytest.approx(closed / numbers, rel=1e-6)


@pytest.mark.slow
def test_training_meets_a_target(small_data: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 3))
    penalty = convert(net, "l0", target=0.25, nats=0.0, dual_rate=0.02)
    fit(net, penalty, small_data, 400)
    assert isinstance(penalty.prior, TargetedPrior)
    assert float(penalty.prior.share.detach()) == pytest.approx(0.25, abs=0.03)
    answers = net.eval()(small_data[0]).argmax(1)
    assert float((answers == small_data[1]).float().mean()) > 0.95


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gates": "row"}, "group, weight"),
        ({"draws": "epoch"}, "batch, example"),
        ({"draws": "example", "gates": "weight"}, "needs gates: group"),
        ({"layer_nats": 0.5}, "mapping"),
        ({"nats": -0.1}, "negative"),
        ({"layer_nats": {"0": -1.0}}, "negative"),
        ({"temperature": 0.0}, "above 0"),
        ({"dropout": 0.95}, "dropout"),
        ({"input_dropout": 0.0}, "dropout"),
        ({"limit": 2.0}, "limit"),
        ({"target": 0.04}, "a larger l0.limit"),
        ({"target": 1.0}, "between"),
        ({"target": 0.5, "layer_nats": {"0": 1.0}}, "remove it, or target"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        L0(**settings)
    assert L0(target=0.02, limit=6.0).target == 0.02
