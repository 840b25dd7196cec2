"""Relaxed quantisation of whole layers: grids, training at low bits, what is left in the end."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from laconic.errors import ConfigError, InputError
from laconic.weights import Penalty, convert, plain
from laconic.weights.methods.relaxed_quantization import RelaxedPosterior, calibrate

Data = tuple[Tensor, Tensor]


def train(
    net: nn.Module, penalty: Penalty | None, data: Data, steps: int, rate: float, batch: int = 32
) -> list[float]:
    torch.manual_seed(1)
    x, y = data
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    losses = []
    for _ in range(steps):
        rows = torch.randint(len(x), (batch,))
        loss = functional.cross_entropy(net(x[rows]), y[rows])
        if penalty is not None:
            loss = loss + penalty() / len(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if penalty is not None:
            penalty.constrain()
        losses.append(float(loss.detach()))
    return losses


def error(net: nn.Module, data: Data) -> float:
    net.eval()
    with torch.no_grad():
        return float((net(data[0]).argmax(1) != data[1]).float().mean())


def posteriors(net: nn.Module) -> list[RelaxedPosterior]:
    return [module for module in net.modules() if isinstance(module, RelaxedPosterior)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bits", "straight_through"), [(2, False), (2, True), (4, False), (8, True)]
)
def test_training_learns_and_the_rounded_network_does_as_well(
    small_net: nn.Module, small_data: Data, bits: int, straight_through: bool
) -> None:
    train(small_net, None, small_data, 60, 1e-2)
    penalty = convert(
        small_net, "rq", weight_bits=bits, activation_bits=bits, straight_through=straight_through
    )
    losses = train(small_net, penalty, small_data, 50, 1e-2)
    assert sum(losses[-20:]) / 20 < 0.3
    assert error(small_net, small_data) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("straight_through", [False, True])
def test_two_bits_and_a_large_rate_stay_finite(
    small_net: nn.Module, small_data: Data, straight_through: bool
) -> None:
    penalty = convert(
        small_net, "rq", weight_bits=2, activation_bits=2, straight_through=straight_through,
        learn_temperature=True,
    )  # fmt: skip
    losses = train(small_net, penalty, small_data, 200, 0.3, batch=8)
    assert bool(torch.tensor(losses).isfinite().all())
    assert all(bool(one.isfinite().all()) for one in small_net.parameters())
    small_net.eval()
    assert bool(small_net(small_data[0]).isfinite().all())


def test_stored_weights_are_multiples_of_a_step(small_net: nn.Module, small_data: Data) -> None:
    penalty = convert(small_net, "rq", weight_bits=3)
    train(small_net, penalty, small_data, 10, 1e-2)
    for posterior in posteriors(small_net):
        point = posterior.point()
        assert point.weight_step == point.bias_step > 0
        assert point.bias is not None
        for numbers in (point.weight, point.bias):
            units = numbers / point.weight_step
            torch.testing.assert_close(units, units.round(), atol=1e-5, rtol=0)
            assert float(units.min()) >= -4.001
            assert float(units.max()) <= 3.001
            assert torch.equal(numbers, units.round() * torch.tensor(point.weight_step))


def test_biases_can_stay_off_the_grid(small_net: nn.Module) -> None:
    before = [
        layer.bias.detach().clone()
        for layer in small_net.modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    convert(small_net, "rq", weight_bits=2, quantise_bias=False)
    for posterior, bias in zip(posteriors(small_net), before, strict=True):
        point = posterior.point()
        assert point.bias is not None
        assert torch.equal(point.bias, bias)
        assert point.bias_step == 0


def test_zero_weights_and_padding_stay_zero() -> None:
    """No offset: a pruned weight is pruned, and what pads an image is on the inputs' grid."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1))
    with torch.no_grad():
        net[2].weight[:, 1] = 0
    convert(net, "rq", weight_bits=2, activation_bits=2)
    calibrate(net, torch.randn(8, 1, 6, 6))
    posterior = posteriors(net)[1]
    assert bool((posterior.point().weight[:, 1] == 0).all())
    assert posterior.input_grid is not None
    assert float(posterior.input_grid.round(torch.zeros(())).detach()) == 0


def test_inputs_behind_rectifiers_get_a_grid_from_zero_on(
    small_net: nn.Module, small_data: Data
) -> None:
    convert(small_net, "rq", weight_bits=4, activation_bits=4, input_bits=4)
    calibrate(small_net, small_data[0])
    grids = [posterior.input_grid for posterior in posteriors(small_net)]
    ends = [(float(grid.low), float(grid.high)) for grid in grids if grid is not None]
    assert ends == [(-8, 7), (0, 15), (0, 15)]


def test_the_networks_own_input_and_output_are_left_alone(
    small_net: nn.Module, small_data: Data
) -> None:
    convert(small_net, "rq", weight_bits=4, activation_bits=4)
    assert [posterior.input_grid is None for posterior in posteriors(small_net)] == [
        True, False, False,
    ]  # fmt: skip
    calibrate(small_net, small_data[0])
    small_net.eval()
    assert len(small_net(small_data[0]).unique()) > 300


def test_evaluation_computes_with_grid_points_only(small_net: nn.Module, small_data: Data) -> None:
    convert(small_net, "rq", weight_bits=3, activation_bits=3)
    calibrate(small_net, small_data[0])
    seen: list[Tensor] = []
    last = small_net[-1]
    apply = last.apply_layer
    last.apply_layer = lambda x, weight, bias: seen.append(x) or apply(x, weight, bias)
    small_net.eval()
    small_net(small_data[0])
    assert len(seen[0].unique()) <= 8
    assert 0 in seen[0]


def test_the_plain_network_rounds_its_inputs_too(small_net: nn.Module, small_data: Data) -> None:
    penalty = convert(small_net, "rq", weight_bits=4, activation_bits=2)
    train(small_net, penalty, small_data, 10, 1e-2)
    small_net.eval()
    assert torch.equal(plain(small_net)(small_data[0]), small_net(small_data[0]))


def test_unknown_ranges_are_an_error_and_not_a_guess(
    small_net: nn.Module, small_data: Data
) -> None:
    convert(small_net, "rq", activation_bits=4)
    small_net.eval()
    with pytest.raises(InputError, match="calibrate"):
        small_net(small_data[0])
    with pytest.raises(InputError, match="calibrate"):
        plain(small_net)


def test_calibration_draws_nothing_and_puts_modes_back(
    small_net: nn.Module, small_data: Data
) -> None:
    convert(small_net, "rq", weight_bits=4, activation_bits=4)
    other = copy.deepcopy(small_net)
    small_net.train()
    calibrate(small_net, small_data[0])
    calibrate(other, small_data[0])
    assert all(module.training for module in small_net.modules())
    small_net.eval()
    other.eval()
    assert torch.equal(small_net(small_data[0]), other(small_data[0]))


def test_the_state_keeps_the_ranges(small_net: nn.Module, small_data: Data) -> None:
    fresh = copy.deepcopy(small_net)
    convert(small_net, "rq", weight_bits=4, activation_bits=4)
    calibrate(small_net, small_data[0])
    convert(fresh, "rq", weight_bits=4, activation_bits=4)
    fresh.load_state_dict(small_net.state_dict())
    small_net.eval()
    fresh.eval()
    assert torch.equal(small_net(small_data[0]), fresh(small_data[0]))


def test_the_penalty_is_zero_and_has_a_graph(small_net: nn.Module) -> None:
    penalty = convert(small_net, "rq")()
    assert float(penalty.detach()) == 0
    penalty.backward()


def test_low_bits_learn_slowly(small_net: nn.Module) -> None:
    other = copy.deepcopy(small_net)
    slow = convert(small_net, "rq", weight_bits=2, activation_bits=2, grid_rate=0.5).rate_factors
    assert slow["0.posterior."] == 0.5
    assert slow["0.posterior.weight_grid."] == 0.25
    assert set(convert(other, "rq", weight_bits=4, activation_bits=4).rate_factors.values()) == {1}


def test_every_parameter_gets_a_finite_gradient(small_net: nn.Module, small_data: Data) -> None:
    convert(small_net, "rq", weight_bits=4, activation_bits=4, learn_temperature=True)
    small_net(small_data[0]).square().sum().backward()
    for name, parameter in small_net.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert bool(parameter.grad.any()), name


def test_weights_are_kept_where_they_feel_gradients(small_net: nn.Module) -> None:
    penalty = convert(small_net, "rq", weight_bits=2)
    posterior = posteriors(small_net)[0]
    posterior.mean.data.fill_(1e6)
    penalty.constrain()
    assert posterior.weight_grid is not None
    limit = 2 * float(posterior.weight_grid.step.detach())
    assert float(posterior.mean.detach().max()) == pytest.approx(limit)
    small_net.zero_grad()
    posterior(torch.ones(4, 1, 8, 8), functional.conv2d).sum().backward()
    assert posterior.mean.grad is not None
    assert bool(posterior.mean.grad.any())


@pytest.mark.slow
def test_a_narrow_start_keeps_a_trained_network_at_two_bits(
    small_net: nn.Module, small_data: Data
) -> None:
    """One large weight spoils a grid over the whole range."""
    train(small_net, None, small_data, 60, 1e-2)
    with torch.no_grad():
        small_net[4].weight[0, 0] = 3.0
    wide, narrow = copy.deepcopy(small_net), copy.deepcopy(small_net)
    convert(wide, "rq", weight_bits=2)
    convert(narrow, "rq", weight_bits=2, narrow=True)
    assert error(narrow, small_data) < 0.1 < error(wide, small_data)


@pytest.mark.parametrize(
    "settings", [{"weight_bits": 1}, {"activation_bits": 17}, {"temperature": 0.0}, {"noise": 5.0}]
)
def test_impossible_settings_are_refused(small_net: nn.Module, settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        convert(small_net, "rq", **settings)
