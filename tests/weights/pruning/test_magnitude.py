"""Pruning by magnitude: the largest outputs stay, and the smaller network computes the same."""

from typing import Any

import pytest
import torch
from torch import nn

from laconic.errors import InputError
from laconic.networks.lenet import lenet_5_caffe
from laconic.weights import convert, keep_largest, smaller, widths


def test_the_largest_outputs_stay_and_the_rest_is_zero() -> None:
    layer = nn.Linear(3, 4)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0], [-3.0], [0.5], [2.0]]).expand(4, 3))
    before = layer.weight.clone(), layer.bias.clone()
    keep_largest(nn.Sequential(layer), {"0": 2})
    for now, was in zip((layer.weight, layer.bias), before, strict=True):
        assert torch.equal(now[[1, 3]], was[[1, 3]])
        assert not now[[0, 2]].any()


def test_a_narrow_network_is_made_that_can_be_converted() -> None:
    torch.manual_seed(0)
    net, x = lenet_5_caffe(), torch.randn(3, 1, 28, 28)
    keep_largest(net, {"conv1": 7, "conv2": 11, "fc1": 30})
    small = smaller(net, x)
    assert widths(small) == {
        "conv1": (1, 7), "conv2": (7, 11), "fc1": (11 * 16, 30), "fc2": (30, 10)
    }  # fmt: skip
    assert torch.allclose(small(x), net(x), atol=1e-5)
    penalty = convert(small, "miracle")
    assert sorted(penalty.layers) == ["conv1", "conv2", "fc1", "fc2"]


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"conv9": 3}, "conv9.*no such layer"),
        ({"relu1": 3}, "relu1.*ReLU"),
        ({"conv1": 21}, "conv1.*20 outputs.*21"),
        ({"conv1": 0}, "conv1.*20 outputs.*0"),
        ({"conv1": True}, "conv1.*20 outputs.*True"),
        ({"conv1": 2.5}, "conv1.*20 outputs.*2.5"),
    ],
)
def test_what_cannot_be_kept_is_named_and_nothing_changes(
    outputs: dict[str, Any], message: str
) -> None:
    net = lenet_5_caffe()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(InputError, match=message):
        keep_largest(net, {"conv2": 3, **outputs})
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.utils.parametrizations.weight_norm(nn.Linear(4, 6)), "computed from others"),
        (nn.LazyLinear(6), "no shape yet"),
        (nn.Linear(4, 6, device="meta"), "meta device"),
    ],
)
def test_weights_that_cannot_be_chosen_among_are_refused(layer: nn.Module, message: str) -> None:
    with pytest.raises(InputError, match=message):
        keep_largest(nn.Sequential(layer), {"0": 3})
