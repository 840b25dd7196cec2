"""The two LeNets that papers on network compression measure on MNIST."""

from collections import OrderedDict

from torch import nn


def lenet_300_100() -> nn.Sequential:
    """784-300-100-10 with rectifiers: 266,610 parameters; takes `(batch, 1, 28, 28)`.

    Source: LeCun et al. 1998; Louizos 6.4, Ullrich 3.4.
    """
    layers: list[tuple[str, nn.Module]] = [
        ("flatten", nn.Flatten()),
        ("fc1", nn.Linear(784, 300)),
        ("relu1", nn.ReLU()),
        ("fc2", nn.Linear(300, 100)),
        ("relu2", nn.ReLU()),
        ("fc3", nn.Linear(100, 10)),
    ]
    return nn.Sequential(OrderedDict(layers))


def lenet_5_caffe(
    filters: tuple[int, int] = (20, 50),
    hidden: int = 500,
    channels: int = 1,
    side: int = 28,
    classes: int = 10,
) -> nn.Sequential:
    """Two 5x5 convolutions with pooling, two linear layers; 431,080 parameters.

    Takes `(batch, channels, side, side)`.

    Args:
        filters: channels of the convolutions; (32, 64) in the tables on relaxed quantisation.
        hidden: units of the hidden linear layer; 512 in those tables.
        channels: of the pictures.
        side: of the pictures, in pixels; a multiple of 4.
        classes: outputs.

    Source: the LeNet-5 of Caffe; Louizos 6.4 and 8.4, Ullrich 3.4.
    """
    layers: list[tuple[str, nn.Module]] = [
        ("conv1", nn.Conv2d(channels, filters[0], 5)),
        ("relu1", nn.ReLU()),
        ("pool1", nn.MaxPool2d(2)),
        ("conv2", nn.Conv2d(filters[0], filters[1], 5)),
        ("relu2", nn.ReLU()),
        ("pool2", nn.MaxPool2d(2)),
        ("flatten", nn.Flatten()),
        ("fc1", nn.Linear((side // 4 - 3) ** 2 * filters[1], hidden)),
        ("relu3", nn.ReLU()),
        ("fc2", nn.Linear(hidden, classes)),
    ]
    return nn.Sequential(OrderedDict(layers))
