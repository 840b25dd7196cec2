"""Networks trained by relaxed quantisation: the file holds the grids of activations as well."""

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import laconic
from laconic.codecs.network.file import NetworkFile
from laconic.distributions.relaxed_grid import Rounding
from laconic.errors import InputError
from laconic.weights import convert, plain, smaller, widths
from laconic.weights.integer.network import integer_network


def fresh(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 16), nn.ReLU(),
        nn.Linear(16, 3),
    )  # fmt: skip


def pictures(count: int = 60) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(256, (count, 1, 8, 8), generator=generator).float() / 255


def trained(net: nn.Module, **settings: Any) -> nn.Module:
    """Converted, and trained for a few steps."""
    x, y = pictures(), torch.arange(60) % 3
    torch.manual_seed(1)
    penalty = convert(net, "rq", **settings)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(8):
        optimizer.zero_grad()
        functional.cross_entropy(net(x), y).backward()
        optimizer.step()
        penalty.constrain()
    return net.eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"weight_bits": 2, "activation_bits": 2},
        {"weight_bits": 4, "activation_bits": 4, "input_bits": 8},
        {"weight_bits": 8, "activation_bits": 8, "straight_through": True},
        {"weight_bits": 12, "activation_bits": 3},
        {"weight_bits": 4, "activation_bits": 4, "quantise_bias": False},
        {"weight_bits": 0, "activation_bits": 4},
    ],
)
def test_a_fresh_network_answers_like_the_finished_one(settings: dict[str, Any]) -> None:
    """To the bit; at 0 weight bits weights are stored in steps, so that only grids are compared."""
    net = trained(fresh(), **settings)
    data, back = laconic.shrink(net), fresh(1)
    laconic.expand(data, into=back)
    expected = plain(net)
    if not settings["weight_bits"]:
        for name, buffer in expected.named_buffers():
            assert torch.equal(back.get_buffer(name), buffer)
        return
    assert torch.equal(back.eval()(pictures()), net(pictures()))
    laconic.expand(data, into=expected)
    laconic.expand(data, into=back)  # once more, into what rounds already
    assert torch.equal(back(pictures()), expected(pictures()))


def test_steps_are_encoded_behind_roundings_too() -> None:
    net = trained(fresh(), weight_bits=12, activation_bits=3)
    entries = {entry.name: entry for entry in NetworkFile.read(laconic.shrink(net)).entries}
    for name in ("0.weight", "4.weight", "4.bias", "6.weight"):
        assert entries[name].step > 0, name


def test_a_rare_weight_on_the_grid_stays_where_it_is() -> None:
    """Rounding that minds the rate would move one of 20,000 a whole step."""
    net = nn.Sequential(nn.Linear(100, 200, bias=False), nn.Identity())
    convert(net, "rq", weight_bits=4)
    grid = net[0].posterior.weight_grid
    with torch.no_grad():
        numbers = 2 * torch.randint(2, (200, 100)).float() - 1
        numbers[7, 9] = 2
        net[0].posterior.mean.copy_(numbers * grid.step)
    weights = laconic.expand(laconic.shrink(net))["0.weight"]
    assert torch.equal(weights, net[0].posterior.point().weight)


def test_a_layer_used_twice_rounds_once_and_stays_shared() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.start = nn.Linear(8, 8)
            self.first = self.second = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.relu(self.first(torch.relu(self.start(x.flatten(1)[:, :8])))))

    net = trained(Twice(), weight_bits=4, activation_bits=4)
    back = Twice()
    laconic.expand(laconic.shrink(net), into=back)
    assert back.first is back.second
    assert torch.equal(back.eval()(pictures()), net(pictures()))


def test_another_network_is_refused_and_left_alone() -> None:
    data = laconic.shrink(trained(fresh(), activation_bits=4))
    other = fresh()
    other[4] = nn.Linear(54, 15)
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(InputError, match=r"4\.layer\.weight"):
        laconic.expand(data, into=other)
    assert list(other.state_dict()) == list(before)
    assert isinstance(other[6], nn.Linear)


def pruned(bits: int = 4) -> nn.Module:
    """Two filters and a hidden unit are zero, one filter but for its bias."""
    net = trained(fresh(), weight_bits=bits, activation_bits=bits)
    with torch.no_grad():
        for layer, row, bias in ((0, 1, 0.0), (0, 2, 0.4), (4, 3, 0.0)):
            net[layer].posterior.mean[row] = 0
            net[layer].posterior.bias[row] = bias
    return net


def test_the_smaller_network_rounds_the_same_and_loses_what_is_pruned() -> None:
    net, x = pruned(), pictures()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is kept whole
        small = smaller(net, x[:2])
    assert {name.partition(".")[0]: width for name, width in widths(small).items()} == {
        "0": (1, 4), "4": (36, 15), "6": (15, 3),
    }  # fmt: skip
    torch.testing.assert_close(small(x), net(x), atol=1e-5, rtol=1e-5)
    assert next(small.parameters()).dtype == torch.float32


def test_sums_on_a_tie_do_not_make_smaller_fail() -> None:
    """Half of all sums lie between two points, where float32 rounds by the order of its terms."""
    torch.manual_seed(0)
    zero, high = torch.tensor(0.0), torch.tensor(255.0)
    hidden, last = nn.Linear(1000, 200, bias=False), nn.Linear(200, 3)
    net = nn.Sequential(
        Rounding(torch.tensor(0.1), zero, high), hidden, nn.ReLU(),
        Rounding(torch.tensor(0.02), zero, high), last,
    )  # fmt: skip
    with torch.no_grad():
        hidden.weight.copy_(torch.randint(-2, 3, (200, 1000)) * torch.tensor(0.1))
        hidden.weight[:, ::3] = 0
    assert widths(smaller(net, 3 * torch.rand(50, 1000)))["1"] == (666, 200)


def test_the_smaller_networks_file_rounds_the_same() -> None:
    net, x = pruned(), pictures()
    small = smaller(net, x[:2])
    again = copy.deepcopy(small)
    for tensor in [*again.parameters(), *again.buffers()]:
        tensor.data.zero_()
    laconic.expand(laconic.shrink(small), into=again)
    assert torch.equal(again(x), small(x))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_integers_can_be_made_from_the_file(bits: int) -> None:
    """The file need not say the weights' steps: the weights do."""
    net, back = trained(fresh(), weight_bits=bits, activation_bits=bits), fresh(1)
    laconic.expand(laconic.shrink(net), into=back)
    direct, decoded = integer_network(net), integer_network(back)
    assert torch.equal(direct(pictures()), decoded(pictures()))
