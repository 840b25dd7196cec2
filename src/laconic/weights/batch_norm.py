"""New statistics of batch normalisation after training.

Training averages statistics over networks that were still changing and, with most methods, over
drawn weights. The stored network has other statistics; one pass over some batches computes them.
Call this last, on the converted network or on the plain one.

Source: Louizos 10.6.1.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from laconic.errors import InputError
from laconic.training.modes import evaluation, restored_on_failure


@torch.no_grad()
def reestimate(net: nn.Module, batches: Iterable[Tensor]) -> int:
    """Replace the running statistics of all batch normalisations, in place.

    All other modules are in evaluation mode during the pass: nothing is drawn or dropped. Batches
    are weighted by their size; a batch should be as large as in training. A module that the forward
    pass does not use keeps its statistics. If anything fails, all modules keep theirs.

    Args:
        net: the network; its modules keep their modes.
        batches: inputs, at least one batch with more than one example.

    Returns:
        Number of modules with new statistics; 0 for a network without batch normalisation.

    Raises:
        InputError: there is batch normalisation, but no batch; or the new statistics are NaN or
            infinite.

    Formula: means over the batches of each one's mean and unbiased variance.
    """
    modules = [
        module
        for module in net.modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    ]
    if not modules:
        return 0
    seen = dict.fromkeys(modules, 0)

    def weigh(module: nn.Module, given: tuple[Any, ...]) -> None:
        assert isinstance(module, _BatchNorm)
        seen[module] += len(given[0])
        module.momentum = len(given[0]) / max(seen[module], 1)

    momenta = [module.momentum for module in modules]
    with evaluation(net), restored_on_failure(modules):
        handles = [module.register_forward_pre_hook(weigh) for module in modules]
        try:
            _run(net, batches, modules)
        finally:
            for module, handle, momentum in zip(modules, handles, momenta, strict=True):
                handle.remove()
                module.momentum = momentum
        used = [module for module in modules if seen[module]]
        _check(net, used)
    return len(used)


def _run(net: nn.Module, batches: Iterable[Tensor], modules: Sequence[_BatchNorm]) -> None:
    for module in modules:
        module.training = True
    empty = True
    for batch in batches:
        net(batch)
        empty = False
    if empty:
        raise InputError("no batch was given: the network keeps its statistics")


def _check(net: nn.Module, modules: Sequence[_BatchNorm]) -> None:
    names = {module: name for name, module in net.named_modules()}
    for module in modules:
        for statistic in (module.running_mean, module.running_var):
            if statistic is not None and not bool(statistic.isfinite().all()):
                raise InputError(
                    f"the batches give {names[module] or 'the network'} statistics that are NaN or "
                    "infinite: the network keeps its statistics"
                )
