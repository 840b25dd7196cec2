"""Networks without their last linear layer."""

import pytest
import torch
from torch import nn

from laconic.errors import InputError
from laconic.networks.lenet import lenet_5_caffe
from laconic.networks.resnet import ResNet
from laconic.networks.torso import torso_of


def test_a_torso_gives_the_features_of_the_last_layer() -> None:
    net = lenet_5_caffe().eval()
    x = torch.randn(2, 1, 28, 28)
    torso = torso_of(net)
    torch.testing.assert_close(net.fc2(torso(x)), net(x))
    assert torso(x).shape == (2, 500)
    assert isinstance(net.fc2, nn.Linear)
    residual = ResNet(8).eval()
    assert torso_of(residual)(torch.randn(2, 3, 32, 32)).shape == (2, 64)


def test_a_network_without_a_linear_layer_is_refused() -> None:
    with pytest.raises(InputError, match="has no linear layer to leave out"):
        torso_of(nn.Sequential(nn.Conv2d(1, 2, 3)))
    with pytest.raises(InputError, match="has no linear layer to leave out"):
        torso_of(nn.Linear(2, 2))
