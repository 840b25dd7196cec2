"""Operations of whole networks by hand, of pruned ones, and of gates against counted draws."""

import pytest
import torch
from torch import Tensor, nn

from laconic.errors import InputError
from laconic.networks.lenet import lenet_5_caffe, lenet_300_100
from laconic.weights import convert, plain
from laconic.weights.methods.l0 import L0, L0Posterior
from laconic.weights.pruning.operations import expected_operations

DRAWS = 20_000


def grouped_net() -> nn.Sequential:
    """Takes `(batch, 2, 8, 8)`: 4 x 6 x 6, pooled to 4 x 3 x 3, 6 x 3 x 3, 54, 5, 3."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, groups=2, bias=False), nn.Tanh(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(),
        nn.Linear(54, 5), nn.Dropout(), nn.ReLU(), nn.Linear(5, 3), nn.LogSoftmax(1),
    )  # fmt: skip


@pytest.fixture
def gated() -> tuple[nn.Sequential, list[L0Posterior]]:
    torch.manual_seed(0)
    net = grouped_net()
    with pytest.warns(UserWarning, match="left as they are: 4"):
        penalty = convert(net, L0())
    posteriors = [layer.posterior for layer in penalty.layers.values()]
    for posterior in posteriors:
        assert isinstance(posterior, L0Posterior)
        nn.init.normal_(posterior.log_alpha, -1.5, 1.0)
    return net, posteriors  # type: ignore[return-value]


def counted(gates: list[Tensor]) -> Tensor:
    """Operations of each layer of `grouped_net` for drawn gates, `(draws, 4)`."""
    first, second, inputs, hidden = gates
    maps = inputs.view(-1, 6, 9)
    said = first.sum(1)
    speaks = second * (said > 0)[:, None]
    live = (maps * speaks[:, :, None]).sum((1, 2))
    one = 36 * (first * second.any(1)[:, None]).sum(1) * (2 * 9 - 1)
    two = 9 * (second * maps.any(2)).sum(1) * 2 * 9 * said
    three = 2 * live * hidden.sum(1)
    four = 3 * 2 * hidden.sum(1) * (live > 0)
    return torch.stack([one, two, three, four], 1)


def test_dense_networks_by_hand() -> None:
    """Louizos' figure 20: one for a multiplication and one for an addition."""
    example = torch.zeros(3, 1, 28, 28)
    assert expected_operations(lenet_300_100(), example) == pytest.approx({
        "fc1": 2 * 784 * 300, "fc2": 2 * 300 * 100, "fc3": 2 * 100 * 10,
    })  # fmt: skip
    assert expected_operations(lenet_5_caffe(), example) == pytest.approx({
        "conv1": 24 * 24 * 20 * 2 * 25, "conv2": 8 * 8 * 50 * 2 * 500,
        "fc1": 2 * 800 * 500, "fc2": 2 * 500 * 10,
    })  # fmt: skip


def test_strides_groups_and_missing_biases() -> None:
    """Field fault 3: the published count takes a grouped convolution for a full one."""
    net = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, groups=2, bias=False), nn.Conv2d(6, 1, 1))
    counts = expected_operations(net, torch.zeros(1, 4, 9, 9))
    assert counts == pytest.approx({"0": 16 * 6 * (2 * 2 * 9 - 1), "1": 16 * 2 * 6})


def test_transposed_convolutions_and_embeddings() -> None:
    """Every input number meets every weight of its channel; looking up costs nothing."""
    net = nn.Sequential(nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2), nn.Conv1d(6, 1, 1))
    wanted = {"0": 2 * 5 * 4 * 3 * 3, "1": 11 * 2 * 6}
    assert expected_operations(net, torch.zeros(1, 4, 5)) == pytest.approx(wanted)
    net[0].weight.data[0] = 0  # an input that is not read
    wanted["0"] = 2 * 5 * 3 * 3 * 3
    assert expected_operations(net, torch.zeros(1, 4, 5)) == pytest.approx(wanted)
    convert(net, "rq")
    assert list(expected_operations(net, torch.zeros(1, 4, 5))) == ["0", "1"]
    words = nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 2))
    for _ in range(2):
        counts = expected_operations(words, torch.zeros(1, 3, dtype=torch.int64))
        assert counts == pytest.approx({"1": 3 * 2 * 10})
        if isinstance(words[0], nn.Embedding):
            convert(words, "rq", weight_bits=8)


def test_gates_equal_counted_draws(gated: tuple[nn.Sequential, list[L0Posterior]]) -> None:
    """Five standard errors for three layers: a false-alarm rate of 2e-6.

    Whether the last layer receives only constants depends on inputs that are not independent.
    """
    net, posteriors = gated
    gates = [(p.gates.rsample((DRAWS,)) != 0).float().flatten(1) for p in posteriors]
    draws = counted(gates)
    error = draws.std(0) / DRAWS**0.5
    closed = torch.tensor(list(expected_operations(net, torch.zeros(1, 2, 8, 8)).values()))
    assert bool(((draws.mean(0) - closed).abs() < 5 * error)[:3].all())
    assert float(closed[3]) == pytest.approx(float(draws[:, 3].mean()), rel=0.05)
    whole = sum(expected_operations(grouped_net(), torch.zeros(1, 2, 8, 8)).values())
    assert float(closed.sum()) < 0.5 * whole


def test_pruned_networks_count_what_is_left(
    gated: tuple[nn.Sequential, list[L0Posterior]],
) -> None:
    """The stored network, whose gates are what they are."""
    net, posteriors = gated
    gates = [(p.gates.test_gate > 0).float().flatten()[None] for p in posteriors]
    left = expected_operations(plain(net), torch.zeros(1, 2, 8, 8))
    assert list(left.values()) == pytest.approx(counted(gates)[0].tolist(), abs=1e-3)


def test_dead_ends_cost_nothing() -> None:
    """A filter that is not read, and an input that no filter gives."""
    net = nn.Sequential(nn.Conv1d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    dense = expected_operations(net, torch.zeros(1, 1, 5))
    with torch.no_grad():
        net[3].weight[:, :4] = 0  # of the first filter
        net[0].weight[1], net[0].bias[1] = 0, 0
    counts = expected_operations(net, torch.zeros(1, 1, 5))
    assert dense == pytest.approx({"0": 4 * 3 * 2 * 2, "3": 2 * 2 * 12})
    assert counts == pytest.approx({"0": 4 * 1 * 2 * 2, "3": 2 * 2 * 4})


def test_weight_gates_count_each_product() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 10))
    penalty = convert(net, L0(gates="weight"))
    counts = expected_operations(net, torch.zeros(1, 40))
    for name, layer in penalty.layers.items():
        assert isinstance(layer.posterior, L0Posterior)
        products = float(layer.posterior.nonzero().detach().sum())
        assert counts[name] == pytest.approx(2 * products, rel=1e-4)


def test_the_network_is_left_as_it_was(gated: tuple[nn.Sequential, list[L0Posterior]]) -> None:
    net, _ = gated
    net.train()
    net[4].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    expected_operations(net, torch.zeros(1, 2, 8, 8))
    assert net.training
    assert not net[4].training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


def test_nothing_to_count_is_said() -> None:
    with pytest.raises(InputError, match="no linear or convolutional layer"):
        expected_operations(nn.Sequential(nn.ReLU()), torch.zeros(1, 2))
