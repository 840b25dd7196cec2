"""Statistics of batch normalisation, taken anew after training.

What training has averaged belongs to networks that were still changing and, under most methods, to
drawn weights. The network that is stored has statistics of its own: one pass over some batches
finds them. Call this last, on the converted network or on the plain one.

Source: Louizos 10.6.1.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from laconic.errors import InputError
from laconic.training.modes import evaluation


@torch.no_grad()
def reestimate(net: nn.Module, batches: Iterable[Tensor]) -> int:
    """Replace the running statistics of all batch normalisations, in place.

    All other modules are in evaluation mode meanwhile: nothing is drawn or dropped. Every batch
    counts by its size, and should be as large as one of training.

    Args:
        net: the network; the modes of its modules are put back.
        batches: inputs, at least one batch with more than one example.

    Returns:
        How many modules were given new statistics; 0 for a network without them.

    Raises:
        InputError: there are modules, but no batch.

    Formula: means over the batches of each one's mean and unbiased variance.
    """
    modules = [
        module
        for module in net.modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    ]
    if not modules:
        return 0
    momenta = [module.momentum for module in modules]
    seen = 0
    with evaluation(net):
        try:
            for module in modules:
                module.reset_running_stats()
                module.training = True
            for batch in batches:
                seen += len(batch)
                for module in modules:
                    module.momentum = len(batch) / seen
                net(batch)
        finally:
            for module, momentum in zip(modules, momenta, strict=True):
                module.momentum = momentum
    if not seen:
        raise InputError("no batch to take the statistics from: they are lost; give some and rerun")
    return len(modules)
