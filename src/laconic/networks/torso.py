"""A network without its last linear layer: what computes the features that a classifier reads."""

from copy import deepcopy

from torch import nn

from laconic.errors import InputError


def torso_of(net: nn.Module) -> nn.Module:
    """A copy of a network whose last linear layer is replaced by the identity.

    Args:
        net: a network with a linear layer as its output, as LeNets and residual networks have.

    Raises:
        InputError: the network has no linear layer.
    """
    names = [name for name, module in net.named_modules() if isinstance(module, nn.Linear)]
    if not names or not names[-1]:
        raise InputError("the network has no linear layer to leave out: give its torso itself")
    torso = deepcopy(net)
    parent, _, last = names[-1].rpartition(".")
    setattr(torso.get_submodule(parent), last, nn.Identity())
    return torso
