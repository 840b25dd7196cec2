"""The smaller network computes what the masked one computes, and is as small as it should be."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from laconic.errors import InputError
from laconic.networks.lenet import lenet_5_caffe, lenet_300_100
from laconic.weights import KeptWhole, convert, plain, smaller, widths
from laconic.weights.methods.sparse_vd import SparseVDPosterior


class Residual(nn.Module):
    """A block with a stride and a projection, then one with the identity, written in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)
        self.a1, self.a2 = nn.Conv2d(5, 6, 3, 2, padding=1), nn.Conv2d(6, 7, 3, padding=1)
        self.project = nn.Conv2d(5, 7, 1, 2, bias=False)
        self.b1, self.b2 = nn.Conv2d(7, 4, 3, padding=1), nn.Conv2d(4, 7, 3, padding=1, bias=False)
        self.norm_b, self.relu = nn.BatchNorm2d(7), nn.ReLU(inplace=True)
        self.head = nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.stem(x)))
        y = self.a2(self.relu(self.a1(x)))
        y += self.project(x)
        y = self.relu(y)
        y = self.relu(self.norm_b(self.b2(self.relu(self.b1(y)))) + y)
        return self.head(y.mean([2, 3]))


class Written(nn.Module):
    """Functions instead of modules, sizes written out, branches that are joined, depthwise."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(2, 4, 3), nn.Conv2d(2, 3, 3)
        self.each, self.slope = nn.Conv2d(7, 7, 3, padding=1, groups=7), nn.PReLU(7)
        self.fc1, self.fc2 = nn.Linear(7 * 9, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([functional.gelu(self.left(x)), self.right(x).relu()], 1)
        x = functional.max_pool2d(self.slope(self.each(x)), 2)
        x = functional.dropout(x.view(x.size(0), 7 * 9), training=self.training)
        return functional.log_softmax(self.fc2(torch.sigmoid(self.fc1(x))), 1)


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(128, 12), nn.BatchNorm1d(12), nn.Sigmoid(), nn.Linear(12, 9, False),
        nn.Dropout(), nn.LeakyReLU(), nn.Linear(9, 4),
    )  # fmt: skip


def pooled() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.Tanh(), nn.MaxPool2d(2), nn.Conv2d(6, 5, 3, bias=False),
        nn.ReLU(True), nn.Flatten(), nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3),
    )  # fmt: skip


def padded() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(6), nn.ELU(),
        nn.Conv2d(6, 5, 3, padding="same"), nn.BatchNorm2d(5), nn.ReLU(),
        nn.AvgPool2d(3, padding=1), nn.Conv2d(5, 6, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, 3),
    )  # fmt: skip


class Grouped(nn.Module):
    """Convolutions in groups, one of them with two outputs for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 8, 3), nn.Conv2d(8, 12, 3, padding=1, groups=4)
        self.c, self.d = nn.Conv2d(12, 6, 1, groups=2, bias=False), nn.Conv2d(6, 12, 3, groups=6)
        self.norm, self.head = nn.BatchNorm2d(12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.b(functional.relu(self.a(x)))))
        return self.head(self.d(self.c(x)).mean((2, 3)))


class Normed(nn.Module):
    """Layer normalisation, alone and behind a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.n, self.b = nn.Linear(8, 10), nn.LayerNorm(10), nn.Linear(10, 10)
        self.m, self.c = nn.LayerNorm(10), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.n(torch.relu(self.a(x))))
        return self.c(self.m(self.b(x) + x))


class Gated(nn.Module):
    """Tensors in pieces that act on each other, quotients, clamps."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 8, 3), nn.Conv2d(4, 9, 3)
        self.c, self.d = nn.Conv2d(3, 6, 1), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.a(x).chunk(2, 1)
        x = value * torch.sigmoid(gate)
        p, q, r = torch.split(self.b(x.clamp(-1, 1) / 2), 3, dim=1)
        return self.d(self.c(torch.clamp(p, min=0) + q / (1 + r * r)).mean((2, 3)))


def decoder() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, 2), nn.ReLU(), nn.ConvTranspose2d(6, 8, 3, 2, output_padding=1),
        nn.ReLU(), nn.ConvTranspose2d(8, 6, 3, padding=1, groups=2, bias=False), nn.Tanh(),
        nn.ConvTranspose2d(6, 2, 1),
    )  # fmt: skip


NETS = (mlp, pooled, padded, Residual, Written)
LATER = (Grouped, Normed, Gated, decoder)


def example() -> Tensor:
    return torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(3))


def masked(net: nn.Module, seed: int, rows: float, columns: float) -> nn.Module:
    """Zero rows and columns with these rates, some biases with their rows; batch norms that do."""
    generator = np.random.default_rng(seed)
    torch.manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            size = module.num_features
            module.running_mean = torch.randn(size) / 2
            module.running_var = torch.rand(size) + 0.5
            module.weight.data = torch.randn(size) * torch.from_numpy(
                generator.random(size) > rows / 2
            )
            module.bias.data = torch.randn(size)
        elif isinstance(module, nn.LayerNorm):
            scale = torch.randn(module.weight.shape)
            module.weight.data = scale * torch.from_numpy(generator.random(len(scale)) > rows / 2)
            module.bias.data = torch.randn(module.weight.shape)
        elif isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            out, into = module.weight.shape[:2]
            dead_out = torch.from_numpy(generator.random(out) < rows)
            module.weight.data[dead_out] = 0
            module.weight.data[:, torch.from_numpy(generator.random(into) < columns)] = 0
            if module.bias is not None:
                silent = torch.from_numpy(generator.random(out) < 0.5) & dead_out
                if isinstance(module, nn.ConvTranspose2d):  # whose rows are inputs
                    silent = torch.from_numpy(generator.random(len(module.bias)) < rows)
                module.bias.data[silent] = 0
    return net.eval()


def check(net: nn.Module, x: Tensor) -> nn.Module:
    before = {name: value.clone() for name, value in net.state_dict().items()}
    small = smaller(net, x)
    with torch.no_grad():
        for batch in (x, 3 * torch.randn(5, *x.shape[1:])):
            expected = plain(net).eval()(batch.clone())
            torch.testing.assert_close(small(batch), expected, rtol=1e-5, atol=1e-5)
    assert not any(module.training for module in small.modules())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    return small


@pytest.mark.slow
@pytest.mark.parametrize("build", NETS + LATER)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    rows=st.sampled_from([0.2, 0.4, 0.6, 0.8]),
    columns=st.sampled_from([0.0, 0.3, 0.6]),
)
def test_outputs_are_those_of_the_masked_network(
    build: type[nn.Module], seed: int, rows: float, columns: float
) -> None:
    torch.manual_seed(seed)
    net = masked(build(), seed, rows, columns)
    small = check(net, example())
    numbers = sum(p.numel() for p in small.parameters())
    # A bias may appear where a folded constant needs one.
    extra = sum(len(m.weight) for m in net.modules() if isinstance(m, nn.Linear | nn.Conv2d))
    assert numbers <= sum(p.numel() for p in net.parameters()) + extra


@pytest.mark.parametrize("build", NETS + LATER)
def test_a_network_without_zeros_keeps_its_sizes(build: type[nn.Module]) -> None:
    net = masked(build(), 0, 0.0, 0.0)
    small = check(net, example())
    assert widths(small) == widths(net)
    assert not [name for name, _ in small.named_modules() if name.endswith("_select")]


def test_pixels_and_units_leave_the_linear_lenet() -> None:
    """The table's "219-214-100": what the three layers read."""
    torch.manual_seed(0)
    net = lenet_300_100()
    net.fc1.weight.data[:, torch.randperm(784)[219:]] = 0
    net.fc1.weight.data[torch.randperm(300)[214:]] = 0
    small = check(net, torch.randn(4, 1, 28, 28))
    assert widths(small) == {"fc1": (219, 214), "fc2": (214, 100), "fc3": (100, 10)}
    assert type(small) is nn.Sequential


def test_filters_leave_the_convolutional_lenet_with_what_they_flatten_to() -> None:
    """The source's "8-13-88-13": 13 filters make 208 features, of which 88 are read."""
    torch.manual_seed(0)
    net = lenet_5_caffe()
    net.conv1.weight.data[torch.randperm(20)[8:]] = 0
    filters = torch.randperm(50)[:13]
    dead = torch.ones(50, dtype=torch.bool).index_fill_(0, filters, value=False)
    net.conv2.weight.data[dead] = 0
    features = (16 * filters[:, None] + torch.arange(16)).flatten()
    net.fc1.weight.data[:, features[torch.randperm(208)[88:]]] = 0
    net.fc2.weight.data[:, torch.randperm(500)[13:]] = 0
    small = check(net, torch.randn(4, 1, 28, 28))
    assert widths(small) == {"conv1": (1, 8), "conv2": (8, 13), "fc1": (88, 13), "fc2": (13, 10)}


def test_a_dead_unit_hands_its_bias_on() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2, bias=False))
    net[0].weight.data[1] = 0
    net[0].bias.data[1] = 0.5
    small = check(net, torch.randn(4, 3))
    assert widths(small) == {"0": (3, 3), "2": (3, 2)}
    torch.testing.assert_close(small.get_submodule("2").bias, 0.5 * net[2].weight[:, 1])


@pytest.mark.parametrize(("bias", "padding", "kept"), [(0.5, 1, 3), (0.5, 0, 2), (-0.5, 1, 2)])
def test_zero_padding_separates_a_constant_from_the_border(
    bias: float, padding: int, kept: int
) -> None:
    """A constant next to padding makes edges, which no bias can hold; zero, or no padding, can."""
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 3, padding=padding))
    net[0].weight.data[0] = 0
    net[0].bias.data[0] = bias
    small = check(net, torch.randn(2, 1, 8, 8))
    assert widths(small) == {"0": (1, kept), "2": (kept, 2)}


def test_padding_in_a_pool_separates_a_constant_from_the_border() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.AvgPool2d(2, padding=1), nn.Conv2d(3, 2, 2), nn.Flatten(),
        nn.Linear(18, 2),
    )  # fmt: skip
    net[0].weight.data[0] = 0
    net[0].bias.data[0] = 3.0
    assert widths(check(net, torch.randn(2, 1, 8, 8)))["0"] == (1, 3)
    net[1].count_include_pad = False
    assert widths(check(net, torch.randn(2, 1, 8, 8)))["0"] == (1, 2)


class Sum(nn.Module):
    """Adds a convolution to what cannot be made smaller: the input, or what has been joined."""

    def __init__(self, joined: bool, first: bool) -> None:
        super().__init__()
        self.joined, self.first = joined, first
        self.a, self.b, self.c = nn.Conv2d(2, 1, 1), nn.Conv2d(2, 1, 1), nn.Conv2d(2, 2, 1)
        self.last = nn.Conv2d(2, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([self.a(x), self.b(x)], 1) if self.joined else x
        return self.last(y + self.c(x) if self.first else self.c(x) + y)


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_sums_with_what_cannot_shrink_stay_whole(joined: bool, first: bool) -> None:
    torch.manual_seed(0)
    net = Sum(joined, first)
    net.last.weight.data[:, 0] = 0  # channel 0 of the sum is not read
    small = check(net, example())
    used = {"a": (1, 1), "b": (2, 1)} if joined else {}  # nothing of what a computes is read
    assert widths(small) == {**used, "c": (2, 2), "last": (1, 3)}


def test_terms_of_a_sum_lose_the_same_channels() -> None:
    """A channel leaves the residual stream only where no layer that reads the stream needs it."""
    net = masked(Residual(), 0, 0.0, 0.0)
    net.head.weight.data[:, :4] = 0  # the head reads channels 4, 5, 6
    net.b1.weight.data[:, [0, 1, 5]] = 0  # and this layer 2, 3, 4, 6
    small = check(net, example())
    found = widths(small)
    assert found["a2"][1] == found["project"][1] == found["b2"][1] == 5
    assert found["b1"] == (4, 4)
    assert found["head"] == (3, 3)
    assert small.get_submodule("norm_b").num_features == 5


def test_a_dead_branch_of_a_sum_disappears() -> None:
    net = masked(Residual(), 0, 0.0, 0.0)
    net.norm_b.weight.data.zero_()
    assert not {"b1", "b2"} & set(widths(check(net, example())))
    net.norm_b.bias.data.zero_()
    assert not list(check(net, example()).buffers(recurse=False))


@pytest.mark.parametrize("build", NETS)
def test_everything_pruned_but_one(build: type[nn.Module]) -> None:
    net = masked(build(), 0, 0.0, 0.0)
    layers = [m for m in net.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    for layer in layers:
        kept = layer.weight.data[0, 0].clone()
        layer.weight.data.zero_()
        layer.weight.data[0, 0] = kept
    small = check(net, example())
    # The last layer keeps its outputs; joined branches are two producers of one stream.
    assert max(max(pair) for pair in list(widths(small).values())[:-1]) <= 2


@pytest.mark.parametrize("build", NETS + LATER)
def test_everything_pruned(build: type[nn.Module]) -> None:
    net = masked(build(), 0, 1.0, 1.0)
    small = check(net, example())
    with torch.no_grad():
        assert torch.equal(small(example()), small(example() + 1))


def test_a_converted_network_with_a_raised_threshold(
    small_net: nn.Sequential, small_data: tuple[Tensor, Tensor]
) -> None:
    penalty = convert(small_net, "sparse-vd", threshold=1.0)
    for name in ("0", "4"):
        posterior = penalty.layers[name].posterior
        assert isinstance(posterior, SparseVDPosterior)
        posterior.log_variance.data[2:4] = 9.0
    small = check(small_net, small_data[0][:4])
    assert widths(small) == {"0": (1, 4), "4": (36, 14), "6": (14, 3)}
    assert widths(small_net) == {"0": (1, 6), "4": (54, 16), "6": (16, 3)}


class Shared(nn.Module):
    """A layer that is called twice, and one whose weight is used by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.tied, self.last = nn.Linear(6, 6), nn.Linear(6, 5), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tied(self.twice(torch.relu(self.twice(x))))
        return self.last(functional.linear(x, self.tied.weight.t()))


def test_shared_layers_stay_whole_and_are_named() -> None:
    net = masked(Shared(), 0, 0.5, 0.0)
    with pytest.warns(KeptWhole, match=r"linear, t, tied \(Linear\), twice \(Linear\)"):
        small = smaller(net, torch.randn(4, 6))
    assert widths(small) == widths(net)
    torch.testing.assert_close(small(torch.ones(2, 6)), net(torch.ones(2, 6)))


def test_unknown_operations_stay_whole() -> None:
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, groups=2), nn.GroupNorm(2, 4), nn.Flatten(),
        nn.Linear(64, 3), nn.ReLU(), nn.Linear(3, 2),
    )  # fmt: skip
    for index in (0, 1, 4):
        net[index].weight.data[:2] = 0
    with pytest.warns(KeptWhole, match=r"are kept: 2 \(GroupNorm\)"):
        small = smaller(net, example())
    assert widths(small) == {**widths(net), "0": (2, 2), "4": (64, 1), "6": (1, 2)}
    torch.testing.assert_close(small(example()), net(example()))


def test_groups_leave_and_those_that_stay_are_alike() -> None:
    """A dead group goes with its inputs; in the others as many channels stay as any needs."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 12, 3), nn.ReLU(), nn.Conv2d(12, 9, 3, groups=3), nn.ReLU(),
        nn.Conv2d(9, 2, 1),
    )  # fmt: skip
    net[2].weight.data[3:6] = 0  # the second group says nothing
    net[2].bias.data[3:6] = 0
    net[4].weight.data[:, 0] = 0  # of the first group two outputs are read, of the third all
    net[2].weight.data[:3, :2] = 0  # the first group reads two inputs, the third three
    net[2].weight.data[6:, 1] = 0
    small = check(net, example())
    assert widths(small) == {"0": (2, 5), "2": (6, 6), "4": (5, 2)}
    assert small.get_submodule("2").groups == 2
    net[2].weight.data[:3] = 0
    net[2].bias.data[:3] = 0
    small = check(net, example())
    assert widths(small) == {"0": (2, 3), "2": (3, 3), "4": (3, 2)}
    assert small.get_submodule("2").groups == 1


def test_pieces_lose_channels_together_where_they_meet() -> None:
    """A gated unit: value and gate of a channel go when their product is not read."""
    net = masked(Gated(), 0, 0.0, 0.0)
    net.b.weight.data[:, [0, 3]] = 0
    small = check(net, example())
    assert widths(small) == {**widths(net), "a": (2, 4), "b": (2, 9)}
    net.c.weight.data[:, 1] = 0
    assert widths(check(net, example()))["b"] == (2, 6)


def test_layer_normalisation_remembers_what_left() -> None:
    """A removed number still counts in mean and variance; what varies stays for them."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 10), nn.ReLU(), nn.LayerNorm(10), nn.Linear(10, 3))
    net[0].weight.data[:3] = 0
    net[0].bias.data[:3] = torch.tensor([0.0, 2.0, 0.5])
    net[3].weight.data[:, [0, 1, 4]] = 0
    small = check(net, torch.randn(4, 8))
    assert widths(small) == {"0": (8, 8), "3": (7, 3)}
    assert small.get_submodule("2").removed == 2
    net[0].weight.data[4] = 0
    assert widths(check(net, torch.randn(4, 8)))["0"] == (8, 7)


class Circle(nn.Module):
    """Adds the pieces of a tensor to it, in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        a, b = x.chunk(2, -1)
        return self.last(torch.cat([b, a], -1) + x)


def test_pieces_that_are_added_to_their_whole_stay() -> None:
    net = masked(Circle(), 0, 0.0, 0.0)
    net.last.weight.data[:, 2] = 0
    assert widths(check(net, torch.randn(3, 8))) == {"first": (8, 6), "last": (5, 2)}


def test_linear_layers_on_sequences() -> None:
    net = masked(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)), 1, 0.5, 0.3)
    small = check(net, torch.randn(2, 5, 8))
    assert sum(map(sum, widths(small).values())) < sum(map(sum, widths(net).values()))


def test_rows_within_rows_stay_rows_and_tensors_keep_their_names() -> None:
    row = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU())
    net = nn.Sequential(row, nn.Flatten(), nn.Sequential(nn.Linear(144, 6), nn.Linear(6, 3)))
    small = check(masked(net, 0, 0.0, 0.0), example())
    assert type(small) is nn.Sequential
    assert small.state_dict().keys() == net.state_dict().keys()
    again = check(nn.Sequential(row, nn.Conv2d(4, 2, 1), row[1]), example())
    assert again(example()).shape == (3, 2, 6, 6)


def test_nothing_but_an_identity() -> None:
    assert smaller(nn.Sequential(nn.Flatten()), example())(example()).shape == (3, 128)
    assert smaller(nn.Sequential(), example())(example()).shape == (3, 2, 8, 8)


def test_layers_across_channels_need_them_all() -> None:
    """A linear layer over time after a convolution, and a batch norm over what is not channels."""
    net = nn.Sequential(
        nn.Conv1d(2, 5, 3), nn.Linear(6, 4), nn.BatchNorm1d(5), nn.Flatten(), nn.Linear(20, 3)
    )
    net[0].weight.data[:2] = 0
    net[1].weight.data[:, :3] = 0
    net[1].weight.data[3] = 0
    with pytest.warns(KeptWhole, match=r"2 \(BatchNorm1d\)"):
        small = smaller(net, torch.randn(2, 2, 8))
    assert widths(small) == {**widths(net), "1": (3, 4)}
    x = torch.randn(4, 2, 8)
    torch.testing.assert_close(small(x), net.eval()(x), rtol=1e-5, atol=1e-5)


class Mean(nn.Module):
    """Averages over positions, or over channels where there are as many positions."""

    def __init__(self, over: int) -> None:
        super().__init__()
        self.over, self.first, self.last = over, nn.Conv1d(2, 6, 3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).mean(self.over))


def test_a_mean_over_channels_needs_them_all() -> None:
    net = Mean(over=-1)
    net.first.weight.data[:2] = 0
    assert widths(check(net, torch.randn(2, 2, 8)))["first"] == (2, 4)
    net.over = 1
    with pytest.warns(KeptWhole, match="mean"):
        assert widths(smaller(net, torch.randn(2, 2, 8)))["first"] == (2, 6)


class Overwriting(nn.Module):
    """Reads what a rectifier has overwritten, by its first name or under another."""

    def __init__(self, alias: bool) -> None:
        super().__init__()
        self.alias, self.first, self.last = alias, nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        other = x.view(-1, 6) if self.alias else x
        y = functional.relu(x, inplace=True)
        return self.last(y + other)


def test_what_is_overwritten_is_read_as_overwritten() -> None:
    check(masked(Overwriting(alias=False), 0, 0.5, 0.0), torch.randn(3, 4))
    with pytest.raises(InputError, match="in place"):
        smaller(Overwriting(alias=True), torch.randn(3, 4))


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if x.sum() > 0 else x


def test_control_flow_is_refused_with_advice() -> None:
    with pytest.raises(InputError, match=r"cannot be traced.*Remove such branches"):
        smaller(Branching(), torch.ones(1, 2))


def test_an_example_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="fails on the example"):
        smaller(lenet_300_100(), torch.ones(1, 5))


@pytest.mark.parametrize("dynamo", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_it_runs_elsewhere_through_onnx(tmp_path: Path, dynamo: bool) -> None:
    """With another number of examples than it was exported with, by both of torch's exporters."""
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    x = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    net = masked(lenet_5_caffe((4, 5), 8), 0, 0.4, 0.4)
    small, file = check(net, x), tmp_path / "net.onnx"
    free = (
        {"dynamic_shapes": ({0: torch.export.Dim("batch", min=2)},)}
        if dynamo
        else {"dynamic_axes": {"x": {0: "batch"}}}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters' own
        torch.onnx.export(
            small,
            (x,),
            file,
            input_names=["x"],
            output_names=["y"],
            dynamo=dynamo,
            verbose=False,
            **free,
        )
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    more = torch.cat([x, x.flip(0)])
    (found,) = session.run(None, {"x": more.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, net(more).numpy(), atol=1e-5)


def test_rectifiers_follow_pooling_only_where_nothing_else_reads_them() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu, self.pool = nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            up = self.relu(self.conv(x))
            return self.pool(up).sum() + up.mean()

    torch.manual_seed(0)
    chain = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(3, padding=1)).eval()
    x = torch.randn(2, 1, 9, 9)
    kinds = [type(module) for module in smaller(chain, x)]
    assert kinds == [nn.Conv2d, nn.MaxPool2d, nn.ReLU]
    torch.testing.assert_close(smaller(chain, x)(x), chain(x))
    both = Both().eval()
    with pytest.warns(KeptWhole):
        torch.testing.assert_close(smaller(both, x)(x), both(x))
