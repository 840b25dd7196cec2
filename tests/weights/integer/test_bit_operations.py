"""Bit operations by hand, and the source's example of a first layer left as it is."""

import math

import pytest
import torch
from torch import nn

from laconic.errors import InputError
from laconic.weights import convert, plain
from laconic.weights.integer.bit_operations import LayerCost, bit_operations, layer_costs

RESNET_18 = [
    (3, 64, 7, 112), *[(64, 64, 3, 56)] * 4, (64, 128, 3, 28), (64, 128, 1, 28),
    *[(128, 128, 3, 28)] * 3, (128, 256, 3, 14), (128, 256, 1, 14), *[(256, 256, 3, 14)] * 3,
    (256, 512, 3, 7), (256, 512, 1, 7), *[(512, 512, 3, 7)] * 3, (512, 1000, 1, 1),
]  # fmt: skip
"""Inputs, outputs, kernel, places along a side."""


def resnet_18(first_bits: int, bits: int) -> float:
    total = 0.0
    for index, (inputs, outputs, kernel, side) in enumerate(RESNET_18):
        used = bits if index else first_bits
        fan_in = inputs * kernel**2
        total += LayerCost(outputs * fan_in * side**2, fan_in, used, used).bit_operations
    return total


def test_a_first_layer_in_full_precision_costs_what_the_source_says() -> None:
    """Louizos 8.4.2: roughly 2.5 times as many as with 5 bits everywhere."""
    assert resnet_18(32, 5) / resnet_18(5, 5) == pytest.approx(2.5, abs=0.1)


def test_resnet_18_in_full_precision_costs_what_uniq_says() -> None:
    """1920 GBOPs in its table of ImageNet networks; within 6 %."""
    assert resnet_18(32, 32) == pytest.approx(1920e9, rel=0.06)


def test_layers_are_counted_by_hand(small_net: nn.Module, small_data: object) -> None:
    convert(small_net, "rq", weight_bits=4, activation_bits=3)
    small_net(torch.rand(5, 1, 8, 8))
    costs = layer_costs(small_net, torch.rand(7, 1, 8, 8), input_bits=8)
    assert costs == {
        "0": LayerCost(6 * 9 * 36, 9, 4, 8),
        "4": LayerCost(54 * 16, 54, 4, 3),
        "6": LayerCost(16 * 3, 16, 4, 3),
    }
    total = sum(
        products * (a * 4 + a + 4 + math.log2(fan_in))
        for products, fan_in, a in ((1944, 9, 8), (864, 54, 3), (48, 16, 3))
    )
    assert bit_operations(small_net, torch.rand(1, 1, 8, 8), 8) == pytest.approx(total)


def test_what_is_not_quantised_counts_32_bits(small_net: nn.Module) -> None:
    example = torch.rand(1, 1, 8, 8)
    before = layer_costs(small_net, example)
    assert {(cost.weight_bits, cost.activation_bits) for cost in before.values()} == {(32, 32)}
    convert(small_net, "sparse-vd")
    assert layer_costs(small_net, example) == before


def test_shared_layers_groups_and_modes() -> None:
    layer = nn.Conv2d(4, 4, 3, padding=1, groups=2)
    net = nn.Sequential(layer, nn.Dropout(0.5), layer).train()
    costs = layer_costs(net, torch.rand(2, 4, 5, 5))
    assert costs == {"0": LayerCost(2 * 4 * 25 * 18, 18)}
    assert all(module.training for module in net.modules())
    assert not layer._forward_hooks


def test_nothing_to_count_is_an_error() -> None:
    with pytest.raises(InputError, match="no linear"):
        layer_costs(nn.Sequential(nn.ReLU()), torch.rand(1, 2))


def test_a_network_from_a_file_costs_what_the_trained_one_does(small_net: nn.Module) -> None:
    """Its grids are seen: all of 3 bits are used here, and signed and unsigned ones differ."""
    convert(small_net, "rq", weight_bits=3, activation_bits=4)
    small_net(torch.rand(5, 1, 8, 8))
    example = torch.rand(1, 1, 8, 8)
    trained = layer_costs(small_net, example, input_bits=8)
    ordinary = layer_costs(plain(small_net), example, input_bits=8)
    assert list(ordinary.values()) == list(trained.values())


def test_weights_that_use_few_points_cost_few_bits() -> None:
    layer = nn.Linear(4, 2, bias=False)
    for values, bits in (
        ([-1, 0, 1, 1], 2),
        ([-2, 0, 1, 1], 2),
        ([-1, 0, 2, 1], 3),
        ([0, 1] * 2, 1),
    ):
        layer.weight.data = 0.3 * torch.tensor([values, values], dtype=torch.float32)
        (cost,) = layer_costs(layer, torch.rand(1, 4)).values()
        assert cost.weight_bits == bits


def test_transposed_convolutions_and_embeddings() -> None:
    net = nn.Sequential(nn.ConvTranspose1d(4, 6, 2, stride=2), nn.Conv1d(6, 1, 1))
    costs = layer_costs(net, torch.zeros(1, 4, 5))
    assert (costs["0"].multiply_adds, costs["0"].fan_in) == (5 * 4 * 12, 4)
    words = nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 2))
    convert(words, "rq")
    assert list(layer_costs(words, torch.zeros(1, 3, dtype=torch.int64))) == ["1"]
