"""Evaluation mode for a while, and modules that keep their numbers where something fails."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluation(net: nn.Module) -> Iterator[None]:
    """The whole network in evaluation mode; afterwards every module has its own mode again."""
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def restored_on_failure(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Parameters and buffers get their old values back, in place, if an exception is raised."""
    tensors = [
        tensor
        for module in modules
        for named in (module.named_parameters(), module.named_buffers())
        for _, tensor in named
    ]
    kept = [tensor.detach().clone() for tensor in tensors]
    try:
        yield
    except BaseException:
        with torch.no_grad():
            for tensor, value in zip(tensors, kept, strict=True):
                tensor.copy_(value)
        raise
