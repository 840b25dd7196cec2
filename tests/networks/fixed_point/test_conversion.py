"""Networks in integers are copies: other layers and another arithmetic, the same wiring."""

import torch
from torch import nn

from laconic.networks.arithmetic import FLOAT
from laconic.networks.fixed_point.arithmetic import FIXED_POINT, from_float, to_float
from laconic.networks.fixed_point.conversion import to_fixed_point
from laconic.networks.fixed_point.convolution import FixedConvolution
from laconic.networks.residual import Block


def block() -> Block:
    torch.manual_seed(0)
    made = Block(nn.Conv2d(3, 3, 3, padding=1), 3).double()
    nn.init.normal_(made.outer.weight)
    return made.requires_grad_(False)


def test_the_copy_computes_in_integers_and_the_network_stays_in_floats() -> None:
    network = block()
    fixed, x = to_fixed_point(network), torch.randn(2, 3, 5, 6, dtype=torch.float64)
    wanted, got = network(x), fixed(from_float(x))
    assert torch.equal(got, torch.floor(got))
    assert float((to_float(got) - wanted).abs().max()) < 1e-3
    assert (network.arithmetic, fixed.arithmetic) == (FLOAT, FIXED_POINT)
    assert isinstance(network.inner, nn.Conv2d)
    assert isinstance(fixed.inner, FixedConvolution)


def test_later_changes_of_the_weights_are_not_seen() -> None:
    network, x = block(), from_float(torch.randn(1, 3, 5, 6, dtype=torch.float64))
    fixed = to_fixed_point(network)
    before = fixed(x)
    for parameter in network.parameters():
        parameter.zero_()
    assert torch.equal(fixed(x), before)
