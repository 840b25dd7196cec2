"""Contexts: evaluation mode, and parameters that are restored after an exception."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluation(net: nn.Module) -> Iterator[None]:
    """The whole network in evaluation mode; at the end every module gets its old mode back."""
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def restored_on_failure(modules: Iterable[nn.Module]) -> Iterator[None]:
    """If an exception is raised, parameters and buffers get their old values back, in place."""
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
