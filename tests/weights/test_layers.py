"""Converted layers: what they draw, where `sampling` is on, and what others may read of them."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from laconic.errors import InputError
from laconic.weights import convert, plain, sampling
from laconic.weights.layers import ProbabilisticLayer


def noisy_net() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 2))
    with pytest.warns(UserWarning, match="left as they are: 1"):
        convert(net, "sparse-vd", log_variance=-1.0)
    return net.eval()


def draws(net: nn.Module, x: Tensor) -> bool:
    return not torch.equal(net(x), net(x))


@pytest.fixture
def x() -> Tensor:
    return torch.randn(4, 6, generator=torch.Generator().manual_seed(1))


def test_sampling_draws_and_changes_nothing_else(x: Tensor) -> None:
    net = noisy_net()
    before = deepcopy(net.state_dict())
    evaluated = net(x)
    with sampling(net):
        assert draws(net, x)
        assert not any(module.training for module in net.modules())
    assert torch.equal(net(x), evaluated)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_blocks_are_nested(x: Tensor) -> None:
    net = noisy_net()
    with sampling(net):
        with sampling(net):
            assert draws(net, x)
        assert draws(net, x)
        with sampling(net[3]):
            assert draws(net, x)
        assert draws(net, x)
    assert not draws(net, x)


def test_a_part_of_a_network_may_draw_alone(x: Tensor) -> None:
    net = noisy_net()
    with sampling(net[0]):
        assert draws(net[0], x)
        assert not draws(net[3], torch.randn(3, 5))


def test_blocks_of_networks_that_share_a_layer_may_end_in_any_order(x: Tensor) -> None:
    net = noisy_net()
    other = nn.Sequential(net[0])
    first, second = sampling(net), sampling(other)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert draws(other, x)
    assert not draws(net[3], torch.randn(3, 5))
    second.__exit__(None, None, None)
    assert not draws(other, x)


def test_a_block_ends_with_an_exception(x: Tensor) -> None:
    net = noisy_net()
    with pytest.raises(ZeroDivisionError), sampling(net):
        _ = 1 / 0
    assert not draws(net, x)


def test_layers_in_training_mode_draw_and_stay_in_it(x: Tensor) -> None:
    net = noisy_net()
    net[0].train()
    with sampling(net):
        assert draws(net[0], x)
        net.eval()
        assert draws(net[0], x)
        net[0].train()
    assert net[0].training
    assert draws(net[0], x)
    assert not draws(net[3], torch.randn(3, 5))


def test_copies_made_within_a_block_are_outside_of_it(x: Tensor) -> None:
    net = noisy_net()
    with sampling(net):
        copy, ordinary = deepcopy(net), plain(net)
        assert not draws(copy, x)
        assert not draws(ordinary, x)
        assert torch.equal(copy(x), ordinary(x))
    assert torch.equal(net(x), ordinary(x))


def test_networks_without_converted_layers_compute_what_they_do(x: Tensor) -> None:
    net = nn.Sequential(nn.Linear(6, 2), nn.Dropout(0.5)).eval()
    with sampling(net):
        assert not draws(net, x)


def test_sampling_gives_gradients(x: Tensor) -> None:
    net = noisy_net()
    with sampling(net):
        net(x).sum().backward()
    assert isinstance(net[0], ProbabilisticLayer)
    assert net[0].posterior.get_parameter("log_variance").grad is not None


def test_sampling_sets_no_range_of_inputs(x: Tensor) -> None:
    net = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 2))
    convert(net, "rq", activation_bits=4)
    with sampling(net.eval()), pytest.raises(InputError, match="range"):
        net(x)
    net.train()(x)
    with sampling(net.eval()):
        assert draws(net, x)


def test_a_weight_can_be_read_unless_it_is_drawn(x: Tensor) -> None:
    net = noisy_net()
    assert torch.equal(net[0].weight, net[0].point().weight)
    with sampling(net):
        assert not hasattr(net[0], "weight")
    with pytest.raises(AttributeError, match="no weight while it draws"):
        _ = net.train()[0].weight


def test_a_weight_behind_a_rounding_cannot_be_read(x: Tensor) -> None:
    net = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 2))
    convert(net, "rq", activation_bits=4)
    assert not hasattr(net.eval()[1], "weight")  # The range of its inputs is not known yet.
    net.train()(x)
    assert not hasattr(net.eval()[1], "bias")
    assert hasattr(net[0], "bias")
