"""Mean-only autoregressive flows: bijections of latents that preserve volume.

```
 one step:  z_i ◄─ z_i + shift_i(z_<i)        the next step in the opposite order
```

The forward direction computes all shifts at once, the backward direction one after the other. An
encoder that draws and then goes forwards is an inverse autoregressive flow; a marginal that
evaluates densities forwards is a masked one.
Source: Alemi, F.1 and F.3; Kingma et al. 2016 (IAF), Papamakarios et al. 2017 (MAF).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Transform, constraints

from laconic.errors import MissingPackageError


def masked_mlp(adjacency: Tensor, hidden: Sequence[int]) -> nn.Module:
    """A MADE: output i depends on input j only where `adjacency[i, j]`; ReLUs in between.

    Raises:
        MissingPackageError: zuko is not installed.
    """
    validate = Distribution._validate_args
    try:
        from zuko.nn import MaskedMLP
    except ImportError as error:
        raise MissingPackageError("flows need", "zuko", "flows") from error
    finally:  # zuko's import turns torch's argument checks off for the process
        Distribution.set_default_validate_args(validate)
    network: nn.Module = MaskedMLP(adjacency, list(hidden), nn.ReLU)
    return network


class ShiftStep(nn.Module):
    """One step; initially the identity.

    Args:
        features: length of the vectors.
        hidden: widths of the masked network's hidden layers.
        backwards: whether later features come first in the order.
    """

    order: Tensor

    def __init__(self, features: int, hidden: Sequence[int], backwards: bool) -> None:
        super().__init__()
        order = torch.arange(features)
        self.register_buffer("order", order.flip(0) if backwards else order, persistent=False)
        self.network = masked_mlp(self.order[:, None] > self.order, hidden)
        last = list(self.network.parameters())[-2:]
        for parameter in last:
            nn.init.zeros_(parameter)

    def shift(self, z: Tensor) -> Tensor:
        """The shift of `z`, `(batch, features)`; that of a feature depends on earlier ones only."""
        output: Tensor = self.network(z)
        return output.to(z.dtype)

    def invert(self, z: Tensor) -> Tensor:
        """The vector that the step maps to `z`, one feature after the other."""
        found = torch.zeros_like(z)
        for _ in range(z.shape[-1]):  # every pass fixes the next feature in the order
            found = z - self.shift(found)
        return found


class ShiftTransform(Transform):
    """A flow in torch's interface of transforms; it caches its last input and output.

    Args:
        steps: the steps of the flow.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, steps: Sequence[ShiftStep]) -> None:
        super().__init__(cache_size=1)
        self.steps = steps

    def _call(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = x + step.shift(x)
        return x

    def _inverse(self, y: Tensor) -> Tensor:
        for step in reversed(list(self.steps)):
            y = step.invert(y)
        return y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Zero, because shifts preserve volume; `(batch,)`."""
        return x.new_zeros(x.shape[:-1])

    def __getstate__(self) -> dict[str, Any]:
        """Copies start with an empty cache: cached vectors may carry gradients."""
        state = self.__dict__.copy()
        return state | {"_inv": None, "_cached_x_y": (None, None)}


class ShiftFlow(nn.Module):
    """Several steps, in alternating order.

    Args:
        features: length of the vectors.
        steps: the number of steps.
        hidden: widths of every masked network's hidden layers.

    Attributes:
        transform: the flow for torch's `TransformedDistribution`; `transform.inv` is its inverse.
    """

    def __init__(self, features: int, steps: int, hidden: Sequence[int]) -> None:
        super().__init__()
        made = [ShiftStep(features, hidden, bool(k % 2)) for k in range(steps)]
        self.steps = nn.ModuleList(made)
        self.transform = ShiftTransform(made)
