"""Perceptrons and LeNets of other sizes: widths, and shapes of what they take."""

import torch
from torch import nn

from laconic.networks.lenet import lenet_5_caffe
from laconic.networks.perceptron import perceptron


def test_widths_and_shapes() -> None:
    net = perceptron((7, 5), inputs=12, classes=3)
    widths = [(one.in_features, one.out_features) for one in net if isinstance(one, nn.Linear)]
    assert widths == [(12, 7), (7, 5), (5, 3)]
    assert net(torch.randn(2, 3, 4)).shape == (2, 3)


def test_a_lenet_for_colour_pictures() -> None:
    net = lenet_5_caffe((4, 6), 8, channels=3, side=32, classes=5)
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 5)
    assert lenet_5_caffe()(torch.randn(1, 1, 28, 28)).shape == (1, 10)
