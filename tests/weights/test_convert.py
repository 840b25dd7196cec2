"""Conversion: every layer once, nothing skipped in silence, stored networks compute the same."""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

import laconic
from laconic.errors import ConfigError, InputError
from laconic.weights import METHODS, NotTraining, UntouchedModules, convert, plain, smaller


def test_other_modules_are_named() -> None:
    net = nn.Sequential(
        nn.Linear(4, 4), nn.BatchNorm1d(4), nn.LSTM(4, 4), nn.Embedding(4, 2, max_norm=1.0)
    )
    with pytest.warns(UntouchedModules, match="1, 2, 3"):
        penalty = convert(net, "sparse-vd")
    assert penalty.untouched == ("1", "2", "3")


class Upwards(nn.Module):
    """A transposed convolution that is given the size of its output."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(1, 3, 3, stride=2), nn.ConvTranspose2d(3, 1, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.down(x), output_size=x.shape[2:])


@pytest.mark.parametrize("method", METHODS)
def test_transposed_convolutions_take_the_size_of_their_output(method: str) -> None:
    net, x = Upwards(), torch.randn(2, 1, 8, 7)
    convert(net, method)
    assert net(x).shape == x.shape
    net.eval()
    torch.testing.assert_close(plain(net)(x), net(x))


class Words(nn.Module):
    """Indices to features, averaged, to classes."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.last = nn.Embedding(20, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.table(x)).mean(1))


@pytest.mark.parametrize("method", METHODS)
def test_embeddings_train_are_stored_and_get_smaller(method: str) -> None:
    torch.manual_seed(0)
    net, x = Words(), torch.randint(20, (8, 5))
    net.table.weight.data[:, 2] = 0
    penalty = convert(net, method)
    assert list(penalty.layers) == ["table", "last"]
    (net(x).square().mean() + penalty() / 8).backward()
    again = Words()
    laconic.expand(laconic.shrink(net.eval()), into=again)
    if method != "miracle":  # which draws its weights
        torch.testing.assert_close(again(x), net(x), atol=0.3, rtol=0.3)
    ordinary = plain(net)
    small = smaller(ordinary, x)
    assert small.get_submodule("table").embedding_dim <= 5
    torch.testing.assert_close(small(x), ordinary(x))


def test_modules_can_be_left_alone() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))
    with pytest.warns(UntouchedModules, match=r"1\.0, 1\.1"):
        penalty = convert(net, "sparse-vd", skip=("1",))
    assert list(penalty.layers) == ["0"]
    with pytest.raises(InputError, match="'2'"):
        convert(nn.Sequential(nn.Linear(2, 2)), "sparse-vd", skip=("2",))


class Doubled(nn.Linear):
    """Computes something else than the layer that it is made of."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Renamed(nn.Linear):
    """Computes the same."""


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)),
        lambda: Doubled(4, 4),
        lambda: hooked(nn.Linear(4, 4)),
    ],
)
def test_layers_that_do_more_than_their_kind_are_left_alone(make: Callable[[], nn.Module]) -> None:
    net, x = nn.Sequential(make(), Renamed(4, 2)), torch.randn(5, 4)
    before = net[0](x)
    with pytest.warns(UntouchedModules, match="left as they are: 0"):
        penalty = convert(net, "sparse-vd")
    assert list(penalty.layers) == ["1"]
    assert torch.equal(net[0](x), before)
    again = plain(net.eval())
    assert torch.equal(again(x), net(x))
    laconic.expand(laconic.shrink(net, lossless=True), into=again)
    assert torch.equal(again(x), net(x))


def test_networks_in_the_hands_of_prune_must_be_let_go() -> None:
    """Torch cannot copy them; they could be converted, but never stored."""
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    prune.random_unstructured(net[0], "weight", 0.5)
    with pytest.raises(InputError, match=r"prune\.remove"):
        plain(net)
    with pytest.warns(UntouchedModules, match="0"):
        convert(net, "sparse-vd")
    prune.remove(net[0], "weight")
    assert torch.equal(plain(net)[0].weight, net[0].weight)


def hooked(layer: nn.Module) -> nn.Module:
    layer.register_forward_hook(lambda module, inputs, output: output + 1)
    return layer


def test_weights_without_numbers_are_refused_by_name() -> None:
    for layer, message in (
        (nn.LazyLinear(3), r"1\.weight has no shape yet"),
        (nn.Linear(3, 3, device="meta"), r"1\.weight is on the meta device"),
    ):
        with pytest.raises(InputError, match=message):
            convert(nn.Sequential(nn.Linear(3, 3), layer), "sparse-vd")


@pytest.mark.parametrize("method", ["bc-gnj", "miracle"])
def test_transformers_of_torch_train_and_evaluate(method: str) -> None:
    """Their attention reads the weight of its last layer, and their fast path those of all."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net, x = nn.Sequential(nn.TransformerEncoder(layer, 2), nn.Linear(8, 3)), torch.randn(3, 5, 8)
    with pytest.warns(UntouchedModules, match=r"self_attn\.out_proj"):
        penalty = convert(net, method)
    assert len(penalty.layers) == 5
    (net(x).square().mean() + penalty() / 100).backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        torch.testing.assert_close(net.eval()(x), plain(net)(x))


def test_tied_weights_of_two_layers_are_refused() -> None:
    net = nn.Sequential(nn.Embedding(8, 4), nn.Linear(4, 8))
    net[1].weight = net[0].weight
    with pytest.raises(InputError, match=r"0\.weight and 1\.weight"):
        convert(net, "sparse-vd")


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.Linear(2, 2), "single layer"),
        (nn.Sequential(nn.ReLU()), "no layer to convert"),
    ],
)
def test_what_cannot_be_converted(net: nn.Module, message: str) -> None:
    with pytest.raises(InputError, match=message):
        convert(net, "sparse-vd")


def test_unknown_methods_and_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="magic"):
        convert(nn.Sequential(nn.Linear(2, 2)), "magic")
    with pytest.raises(ConfigError, match="thresold"):
        convert(nn.Sequential(nn.Linear(2, 2)), "sparse-vd", thresold=1.0)


def test_training_in_evaluation_mode_is_warned_of() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    penalty = convert(net, "miracle")
    with pytest.warns(NotTraining, match=r"net\.train\(\)"):
        penalty()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with torch.no_grad():
            penalty()
        net.train()
        penalty()
