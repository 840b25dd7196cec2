"""The LeNets have the sizes that papers count."""

import torch

from laconic.networks.lenet import lenet_5_caffe, lenet_300_100


def test_parameters_are_those_of_the_literature() -> None:
    def count(net: torch.nn.Module) -> int:
        return sum(p.numel() for p in net.parameters())

    assert count(lenet_300_100()) == 266_610
    assert count(lenet_5_caffe()) == 431_080
    for net in (lenet_300_100(), lenet_5_caffe(), lenet_5_caffe((32, 64), 512)):
        assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
