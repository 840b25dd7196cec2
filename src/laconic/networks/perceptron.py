"""Networks of linear layers and rectifiers: "permutation-invariant", since pixels have no order."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def perceptron(hidden: Sequence[int], inputs: int = 784, classes: int = 10) -> nn.Sequential:
    """Linear layers with rectifiers in between; takes `(batch, ...)` of `inputs` numbers each.

    Args:
        hidden: units of each hidden layer.
        inputs: numbers of one input.
        classes: outputs.

    Source: Louizos 3.4.2, with two layers of 400 and three of 750.
    """
    widths = [inputs, *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for wide, next_one in pairwise(widths):
        layers += [nn.Linear(wide, next_one), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))
