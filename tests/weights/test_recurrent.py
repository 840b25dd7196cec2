"""Recurrent layers as linear ones: the same numbers as torch's own, and what methods do to them."""

import pytest
import torch
from torch import Tensor, nn

import laconic
from laconic.errors import InputError
from laconic.weights import METHODS, convert, linear_cells, plain


def flat(result: object) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    assert isinstance(result, tuple)
    return [tensor for part in result for tensor in flat(part)]


def same(found: object, wanted: object) -> None:
    torch.testing.assert_close(flat(found), flat(wanted), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("options", [
    {}, {"num_layers": 2, "bidirectional": True}, {"batch_first": True, "bias": False},
])  # fmt: skip
def test_layers_compute_what_torchs_do(kind: type[nn.RNNBase], options: dict[str, int]) -> None:
    torch.manual_seed(0)
    net = nn.ModuleDict({"r": kind(3, 4, **options)}).eval()
    x = torch.randn(5, 2, 3)
    one = net["r"](x)
    with_state, single = net["r"](x, one[1]) if not options.get("batch_first") else None, x[:, 0]
    alone = net["r"](single)
    assert linear_cells(net) == 1
    same(net["r"](x), one)
    same(net["r"](single), alone)
    if with_state is not None:
        same(net["r"](x, one[1]), with_state)


@pytest.mark.parametrize("cell", [
    nn.LSTMCell(3, 4), nn.GRUCell(3, 4, bias=False), nn.RNNCell(3, 4, nonlinearity="relu"),
])  # fmt: skip
def test_cells_compute_what_torchs_do(cell: nn.Module) -> None:
    net, x = nn.Sequential(cell), torch.randn(2, 3)
    first = net[0](x)
    second = net[0](x, first)
    linear_cells(net)
    same(net[0](x), first)
    same(net[0](x, first), second)


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.lstm, self.last = nn.Embedding(9, 4), nn.LSTM(4, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.lstm(self.table(x))[0])


@pytest.mark.parametrize("method", METHODS)
def test_they_are_converted_trained_and_stored(method: str) -> None:
    torch.manual_seed(0)
    net, again, x = Tagger(), Tagger(), torch.randint(9, (6, 3))
    linear_cells(net)
    penalty = convert(net, method)  # warns of nothing
    assert list(penalty.layers) == [
        "table", "lstm.cells.0.input", "lstm.cells.0.hidden", "last",
    ]  # fmt: skip
    (net(x).square().mean() + penalty() / 6).backward()
    net.eval()
    torch.testing.assert_close(plain(net)(x), net(x))
    linear_cells(again)
    tensors = laconic.expand(laconic.shrink(net), into=again)
    assert tensors.keys() == plain(net).state_dict().keys()


def test_what_cannot_be_written_is_refused_and_the_way_is_named() -> None:
    net = nn.ModuleDict({"a": nn.GRU(3, 4), "b": nn.LSTM(3, 4, proj_size=2), "c": nn.Linear(2, 2)})
    with pytest.raises(InputError, match="'b' projects"):
        linear_cells(net)
    assert isinstance(net["a"], nn.GRU)
    with pytest.warns(UserWarning, match=r"a, b\. .*linear_cells"):
        convert(net, "sparse-vd")
    linear = nn.ModuleDict({"a": nn.GRU(3, 4)})
    linear_cells(linear)
    packed = nn.utils.rnn.pack_sequence([torch.randn(3, 3)])
    with pytest.raises(InputError, match="packed"):
        linear["a"](packed)
