"""Training over several processes: each computes the gradients of its share of a batch.

```
batch number k ─► rows rank, rank + count, ... ─► gradients ─► mean over processes ─► the same step
```

Every process holds the whole model and takes the same step, so that the weights stay equal. A batch
is a function of its number, so a share is index arithmetic: no sampler has a state. The first
process alone writes the log, the checkpoint and the result. Processes are started by Fabric
(`loop.devices`), or by `torchrun`.
"""

import os
from typing import Final

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from laconic.errors import ConfigError

RANK_STRIDE: Final = 1 << 40
"""Between the seeds of two processes; seeds of steps stay below it."""


def is_first() -> bool:
    """Whether this process writes files: it was not started by another one of the same run."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0


class Processes:
    """The processes of a run; most runs have one, and then every method does nothing.

    Args:
        devices: processes on each machine, with one device each.
        nodes: machines.
        precision: of Fabric.

    Raises:
        ConfigError: a number is below 1, or the processes cannot be started.
    """

    def __init__(self, devices: int, nodes: int, precision: str) -> None:
        if devices < 1 or nodes < 1:
            raise ConfigError(f"loop.devices is {devices}, loop.nodes {nodes}: give 1 or more")
        started = int(os.environ.get("WORLD_SIZE", devices * nodes))
        if started != devices * nodes:
            raise ConfigError(
                f"{started} processes were started, the recipe has loop.devices {devices} and "
                f"loop.nodes {nodes}; set them to the numbers that were started"
            )
        self.many = devices * nodes > 1
        try:
            self.fabric = Fabric(
                accelerator="auto", devices=devices, num_nodes=nodes, precision=precision,  # type: ignore[arg-type]
                strategy="ddp" if self.many else "auto",
            )  # fmt: skip
            if self.many:
                self.fabric.launch()
        except (ValueError, RuntimeError) as error:
            raise ConfigError(f"loop.devices, loop.nodes: {error}") from error

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        return self.fabric.global_rank if self.many else 0

    @property
    def count(self) -> int:
        """Processes in all."""
        return self.fabric.world_size if self.many else 1

    def seed(self, seed: int) -> None:
        """Seed torch: each process draws its own noise, the first that of a run without others."""
        torch.manual_seed(seed + self.rank * RANK_STRIDE)

    def share(self, batch: Tensor) -> Tensor:
        """The rows of a batch that this process computes.

        Raises:
            ConfigError: the batch cannot be divided evenly, so that means would be weighted.
        """
        if len(batch) % self.count:
            raise ConfigError(
                f"data.batch: {len(batch)} examples cannot be divided among {self.count} "
                "processes; give a multiple"
            )
        return batch[self.rank :: self.count]

    def average_gradients(self, model: nn.Module) -> None:
        """Replace each gradient by its mean over all processes."""
        if not self.many:
            return
        parameters = [one for one in model.parameters() if one.requires_grad]
        used = torch.tensor([one.grad is not None for one in parameters], device=self.fabric.device)
        used = self._mean(used.float()) > 0
        parts = [
            torch.zeros_like(one) if one.grad is None else one.grad
            for one, wanted in zip(parameters, used.tolist(), strict=True)
            if wanted
        ]
        whole = self._mean(torch.cat([part.reshape(-1) for part in parts]))
        pieces = iter(torch.split(whole, [part.numel() for part in parts]))
        for one, wanted in zip(parameters, used.tolist(), strict=True):
            if wanted:
                one.grad = next(pieces).view_as(one)

    def average_state(self, model: nn.Module, state: nn.Module) -> None:
        """Make equal what a step changes beside the weights.

        The statistics of batch norms and the buffers of the loss become their means.
        """
        if not self.many:
            return
        for module in (*(m for m in model.modules() if isinstance(m, _NormBase)), state):
            for buffer in module.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(self._mean(buffer))

    def any(self, value: bool) -> bool:
        """Whether the value is true in any process, such as a request to stop."""
        return bool(self._mean(torch.tensor(float(value))) > 0) if self.many else value

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.many:
            self.fabric.barrier()

    def means(self, numbers: dict[str, float]) -> dict[str, float]:
        """The mean of each number over all processes."""
        if not self.many:
            return numbers
        values = self._mean(torch.tensor(list(numbers.values()), dtype=torch.float64))
        return dict(zip(numbers, values.tolist(), strict=True))

    def _mean(self, values: Tensor) -> Tensor:
        mean = self.fabric.all_reduce(values.to(self.fabric.device), reduce_op="mean")
        assert isinstance(mean, Tensor)
        return mean
